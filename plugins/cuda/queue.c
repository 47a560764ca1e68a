/* queue.c - a queue is a stream, a ring of jobs, and two threads: the launcher puts a job on
 * the stream as soon as all it waits for is there or on a stream itself, the completer
 * moves timelines when the stream has passed it. So the device always has work ahead. */
#include <sched.h>
#include <stdlib.h>

#include "backend.h"

#define RING 64u
#define USUAL_POINTS 8u
#define USUAL_PARAMS 1024u /* bytes */
#define SPIN_NS 50000u /* a wait this short is polled for; a longer one sleeps */

/* A place in the ring. It has room for the usual job, grows to the largest so far and keeps
 * that: a step allocates nothing. */
struct job {
  struct queue *queue;
  struct program *program; /* referenced */
  cudaEvent_t passed;      /* the stream is behind the job */
  void *params;            /* pinned: part of the queue's, or large */
  void *large;             /* what was allocated for params beyond the usual */
  uint64_t params_room;
  struct point *points; /* waits, then signals */
  uint32_t points_room;
  uint32_t wait_count;
  uint32_t signal_count;
  struct failure failure;
};

struct queue {
  struct object object;
  cudaStream_t stream;
  pthread_t launcher;
  pthread_t completer;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  _Atomic uint32_t stopping;
  uint64_t done;      /* jobs completed */
  uint64_t launched;  /* jobs on the stream or completed */
  uint64_t submitted; /* jobs ever given */
  void *params;       /* pinned: USUAL_PARAMS for each job */
  struct progress progress;
  struct job ring[RING];
};

/* ---- the launcher ---- */

/* The job that will take a timeline to a value or beyond, the earliest that is on a stream. */
static const struct job *reaching(const struct timeline *timeline, uint64_t value) {
  const struct point *best = NULL;
  for (const struct point *at = timeline->enqueued; at; at = at->next)
    if (at->value >= value && (!best || at->value < best->value)) best = at;
  return best ? best->work : NULL;
}

