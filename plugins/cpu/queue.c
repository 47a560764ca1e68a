/* queue.c - a queue's one thread runs its jobs in order, on the pool. */
#include <stdlib.h>

#include "backend.h"

struct cpu_queue {
  struct queue queue;
  struct pool *pool;
};

static void run(struct job *job) {
  struct pool *pool = ((struct cpu_queue *)job->queue)->pool;
  struct progress *progress = &job->queue->progress;
  if (job_wait(job)) progress_add(progress, job->program->list.record_count);
  else program_run(job->program, job->params, pool, progress);
  job_settle(job);
}

struct queue *backend_queue_new(void) { return calloc(1, sizeof(struct cpu_queue)); }

int32_t backend_queue_open(struct queue *queue, uint32_t kind, trainer_error *error) {
  struct cpu_device *device = (struct cpu_device *)queue->object.device;
  (void)error;
  ((struct cpu_queue *)queue)->pool = kind == TRAINER_QUEUE_TRANSFER ? device->inline_pool : device->pool;
  queue_add_stage(queue, run);
  return TRAINER_OK;
}

void backend_queue_close(struct queue *queue) { (void)queue; /* the pool is the device's */ }
