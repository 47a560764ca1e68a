/* plan.c - a plan is a program with a handle whose records are captured into a CUDA graph. */
#include "backend.h"

/* What an instantiated graph keeps on the device for one record: 6 MiB for 4,000 of them on
 * an H100 with CUDA 13.0. */
#define GRAPH_BYTES_PER_RECORD 1536u

uint64_t plan_bytes(const struct resolved *list) {
  uint64_t params = (list->params_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return params + (uint64_t)list->record_count * GRAPH_BYTES_PER_RECORD;
}

static cudaGraph_t capture_lanes(struct lanes *lanes, cudaStream_t stream) {
  cudaGraph_t graph = NULL;
  if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal)) return NULL;
  struct failure failure = lanes_launch(lanes);
  cudaError_t code = cudaStreamEndCapture(stream, &graph);
  if (!failure.status && !code) return graph;
  if (graph) (void)cudaGraphDestroy(graph);
  return NULL;
}

/* Records the launches of all records; NULL where one of them cannot be captured. */
static cudaGraph_t capture(struct cuda_program *program, cudaStream_t stream) {
  struct lanes *lanes = lanes_open(program, stream);
  if (!lanes) return NULL;
  cudaGraph_t graph = capture_lanes(lanes, stream);
  lanes_close(lanes);
  return graph;
}

/* Gives the program its graph. Without one, a run launches its records one by one: slower,
 * and right. */
static int32_t make_graph(struct cuda_program *own, trainer_error *error) {
  struct device *device = own->program.object.device;
  cudaStream_t stream = NULL;
  if (cuda_of(device)->step_by_step || own->program.list.record_count == 0) return TRAINER_OK;
  cudaError_t code = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (code) return cuda_fail(device, code, "creating a stream to capture a plan", error);
  cudaGraph_t graph = capture(own, stream);
  if (graph) {
    code = cudaGraphInstantiate(&own->graph, graph, 0);
    if (!code) code = cudaGraphUpload(own->graph, stream);
    if (!code) code = cudaStreamSynchronize(stream);
    (void)cudaGraphDestroy(graph);
  }
  (void)cudaStreamDestroy(stream);
  if (code) return cuda_fail(device, code, "making a graph of the plan", error);
  return cuda_status(device, cudaSuccess);
}

int32_t backend_plan_open(struct program *program, trainer_error *error) {
  struct cuda_program *own = (struct cuda_program *)program;
  cudaError_t code = cudaEventCreateWithFlags(&own->ran, cudaEventDisableTiming);
  if (code) return cuda_fail(program->object.device, code, "creating an event", error);
  return make_graph(own, error);
}