/* Returns when every point is reached or the stream has been made to wait for it. */
static struct failure wait_points(struct queue *queue, const struct job *job) {
  struct device *device = queue->object.device;
  struct timelines *timelines = &device->timelines;
  struct failure failure = {.record = TRAINER_NO_RECORD, .serial = job->program->list.serial};
  pthread_mutex_lock(&timelines->lock);
  for (uint32_t i = 0; i < job->wait_count && !failure.status;) {
    const struct timeline *timeline = job->points[i].timeline;
    const struct job *before = reaching(timeline, job->points[i].value);
    if (timeline->value >= job->points[i].value) {
      i++;
    } else if (before) {
      cudaError_t code = before->queue == queue ? cudaSuccess : cudaStreamWaitEvent(queue->stream, before->passed, 0);
      failure.status = cuda_status(device, code);
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

/* Lets other queues' launchers go on: the job's signals are on the stream. */
static void announce(struct device *device, struct job *job) {
  pthread_mutex_lock(&device->timelines.lock);
  for (uint32_t i = 0; i < job->signal_count; i++) {
    struct point *point = &job->points[job->wait_count + i];
    point->work = job;
    point->next = point->timeline->enqueued;
    point->timeline->enqueued = point;
  }
  pthread_cond_broadcast(&device->timelines.moved);
  pthread_mutex_unlock(&device->timelines.lock);
}

static void launch(struct queue *queue, struct job *job) {
  struct device *device = queue->object.device;
  job->failure = (struct failure){.status = TRAINER_STALE, .record = TRAINER_NO_RECORD, .serial = job->program->list.serial};
  if (!atomic_load(&queue->stopping)) job->failure = wait_points(queue, job);
  if (!job->failure.status) job->failure = program_run(job->program, job->params, queue->stream);
  int32_t status = cuda_status(device, cudaEventRecord(job->passed, queue->stream));
  if (!job->failure.status) job->failure.status = status;
  if (!job->failure.status) announce(device, job);
}

static void *launcher_main(void *arg) {
  struct queue *queue = arg;
  (void)cudaSetDevice(queue->object.device->gpu.ordinal);
  pthread_mutex_lock(&queue->lock);
  for (;;) {
    while (queue->launched == queue->submitted && !atomic_load(&queue->stopping)) pthread_cond_wait(&queue->changed, &queue->lock);
    if (queue->launched == queue->submitted) break;
    struct job *job = &queue->ring[queue->launched % RING];
    pthread_mutex_unlock(&queue->lock);
    launch(queue, job);
    pthread_mutex_lock(&queue->lock);
    queue->launched++;
    pthread_cond_broadcast(&queue->changed);
  }
  pthread_mutex_unlock(&queue->lock);
  return NULL;
}

/* ---- the completer ---- */

static void withdraw(struct device *device, const struct job *job) {
  pthread_mutex_lock(&device->timelines.lock);
  for (uint32_t i = 0; i < job->signal_count; i++) {
    struct point *point = &job->points[job->wait_count + i];
    struct point **at = &point->timeline->enqueued;
    while (*at && *at != point) at = &(*at)->next;
    if (*at) *at = point->next;
  }
  pthread_mutex_unlock(&device->timelines.lock);
}

/* Waits until the stream has passed the job: polls at first, then sleeps. */
static cudaError_t wait_passed(const struct job *job) {
  uint64_t until = host_now() + SPIN_NS;
  cudaError_t code;
  while ((code = cudaEventQuery(job->passed)) == cudaErrorNotReady && host_now() < until) sched_yield();
  return code == cudaErrorNotReady ? cudaEventSynchronize(job->passed) : code;
}

/* Moves or fails the signalled timelines and drops what the job refers to. */
static void finish(struct queue *queue, struct job *job) {
  struct device *device = queue->object.device;
  cudaError_t code = wait_passed(job);
  int32_t status = cuda_status(device, code);
  if (status && !job->failure.status) {
    job->failure = (struct failure){.status = status, .record = TRAINER_NO_RECORD, .serial = job->program->list.serial};
    trainer_error error = {.struct_size = sizeof error};
    if (status == TRAINER_DEVICE_LOST) lost_fail(device, &error);
    snprintf(job->failure.text, sizeof job->failure.text, "%.250s", error.text[0] ? error.text : cudaGetErrorString(code));
  }
  withdraw(device, job);
  progress_add(&queue->progress, job->program->list.record_count);
  points_settle(&device->timelines, job->points + job->wait_count, job->signal_count, &job->failure);
  points_drop(job->points, job->wait_count + job->signal_count);
  object_release(&job->program->object);
}

static void *completer_main(void *arg) {
  struct queue *queue = arg;
  (void)cudaSetDevice(queue->object.device->gpu.ordinal);
  pthread_mutex_lock(&queue->lock);
  for (;;) {
    int ending;
    while (!(ending = atomic_load(&queue->stopping) && queue->done == queue->submitted) && queue->done == queue->launched)
      pthread_cond_wait(&queue->changed, &queue->lock);
    if (ending) break;
    struct job *job = &queue->ring[queue->done % RING];
    pthread_mutex_unlock(&queue->lock);
    finish(queue, job);
    pthread_mutex_lock(&queue->lock);
    queue->done++;
  }
  pthread_mutex_unlock(&queue->lock);
  return NULL;
}

/* ---- life of a queue ---- */

static void queue_release(struct object *object) {
  struct queue *queue = (struct queue *)object;
  for (uint32_t i = 0; i < RING; i++) {
    struct job *job = &queue->ring[i];
    if (job->passed) (void)cudaEventDestroy(job->passed);
    if (job->large) (void)cudaFreeHost(job->large);
    free(job->points);
  }
  if (queue->params) (void)cudaFreeHost(queue->params);
  if (queue->stream) (void)cudaStreamDestroy(queue->stream);
  (void)cudaGetLastError();
  pthread_mutex_destroy(&queue->lock);
  pthread_cond_destroy(&queue->changed);
  free(queue);
}

/* Makes room in the job for a submit's points and params; 0 when memory is short. */
static int job_reserve(struct device *device, struct job *job, uint32_t points, uint64_t params) {
  if (points > job->points_room) {
    struct point *grown = realloc(job->points, points * sizeof *grown);
    if (!grown) return 0;
    job->points = grown;
    job->points_room = points;
  }
  if (params > job->params_room) {
    void *grown = NULL;
    if (cuda_status(device, cudaMallocHost(&grown, params))) return 0;
    if (job->large) (void)cuda_status(device, cudaFreeHost(job->large));
    job->params = job->large = grown;
    job->params_room = params;
  }
  return 1;
}

static cudaError_t queue_open(struct queue *queue) {
  cudaError_t code = cudaStreamCreateWithFlags(&queue->stream, cudaStreamNonBlocking);
  if (!code) code = cudaMallocHost(&queue->params, RING * USUAL_PARAMS);
  for (uint32_t i = 0; !code && i < RING; i++) {
    struct job *job = &queue->ring[i];
    job->queue = queue;
    job->params = (char *)queue->params + (uint64_t)i * USUAL_PARAMS;
    job->params_room = USUAL_PARAMS;
    code = cudaEventCreateWithFlags(&job->passed, cudaEventDisableTiming | cudaEventBlockingSync);
    if (!code && !job_reserve(queue->object.device, job, USUAL_POINTS, 0)) code = cudaErrorMemoryAllocation;
  }
  return code;
}

/* Both threads run, or none. */
static int threads_start(struct queue *queue) {
  if (thread_start(&queue->launcher, launcher_main, queue)) return 0;
  if (thread_start(&queue->completer, completer_main, queue) == 0) return 1;
  pthread_mutex_lock(&queue->lock);
  atomic_store(&queue->stopping, 1);
  pthread_cond_broadcast(&queue->changed);
  pthread_mutex_unlock(&queue->lock);
  pthread_join(queue->launcher, NULL);
  return 0;
}

static int32_t queue_create(struct device *device, uint64_t *out, trainer_error *error) {
  struct queue *queue = calloc(1, sizeof *queue);
  if (!queue) return trainer_fail(error, TRAINER_OOM, "no memory for a queue");
  object_init(&queue->object, OBJECT_QUEUE, device, queue_release);
  pthread_mutex_init(&queue->lock, NULL);
  pthread_cond_init(&queue->changed, NULL);
  cudaError_t code = queue_open(queue);
  int started = !code && threads_start(queue);
  uint64_t handle = started ? handle_new(&queue->object) : 0;
  if (handle) {
    *out = handle;
    return TRAINER_OK;
  }
  if (started) queue_stop(queue);
  object_release(&queue->object);
  if (code) return cuda_fail(device, code, "creating a stream", error);
  return trainer_fail(error, TRAINER_OOM, "no memory or no threads for a queue");
}

int32_t cuda_queue_create(uint64_t handle, uint32_t kind, uint64_t *out, trainer_error *error) {
  int32_t status;
  if (!out) return trainer_fail(error, TRAINER_INVALID, "the result of queue_create is missing");
  if (kind > TRAINER_QUEUE_TRANSFER) return trainer_fail(error, TRAINER_UNSUPPORTED, "there is no queue kind %u", (unsigned)kind);
  struct device *device = device_get_alive(handle, &status, error);
  if (!device) return status;
  status = queue_create(device, out, error);
  object_release(&device->object);
  return status;
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
  pthread_join(queue->launcher, NULL);
  pthread_join(queue->completer, NULL);
}

int32_t cuda_queue_destroy(uint64_t handle, uint64_t queue, trainer_error *error) {
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

int32_t cuda_queue_progress(uint64_t handle, uint64_t queue, uint64_t *counter, trainer_error *error) {
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
  struct job *job = &queue->ring[queue->submitted % RING];
  uint32_t waits = submit->wait_count, signals = submit->signal_count;
  if (atomic_load(&queue->stopping)) return trainer_fail(error, TRAINER_STALE, "the queue is not alive");
  if (queue->submitted - queue->done == RING) return trainer_fail(error, TRAINER_BUSY, "the queue holds %u jobs", RING);
  if (!job_reserve(device, job, waits + signals, submit->params_bytes)) return trainer_fail(error, TRAINER_OOM, "no memory for the job");
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
  queue->submitted++;
  pthread_cond_broadcast(&queue->changed);
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

int32_t cuda_submit(uint64_t handle, uint64_t queue_handle, const trainer_submit *given, trainer_error *error) {
  trainer_submit submit;
  int32_t status;
  if (!TRAINER_READ(submit, given) || (submit.wait_count && !submit.waits) || (submit.signal_count && !submit.signals) ||
      submit.wait_count > UINT16_MAX || submit.signal_count > UINT16_MAX)
    return trainer_fail(error, TRAINER_INVALID, "the submit is missing, too small, or its waits or signals are");
  struct device *device = device_get_alive(handle, &status, error);
  if (!device) return status;
  struct queue *queue = (struct queue *)handle_get(queue_handle, OBJECT_QUEUE, device);
  status = queue ? submit_to(device, queue, &submit, error) : trainer_fail(error, TRAINER_STALE, "the queue is not alive");
  if (queue) object_release(&queue->object);
  object_release(&device->object);
  return status;
}
