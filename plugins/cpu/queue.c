/* queue.c - a queue is a ring of jobs and a thread that runs them in order. */
#include <fenv.h>
#include <stdlib.h>

#include "backend.h"

#define RING 64u
#define USUAL_POINTS 8u
#define USUAL_PARAMS 256u /* bytes */

/* A place in the ring. Its arrays have room for the usual job, grow to the largest so far
 * and are kept: a step allocates nothing. */
struct job {
  struct program *program; /* referenced */
  void *params;
  uint64_t params_room;
  struct point *points; /* waits, then signals */
  uint32_t points_room;
  uint32_t wait_count;
  uint32_t signal_count;
};

struct queue {
  struct object object;
  struct pool *pool;
  struct progress progress;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  _Atomic uint32_t stopping;
  uint64_t head; /* jobs begun or done */
  uint64_t tail; /* jobs submitted */
  struct job ring[RING];
};

/* ---- the queue's thread ---- */

/* Waits until every timeline is where the job wants it, or one cannot get there. */
static struct failure wait_points(struct queue *queue, const struct job *job) {
  struct timelines *timelines = &queue->object.device->timelines;
  struct failure failure = {.record = TRAINER_NO_RECORD, .serial = job->program->list.serial};
  pthread_mutex_lock(&timelines->lock);
  for (uint32_t i = 0; i < job->wait_count && !failure.status;) {
    const struct timeline *timeline = job->points[i].timeline;
    if (timeline->value >= job->points[i].value) {
      i++;
    } else if (timeline->failure.status) {
      failure = timeline->failure;
    } else if (timeline->destroyed || atomic_load(&queue->stopping)) {
      failure.status = TRAINER_STALE;
    } else {
      pthread_cond_wait(&timelines->moved, &timelines->lock);
    }
  }
  pthread_mutex_unlock(&timelines->lock);
  return failure;
}

/* Moves or fails the signalled timelines and drops what the job refers to. */
static void finish(struct queue *queue, struct job *job, const struct failure *failure) {
  points_settle(&queue->object.device->timelines, job->points + job->wait_count, job->signal_count, failure);
  points_drop(job->points, job->wait_count + job->signal_count);
  object_release(&job->program->object);
}

static void *queue_main(void *arg) {
  struct queue *queue = arg;
  fesetenv(FE_DFL_ENV);
  pthread_mutex_lock(&queue->lock);
  for (;;) {
    while (queue->head == queue->tail && !atomic_load(&queue->stopping)) pthread_cond_wait(&queue->changed, &queue->lock);
    if (queue->head == queue->tail) break;
    struct job *job = &queue->ring[queue->head % RING];
    pthread_mutex_unlock(&queue->lock);
    struct failure failure = {.status = TRAINER_STALE, .record = TRAINER_NO_RECORD, .serial = job->program->list.serial};
    if (!atomic_load(&queue->stopping)) failure = wait_points(queue, job);
    if (failure.status) progress_add(&queue->progress, job->program->list.record_count);
    else program_run(job->program, job->params, queue->pool, &queue->progress);
    finish(queue, job, &failure);
    pthread_mutex_lock(&queue->lock);
    queue->head++;
  }
  pthread_mutex_unlock(&queue->lock);
  return NULL;
}

/* ---- life of a queue ---- */

static void queue_release(struct object *object) {
  struct queue *queue = (struct queue *)object;
  for (uint32_t i = 0; i < RING; i++) {
    free(queue->ring[i].params);
    free(queue->ring[i].points);
  }
  pthread_mutex_destroy(&queue->lock);
  pthread_cond_destroy(&queue->changed);
  free(queue);
}

/* Makes room in the job for a submit's points and params; 0 when memory is short. */
static int job_reserve(struct job *job, uint32_t points, uint64_t params) {
  if (points > job->points_room) {
    struct point *grown = realloc(job->points, points * sizeof *grown);
    if (!grown) return 0;
    job->points = grown;
    job->points_room = points;
  }
  if (params > job->params_room) {
    void *grown = realloc(job->params, params);
    if (!grown) return 0;
    job->params = grown;
    job->params_room = params;
  }
  return 1;
}

static uint64_t queue_create(struct device *device, uint32_t kind) {
  struct queue *queue = calloc(1, sizeof *queue);
  if (!queue) return 0;
  object_init(&queue->object, OBJECT_QUEUE, device, queue_release);
  queue->pool = kind == TRAINER_QUEUE_TRANSFER ? device->inline_pool : device->pool;
  pthread_mutex_init(&queue->lock, NULL);
  pthread_cond_init(&queue->changed, NULL);
  int ready = 1;
  for (uint32_t i = 0; i < RING; i++) ready = ready && job_reserve(&queue->ring[i], USUAL_POINTS, USUAL_PARAMS);
  int started = ready && thread_start(&queue->thread, queue_main, queue) == 0;
  uint64_t handle = started ? handle_new(&queue->object) : 0;
  if (handle) return handle;
  if (started) queue_stop(queue);
  object_release(&queue->object);
  return 0;
}

int32_t cpu_queue_create(uint64_t handle, uint32_t kind, uint64_t *out, trainer_error *error) {
  if (!out) return trainer_fail(error, TRAINER_INVALID, "the result of queue_create is missing");
  if (kind > TRAINER_QUEUE_TRANSFER) return trainer_fail(error, TRAINER_UNSUPPORTED, "there is no queue kind %u", (unsigned)kind);
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  uint64_t queue = queue_create(device, kind);
  object_release(&device->object);
  if (!queue) return trainer_fail(error, TRAINER_OOM, "no memory or no thread for a queue");
  *out = queue;
  return TRAINER_OK;
}

