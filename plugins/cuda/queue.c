/* queue.c - a queue is a stream and two threads: the launcher puts a job on the stream as soon
 * as all it waits for is there or on a stream itself, the completer moves timelines when the
 * stream has passed it. So the device always has work ahead. */
#include <sched.h>
#include <stdlib.h>

#include "backend.h"

#define SPIN_NS 50000u /* a wait this short is polled for; a longer one sleeps */

struct cuda_queue {
  struct queue queue;
  cudaStream_t stream;
  cudaEvent_t passed[QUEUE_JOBS]; /* by job: the stream is behind it */
};

static struct cuda_queue *queue_of(const struct job *job) { return (struct cuda_queue *)job->queue; }

static cudaEvent_t passed_of(const struct job *job) { return queue_of(job)->passed[job_index(job)]; }

static int32_t follow(struct queue *queue, const struct job *before) {
  return cuda_status(queue->object.device, cudaStreamWaitEvent(((struct cuda_queue *)queue)->stream, passed_of(before), 0));
}

/* ---- the launcher ---- */

static void launch(struct job *job) {
  cudaStream_t stream = queue_of(job)->stream;
  if (!job_wait(job)) {
    struct failure failure = program_run((struct cuda_program *)job->program, job->params, stream);
    if (failure.status) job->failure = failure;
  }
  int32_t status = cuda_status(job->queue->object.device, cudaEventRecord(passed_of(job), stream));
  if (!job->failure.status) job->failure.status = status;
  if (!job->failure.status) job_announce(job);
}

/* ---- the completer ---- */

/* Waits until the stream has passed the job: polls at first, then sleeps. */
static cudaError_t wait_passed(cudaEvent_t passed) {
  uint64_t until = host_now() + SPIN_NS;
  cudaError_t code;
  while ((code = cudaEventQuery(passed)) == cudaErrorNotReady && host_now() < until) sched_yield();
  return code == cudaErrorNotReady ? cudaEventSynchronize(passed) : code;
}

static void complete(struct job *job) {
  struct device *device = job->queue->object.device;
  const struct resolved *list = &job->program->list;
  cudaError_t code = wait_passed(passed_of(job));
  int32_t status = cuda_status(device, code);
  if (status && !job->failure.status) {
    trainer_error error = {.struct_size = sizeof error};
    if (status == TRAINER_DEVICE_LOST) lost_fail(cuda_of(device), &error);
    job->failure = resolved_failure(list, TRAINER_NO_RECORD, status, error.text[0] ? error.text : cudaGetErrorString(code));
  }
  progress_add(&job->queue->progress, list->record_count);
  job_settle(job);
}

/* ---- life of a queue ---- */

struct queue *backend_queue_new(void) { return calloc(1, sizeof(struct cuda_queue)); }

int32_t backend_queue_open(struct queue *queue, uint32_t kind, trainer_error *error) {
  struct cuda_queue *own = (struct cuda_queue *)queue;
  (void)kind; /* a stream serves both */
  cudaError_t code = cudaStreamCreateWithFlags(&own->stream, cudaStreamNonBlocking);
  for (uint32_t i = 0; !code && i < QUEUE_JOBS; i++)
    code = cudaEventCreateWithFlags(&own->passed[i], cudaEventDisableTiming | cudaEventBlockingSync);
  if (code) return cuda_fail(queue->object.device, code, "creating a stream", error);
  queue->follow = follow;
  queue_add_stage(queue, launch);
  queue_add_stage(queue, complete);
  return TRAINER_OK;
}

void backend_queue_close(struct queue *queue) {
  struct cuda_queue *own = (struct cuda_queue *)queue;
  for (uint32_t i = 0; i < QUEUE_JOBS; i++)
    if (own->passed[i]) (void)cudaEventDestroy(own->passed[i]);
  if (own->stream) (void)cudaStreamDestroy(own->stream);
  (void)cudaGetLastError();
}
