/* queue.c - see queue.h. */
#include "queue.h"

#include <fenv.h>
#include <stdlib.h>

#include "backend.h"

#define USUAL_POINTS 8u
#define USUAL_PARAMS 1024u /* bytes */

/* ---- the way of a job ---- */

int32_t job_wait(struct job *job) {
  struct queue *queue = job->queue;
  struct timelines *timelines = &queue->object.device->timelines;
  struct failure *failure = &job->failure;
  *failure = (struct failure){.record = TRAINER_NO_RECORD, .serial = job->program->list.serial};
  if (atomic_load(&queue->stopping)) return failure->status = TRAINER_STALE;
  pthread_mutex_lock(&timelines->lock);
  for (uint32_t i = 0; i < job->wait_count && !failure->status;) {
    const struct timeline *timeline = job->points[i].timeline;
    const struct job *before = timeline_reaching(timeline, job->points[i].value);
    if (timeline->value >= job->points[i].value) {
      i++;
    } else if (before) {
      if (before->queue != queue) failure->status = queue->follow(queue, before);
      i++;
    } else if (timeline->failure.status) {
      *failure = timeline->failure;
    } else if (timeline->destroyed || atomic_load(&queue->stopping)) {
      failure->status = TRAINER_STALE;
    } else {
      pthread_cond_wait(&timelines->moved, &timelines->lock);
    }
  }
  pthread_mutex_unlock(&timelines->lock);
  return failure->status;
}

void job_announce(struct job *job) {
  points_announce(&job->queue->object.device->timelines, job->points + job->wait_count, job->signal_count, job);
}

void job_settle(struct job *job) {
  points_settle(&job->queue->object.device->timelines, job->points + job->wait_count, job->signal_count, &job->failure);
  points_drop(job->points, job->wait_count + job->signal_count);
  object_release(&job->program->object);
}

static void *stage_main(void *arg) {
  struct stage *stage = arg;
  struct queue *queue = stage->queue;
  const uint64_t *ready = stage == queue->stages ? &queue->submitted : &stage[-1].passed;
  fesetenv(FE_DFL_ENV);
  (void)backend_enter(queue->object.device, NULL);
  pthread_mutex_lock(&queue->lock);
  for (;;) {
    int ending;
    while (!(ending = atomic_load(&queue->stopping) && stage->passed == queue->submitted) && stage->passed == *ready)
      pthread_cond_wait(&queue->changed, &queue->lock);
    if (ending) break;
    struct job *job = &queue->ring[stage->passed % QUEUE_JOBS];
    pthread_mutex_unlock(&queue->lock);
    stage->work(job);
    pthread_mutex_lock(&queue->lock);
    stage->passed++;
    pthread_cond_broadcast(&queue->changed);
  }
  pthread_mutex_unlock(&queue->lock);
  return NULL;
}

/* ---- life of a queue ---- */

void queue_add_stage(struct queue *queue, void (*work)(struct job *job)) {
  queue->stages[queue->stage_count++] = (struct stage){.queue = queue, .work = work};
}

static void queue_release(struct object *object) {
  struct queue *queue = (struct queue *)object;
  backend_queue_close(queue);
  for (uint32_t i = 0; i < QUEUE_JOBS; i++) {
    if (queue->ring[i].large) backend_host_end(object->device, queue->ring[i].large);
    free(queue->ring[i].points);
  }
  if (queue->params) backend_host_end(object->device, queue->params);
  pthread_mutex_destroy(&queue->lock);
  pthread_cond_destroy(&queue->changed);
  free(queue);
}

/* Makes room in the job for a submit's points and params; 0 when memory is short. */
static int job_reserve(struct job *job, uint32_t points, uint64_t params) {
  struct device *device = job->queue->object.device;
  if (points > job->points_room) {
    struct point *grown = realloc(job->points, points * sizeof *grown);
    if (!grown) return 0;
    job->points = grown;
    job->points_room = points;
  }
  if (params > job->params_room) {
    void *grown = backend_host_new(device, params);
    if (!grown) return 0;
    if (job->large) backend_host_end(device, job->large);
    job->params = job->large = grown;
    job->params_room = params;
  }
  return 1;
}

static int ring_reserve(struct queue *queue) {
  queue->params = backend_host_new(queue->object.device, QUEUE_JOBS * USUAL_PARAMS);
  int ready = queue->params != NULL;
  for (uint32_t i = 0; ready && i < QUEUE_JOBS; i++) {
    struct job *job = &queue->ring[i];
    *job = (struct job){.queue = queue, .params = (char *)queue->params + (uint64_t)i * USUAL_PARAMS, .params_room = USUAL_PARAMS};
    ready = job_reserve(job, USUAL_POINTS, 0);
  }
  return ready;
}

