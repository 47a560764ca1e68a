/* plan.c - a plan is a program with a handle whose records are captured into a CUDA graph. */
#include "backend.h"

/* What an instantiated graph keeps on the device for one record: 6 MiB for 4,000 of them on
 * an H100 with CUDA 13.0. */
#define GRAPH_BYTES_PER_RECORD 1536u

uint64_t program_plan_bytes(const struct program *program) {
  uint64_t params = (program->list.params_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return params + (uint64_t)program->list.record_count * GRAPH_BYTES_PER_RECORD;
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
static cudaGraph_t capture(struct program *program, cudaStream_t stream) {
  struct lanes *lanes = lanes_open(program, stream);
  if (!lanes) return NULL;
  cudaGraph_t graph = capture_lanes(lanes, stream);
  lanes_close(lanes);
  return graph;
}

/* Gives the program its graph. Without one, a run launches its records one by one: slower,
 * and right. */
static int32_t make_graph(struct program *program, trainer_error *error) {
  struct device *device = program->object.device;
  cudaStream_t stream = NULL;
  if (device->step_by_step || program->list.record_count == 0) return TRAINER_OK;
  cudaError_t code = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (code) return cuda_fail(device, code, "creating a stream to capture a plan", error);
  cudaGraph_t graph = capture(program, stream);
  if (graph) {
    code = cudaGraphInstantiate(&program->graph, graph, 0);
    if (!code) code = cudaGraphUpload(program->graph, stream);
    if (!code) code = cudaStreamSynchronize(stream);
    (void)cudaGraphDestroy(graph);
  }
  (void)cudaStreamDestroy(stream);
  if (code) return cuda_fail(device, code, "making a graph of the plan", error);
  return cuda_status(device, cudaSuccess);
}

static int32_t finish_plan(struct program *program, trainer_error *error) {
  struct device *device = program->object.device;
  uint64_t bytes = program_plan_bytes(program);
  if (!meter_add(&device->meter, bytes))
    return trainer_fail(error, TRAINER_OOM, "no room for a plan of %llu bytes below the limit of %llu", (unsigned long long)bytes,
                        (unsigned long long)device->meter.limit);
  program->counted = bytes;
  cudaError_t code = cudaEventCreateWithFlags(&program->ran, cudaEventDisableTiming);
  if (code) return cuda_fail(device, code, "creating an event", error);
  return make_graph(program, error);
}

static int32_t plan_create(struct device *device, const trainer_plan_desc *desc, trainer_plan *plan, trainer_error *error) {
  struct program *program = NULL;
  int32_t status = program_create(device, desc->list, &program, NULL, error);
  if (status) return status;
  status = program_bind(program, desc->bindings, desc->binding_count, &desc->workspace, error);
  if (!status) status = finish_plan(program, error);
  if (!status) {
    trainer_plan own = {.handle = handle_new(&program->object), .bytes = program->counted};
    if (own.handle) {
      TRAINER_WRITE(plan, own);
      return TRAINER_OK;
    }
    status = trainer_fail(error, TRAINER_OOM, "no memory for a handle");
  }
  object_release(&program->object);
  return status;
}

int32_t cuda_plan_create(uint64_t handle, const trainer_plan_desc *given, trainer_plan *plan, trainer_error *error) {
  trainer_plan_desc desc;
  int32_t status;
  if (!TRAINER_READ(desc, given) || trainer_struct_size(plan) < sizeof *plan)
    return trainer_fail(error, TRAINER_INVALID, "the description or the result of plan_create is missing or too small");
  struct device *device = device_get_alive(handle, &status, error);
  if (!device) return status;
  status = plan_create(device, &desc, plan, error);
  object_release(&device->object);
  return status;
}

int32_t cuda_plan_destroy(uint64_t handle, uint64_t plan, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct object *object = handle_take(plan, OBJECT_PROGRAM, device);
  object_release(object);
  object_release(&device->object);
  return object ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the plan is not alive");
}
