/* pool.c - a fixed set of threads that share the tasks of one run at a time.
 *
 * `claim` holds (epoch << 32 | next task). A thread claims a task by adding one to it
 * with compare-and-swap, which fails when a new run has begun meanwhile, so a late
 * thread can never take a task of one run with the function of another: the caller
 * closes the word (next = CLOSED) before it rewrites the run's description. The run is over
 * when `done` has counted every task; threads that slept through it are not waited for.
 */
#include "pool.h"

#include <fenv.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "../../native/thread.h"

#define CLOSED 0xFFFFFFFFull
#define TASKS_PER_RUN ((int64_t)1 << 30)
#define SPINS 2000 /* tens of microseconds: longer than the gap between two records */

typedef void (*task_fn)(void *arg, int64_t task, uint32_t worker);

struct worker {
  struct pool *pool;
  pthread_t thread;
  uint32_t index;
};

struct pool {
  uint32_t threads;
  uint32_t started; /* threads that run, without the caller */
  struct worker *workers;
  pthread_mutex_t run_lock; /* one run at a time */
  pthread_mutex_t lock;
  pthread_cond_t work;     /* workers sleep here */
  pthread_cond_t finished; /* the caller sleeps here */
  _Atomic uint32_t sleepers;
  _Atomic uint32_t caller_sleeps;
  _Atomic uint32_t stopping;
  /* The run. Its description is only written while claim is closed. */
  _Atomic uint64_t claim;
  _Atomic int64_t done;
  _Atomic int64_t tasks;
  _Atomic int64_t base;
  _Atomic(task_fn) fn;
  _Atomic(void *) arg;
};

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static int has_work(struct pool *pool) {
  uint64_t claim = atomic_load(&pool->claim);
  uint64_t next = claim & CLOSED;
  return next != CLOSED && (int64_t)next < atomic_load(&pool->tasks);
}

static void count_done(struct pool *pool) {
  int64_t tasks = atomic_load(&pool->tasks); /* before the last task is counted */
  if (atomic_fetch_add(&pool->done, 1) + 1 != tasks) return;
  if (!atomic_load(&pool->caller_sleeps)) return;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_signal(&pool->finished);
  pthread_mutex_unlock(&pool->lock);
}

/* Claims and runs tasks until none is left. */
static void take_tasks(struct pool *pool, uint32_t worker) {
  uint64_t claim = atomic_load(&pool->claim);
  for (;;) {
    uint64_t next = claim & CLOSED;
    if (next == CLOSED || (int64_t)next >= atomic_load(&pool->tasks)) return;
    task_fn fn = atomic_load(&pool->fn);
    void *arg = atomic_load(&pool->arg);
    int64_t base = atomic_load(&pool->base);
    if (!atomic_compare_exchange_weak(&pool->claim, &claim, claim + 1)) continue;
    fn(arg, base + (int64_t)next, worker);
    count_done(pool);
    claim = atomic_load(&pool->claim);
  }
}

static void sleep_for_work(struct pool *pool) {
  pthread_mutex_lock(&pool->lock);
  atomic_fetch_add(&pool->sleepers, 1);
  while (!has_work(pool) && !atomic_load(&pool->stopping))
    pthread_cond_wait(&pool->work, &pool->lock);
  atomic_fetch_sub(&pool->sleepers, 1);
  pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *arg) {
  struct worker *self = arg;
  struct pool *pool = self->pool;
  fesetenv(FE_DFL_ENV); /* whatever the opening thread had set */
  while (!atomic_load(&pool->stopping)) {
    int spins = 0;
    while (!has_work(pool) && spins < SPINS) {
      relax();
      spins++;
    }
    if (spins == SPINS) sleep_for_work(pool);
    take_tasks(pool, self->index);
  }
  return NULL;
}

struct pool *pool_create(uint32_t threads) {
  struct pool *pool = calloc(1, sizeof *pool);
  if (!pool) return NULL;
  pool->threads = threads;
  atomic_store(&pool->claim, CLOSED);
  pthread_mutex_init(&pool->run_lock, NULL);
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->work, NULL);
  pthread_cond_init(&pool->finished, NULL);
  pool->workers = calloc(threads, sizeof *pool->workers);
  int ok = pool->workers != NULL;
  for (uint32_t i = 1; ok && i < threads; i++) {
    struct worker *worker = &pool->workers[pool->started];
    *worker = (struct worker){.pool = pool, .index = i};
    ok = thread_start(&worker->thread, worker_main, worker) == 0;
    if (ok) pool->started++;
  }
  if (ok) return pool;
  pool_destroy(pool);
  return NULL;
}

void pool_destroy(struct pool *pool) {
  if (!pool) return;
  atomic_store(&pool->stopping, 1);
  pthread_mutex_lock(&pool->lock);
  pthread_cond_broadcast(&pool->work);
  pthread_mutex_unlock(&pool->lock);
  for (uint32_t i = 0; i < pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
  pthread_cond_destroy(&pool->finished);
  pthread_cond_destroy(&pool->work);
  pthread_mutex_destroy(&pool->lock);
  pthread_mutex_destroy(&pool->run_lock);
  free(pool->workers);
  free(pool);
}

uint32_t pool_threads(const struct pool *pool) { return pool->threads; }

static void wait_finished(struct pool *pool, int64_t tasks) {
  for (int spins = 0; spins < SPINS; spins++) {
    if (atomic_load(&pool->done) == tasks) return;
    relax();
  }
  pthread_mutex_lock(&pool->lock);
  atomic_store(&pool->caller_sleeps, 1);
  while (atomic_load(&pool->done) != tasks) pthread_cond_wait(&pool->finished, &pool->lock);
  atomic_store(&pool->caller_sleeps, 0);
  pthread_mutex_unlock(&pool->lock);
}

static void run_shared(struct pool *pool, int64_t base, int64_t tasks, task_fn fn, void *arg) {
  uint64_t epoch = (atomic_load(&pool->claim) >> 32) + 1;
  atomic_store(&pool->claim, epoch << 32 | CLOSED);
  atomic_store(&pool->fn, fn);
  atomic_store(&pool->arg, arg);
  atomic_store(&pool->base, base);
  atomic_store(&pool->tasks, tasks);
  atomic_store(&pool->done, 0);
  atomic_store(&pool->claim, (epoch + 1) << 32);
  if (atomic_load(&pool->sleepers)) {
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
  }
  take_tasks(pool, 0);
  wait_finished(pool, tasks);
}

void pool_run(struct pool *pool, int64_t tasks, task_fn fn, void *arg) {
  if (pool->started == 0 || tasks <= 1) {
    for (int64_t task = 0; task < tasks; task++) fn(arg, task, 0);
    return;
  }
  pthread_mutex_lock(&pool->run_lock);
  for (int64_t base = 0; base < tasks; base += TASKS_PER_RUN) {
    int64_t left = tasks - base;
    run_shared(pool, base, left < TASKS_PER_RUN ? left : TASKS_PER_RUN, fn, arg);
  }
  pthread_mutex_unlock(&pool->run_lock);
}