void queue_stop(struct queue *queue) {
  struct device *device = queue->object.device;
  pthread_mutex_lock(&queue->lock);
  atomic_store(&queue->stopping, 1);
  pthread_cond_broadcast(&queue->changed);
  pthread_mutex_unlock(&queue->lock);
  pthread_mutex_lock(&device->timelines.lock);
  pthread_cond_broadcast(&device->timelines.moved);
  pthread_mutex_unlock(&device->timelines.lock);
  pthread_join(queue->thread, NULL);
}

int32_t cpu_queue_destroy(uint64_t handle, uint64_t queue, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct queue *ended = (struct queue *)handle_take(queue, OBJECT_QUEUE, device);
  if (ended) {
    queue_stop(ended);
    object_release(&ended->object);
  }
  object_release(&device->object);
  return ended ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the queue is not alive");
}

int32_t cpu_queue_progress(uint64_t handle, uint64_t queue, uint64_t *counter, trainer_error *error) {
  if (!counter || (uintptr_t)counter % sizeof *counter) return trainer_fail(error, TRAINER_INVALID, "the counter is missing or not aligned");
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct queue *found = (struct queue *)handle_get(queue, OBJECT_QUEUE, device);
  if (found) {
    progress_begin(&found->progress, counter);
    object_release(&found->object);
  }
  object_release(&device->object);
  return found ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the queue is not alive");
}

/* ---- submit ---- */

/* Fills the next place of the ring; with the queue's lock held. Takes over the caller's
 * reference to the program when it succeeds. */
static int32_t enqueue(struct queue *queue, const trainer_submit *submit, struct program *program, trainer_error *error) {
  struct device *device = queue->object.device;
  struct job *job = &queue->ring[queue->tail % RING];
  uint32_t waits = submit->wait_count, signals = submit->signal_count;
  if (atomic_load(&queue->stopping)) return trainer_fail(error, TRAINER_STALE, "the queue is not alive");
  if (queue->tail - queue->head == RING) return trainer_fail(error, TRAINER_BUSY, "the queue holds %u jobs", RING);
  if (!job_reserve(job, waits + signals, submit->params_bytes)) return trainer_fail(error, TRAINER_OOM, "no memory for the job");
  uint32_t found = points_take(device, job->points, submit->waits, waits);
  if (found == waits) found += points_take(device, job->points + waits, submit->signals, signals);
  int32_t status = TRAINER_OK;
  if (found != waits + signals) status = trainer_fail(error, TRAINER_STALE, "a timeline of the submit is not alive");
  else if (!points_promise(&device->timelines, job->points + waits, signals))
    status = trainer_fail(error, TRAINER_INVALID, "a signal's value is not higher than what its timeline has or was promised");
  if (status) {
    points_drop(job->points, found);
    return status;
  }
  if (submit->params_bytes) memcpy(job->params, submit->params, submit->params_bytes);
  job->wait_count = waits;
  job->signal_count = signals;
  job->program = program;
  queue->tail++;
  pthread_cond_signal(&queue->changed);
  return TRAINER_OK;
}

/* The plan, or the list made into a program; referenced. */
static int32_t submitted_program(struct device *device, const trainer_submit *submit, struct program **program, trainer_error *error) {
  if (submit->plan) {
    *program = (struct program *)handle_get(submit->plan, OBJECT_PROGRAM, device);
    return *program ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the plan is not alive");
  }
  int32_t status = program_create(device, submit->list, program, NULL, error);
  if (status) return status;
  status = program_bind(*program, submit->bindings, submit->binding_count, &submit->workspace, error);
  if (status) object_release(&(*program)->object);
  return status;
}

static int32_t submit_to(struct device *device, struct queue *queue, const trainer_submit *submit, trainer_error *error) {
  struct program *program = NULL;
  int32_t status = submitted_program(device, submit, &program, error);
  if (status) return status;
  if (submit->params_bytes != program->list.params_bytes || (submit->params_bytes && !submit->params)) {
    status = trainer_fail(error, TRAINER_INVALID, "the list wants %llu bytes of params, %llu are given",
                          (unsigned long long)program->list.params_bytes, (unsigned long long)submit->params_bytes);
  } else {
    pthread_mutex_lock(&queue->lock);
    status = enqueue(queue, submit, program, error);
    pthread_mutex_unlock(&queue->lock);
  }
  if (status) object_release(&program->object);
  return status;
}

int32_t cpu_submit(uint64_t handle, uint64_t queue_handle, const trainer_submit *given, trainer_error *error) {
  trainer_submit submit;
  if (!TRAINER_READ(submit, given) || (submit.wait_count && !submit.waits) || (submit.signal_count && !submit.signals) ||
      submit.wait_count > UINT16_MAX || submit.signal_count > UINT16_MAX)
    return trainer_fail(error, TRAINER_INVALID, "the submit is missing, too small, or its waits or signals are");
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct queue *queue = (struct queue *)handle_get(queue_handle, OBJECT_QUEUE, device);
  int32_t status = queue ? submit_to(device, queue, &submit, error) : trainer_fail(error, TRAINER_STALE, "the queue is not alive");
  if (queue) object_release(&queue->object);
  object_release(&device->object);
  return status;
}
