/* lanes.c - records of the copy lane run beside those of the others: in a captured graph they
 * are branches, joined by the records that come after one another. */
#include <stdlib.h>

#include "backend.h"

struct lanes {
  struct cuda_program *program;
  cudaStream_t stream[LANES];
  cudaEvent_t *passed; /* by record: made for those that another lane comes after */
  cudaEvent_t edge;    /* where lanes part, then where they meet */
};

/* A record that needs workspace stays in the compute lane, which the workspace belongs to. */
static uint32_t lane_of(const struct cuda_program *program, uint32_t record) {
  const struct program_call *call = &program->calls[record];
  int copies = program->program.list.records[record].lane == 1 && !call->kernel->workspace;
  return copies ? 1 : 0;
}

static int has_copies(const struct cuda_program *program) {
  for (uint32_t i = 0; i < program->program.list.record_count; i++)
    if (lane_of(program, i)) return 1;
  return 0;
}

static cudaError_t wait_for(struct lanes *lanes, uint32_t record) {
  const struct record *at = &lanes->program->program.list.records[record];
  cudaStream_t stream = lanes->stream[lane_of(lanes->program, record)];
  cudaError_t code = cudaSuccess;
  for (uint32_t i = 0; !code && i < at->n_after; i++)
    if (lanes->passed[at->after[i]]) code = cudaStreamWaitEvent(stream, lanes->passed[at->after[i]], 0);
  return code;
}

/* Makes an event for every record that one of another lane comes after. */
static cudaError_t make_events(struct lanes *lanes) {
  const struct cuda_program *program = lanes->program;
  cudaError_t code = cudaEventCreateWithFlags(&lanes->edge, cudaEventDisableTiming);
  for (uint32_t i = 0; i < program->program.list.record_count; i++) {
    const struct record *at = &program->program.list.records[i];
    for (uint32_t j = 0; !code && j < at->n_after; j++) {
      cudaEvent_t *passed = &lanes->passed[at->after[j]];
      if (!*passed && lane_of(program, at->after[j]) != lane_of(program, i)) code = cudaEventCreateWithFlags(passed, cudaEventDisableTiming);
    }
  }
  return code;
}

/* One lane goes on where the other is now. */
static cudaError_t meet(struct lanes *lanes, cudaStream_t ahead, cudaStream_t behind) {
  cudaError_t code = cudaEventRecord(lanes->edge, ahead);
  return code ? code : cudaStreamWaitEvent(behind, lanes->edge, 0);
}

static struct failure run(struct lanes *lanes) {
  struct failure failure = {.status = TRAINER_OK, .record = TRAINER_NO_RECORD};
  cudaError_t code = meet(lanes, lanes->stream[0], lanes->stream[1]);
  for (uint32_t i = 0; !code && !failure.status && i < lanes->program->program.list.record_count; i++) {
    cudaStream_t stream = lanes->stream[lane_of(lanes->program, i)];
    code = wait_for(lanes, i);
    if (!code) failure = program_launch_record(lanes->program, i, stream);
    if (!code && !failure.status && lanes->passed[i]) code = cudaEventRecord(lanes->passed[i], stream);
  }
  if (!code) code = meet(lanes, lanes->stream[1], lanes->stream[0]);
  if (code && !failure.status) failure.status = cuda_status(lanes->program->program.object.device, code);
  return failure;
}

struct lanes *lanes_open(struct cuda_program *program, cudaStream_t stream) {
  uint32_t records = program->program.list.record_count;
  struct lanes *lanes = calloc(1, sizeof *lanes);
  if (!lanes) return NULL;
  *lanes = (struct lanes){.program = program, .stream = {stream}};
  if (!has_copies(program)) return lanes;
  lanes->passed = calloc(records, sizeof *lanes->passed);
  cudaError_t code = lanes->passed ? cudaStreamCreateWithFlags(&lanes->stream[1], cudaStreamNonBlocking) : cudaErrorMemoryAllocation;
  if (!code) code = make_events(lanes);
  if (!code) return lanes;
  lanes_close(lanes);
  return NULL;
}

struct failure lanes_launch(struct lanes *lanes) { return lanes->passed ? run(lanes) : program_launch(lanes->program, lanes->stream[0]); }

void lanes_close(struct lanes *lanes) {
  for (uint32_t i = 0; lanes->passed && i < lanes->program->program.list.record_count; i++)
    if (lanes->passed[i]) (void)cudaEventDestroy(lanes->passed[i]);
  if (lanes->edge) (void)cudaEventDestroy(lanes->edge);
  if (lanes->stream[1]) (void)cudaStreamDestroy(lanes->stream[1]);
  free(lanes->passed);
  free(lanes);
}
