/* timing.c - when the records of a job were done: an event in front of the first and one behind
 * each. */
#include <stdlib.h>

#include "backend.h"

struct timing {
  uint32_t records;
  uint32_t count; /* of events that were made */
  cudaEvent_t events[];
};

void timing_close(struct timing *timing) {
  if (!timing) return;
  for (uint32_t i = 0; i < timing->count; i++) (void)cudaEventDestroy(timing->events[i]);
  free(timing);
}

struct timing *timing_open(uint32_t records) {
  struct timing *timing = calloc(1, sizeof *timing + ((uint64_t)records + 1) * sizeof(cudaEvent_t));
  if (!timing) return NULL;
  timing->records = records;
  while (timing->count <= records && cudaEventCreate(&timing->events[timing->count]) == cudaSuccess) timing->count++;
  if (timing->count == records + 1) return timing;
  (void)cudaGetLastError();
  timing_close(timing);
  return NULL;
}

cudaError_t timing_mark(struct timing *timing, uint32_t done, cudaStream_t stream) { return cudaEventRecord(timing->events[done], stream); }

cudaError_t timing_read(const struct timing *timing, uint64_t *times) {
  cudaError_t code = cudaSuccess;
  times[0] = 0;
  for (uint32_t i = 0; !code && i < timing->records; i++) {
    float milliseconds = 0;
    code = cudaEventElapsedTime(&milliseconds, timing->events[i], timing->events[i + 1]);
    times[i + 1] = times[i] + (uint64_t)(1e6 * milliseconds + 0.5);
  }
  return code;
}