static int stages_start(struct queue *queue) {
  for (; queue->running < queue->stage_count; queue->running++) {
    struct stage *stage = &queue->stages[queue->running];
    if (thread_start(&stage->thread, stage_main, stage)) return 0;
  }
  return 1;
}

static int32_t queue_publish(struct device *device, uint32_t kind, uint64_t *out, trainer_error *error) {
  struct queue *queue = backend_queue_new();
  if (!queue) return trainer_fail(error, TRAINER_OOM, "no memory for a queue");
  object_init(&queue->object, OBJECT_QUEUE, device, queue_release);
  pthread_mutex_init(&queue->lock, NULL);
  pthread_cond_init(&queue->changed, NULL);
  int32_t status = backend_queue_open(queue, kind, error);
  int started = !status && ring_reserve(queue) && stages_start(queue);
  uint64_t handle = started ? handle_new(&queue->object) : 0;
  if (handle) {
    *out = handle;
    return TRAINER_OK;
  }
  queue_stop(queue);
  object_release(&queue->object);
  return status ? status : trainer_fail(error, TRAINER_OOM, "no memory or no threads for a queue");
}

int32_t queue_create(uint64_t handle, uint32_t kind, uint64_t *out, trainer_error *error) {
  int32_t status;
  if (!out) return trainer_fail(error, TRAINER_INVALID, "the result of queue_create is missing");
  if (kind > TRAINER_QUEUE_TRANSFER) return trainer_fail(error, TRAINER_UNSUPPORTED, "there is no queue kind %u", (unsigned)kind);
  struct device *device = device_get_alive(handle, &status, error);
  if (!device) return status;
  status = queue_publish(device, kind, out, error);
  object_release(&device->object);
  return status;
}

void queue_stop(struct queue *queue) {
  struct timelines *timelines = &queue->object.device->timelines;
  pthread_mutex_lock(&queue->lock);
  atomic_store(&queue->stopping, 1);
  pthread_cond_broadcast(&queue->changed);
  pthread_mutex_unlock(&queue->lock);
  pthread_mutex_lock(&timelines->lock);
  pthread_cond_broadcast(&timelines->moved);
  pthread_mutex_unlock(&timelines->lock);
  for (uint32_t i = 0; i < queue->running; i++) pthread_join(queue->stages[i].thread, NULL);
}

int32_t queue_destroy(uint64_t handle, uint64_t queue, trainer_error *error) {
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

int32_t queue_progress(uint64_t handle, uint64_t queue, uint64_t *counter, trainer_error *error) {
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
  struct job *job = &queue->ring[queue->submitted % QUEUE_JOBS];
  uint32_t waits = submit->wait_count, signals = submit->signal_count;
  uint64_t done = queue->stages[queue->stage_count - 1].passed;
  if (atomic_load(&queue->stopping)) return trainer_fail(error, TRAINER_STALE, "the queue is not alive");
  if (queue->submitted - done == QUEUE_JOBS) return trainer_fail(error, TRAINER_BUSY, "the queue holds %u jobs", QUEUE_JOBS);
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

static int32_t submit_to(struct queue *queue, const trainer_submit *submit, trainer_error *error) {
  struct program *program = NULL;
  int32_t status = submitted_program(queue->object.device, submit, &program, error);
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

int32_t queue_submit(uint64_t handle, uint64_t queue_handle, const trainer_submit *given, trainer_error *error) {
  trainer_submit submit;
  int32_t status;
  if (!TRAINER_READ(submit, given) || (submit.wait_count && !submit.waits) || (submit.signal_count && !submit.signals) ||
      submit.wait_count > UINT16_MAX || submit.signal_count > UINT16_MAX)
    return trainer_fail(error, TRAINER_INVALID, "the submit is missing, too small, or its waits or signals are");
  struct device *device = device_get_alive(handle, &status, error);
  if (!device) return status;
  struct queue *queue = (struct queue *)handle_get(queue_handle, OBJECT_QUEUE, device);
  status = queue ? submit_to(queue, &submit, error) : trainer_fail(error, TRAINER_STALE, "the queue is not alive");
  if (queue) object_release(&queue->object);
  object_release(&device->object);
  return status;
}
