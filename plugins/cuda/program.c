/* program.c - programs are resolved to kernel calls on addresses, with what the kernels
 * prepare made. Running one allocates nothing. */
#include <stdlib.h>

#include "backend.h"

struct program *backend_program_new(void) { return calloc(1, sizeof(struct cuda_program)); }

int backend_program_open(struct program *program) {
  struct cuda_program *own = (struct cuda_program *)program;
  uint64_t records = program->list.record_count;
  own->calls = calloc(records ? records : 1, sizeof *own->calls);
  program->bytes = plan_bytes(&program->list);
  return own->calls != NULL;
}

int32_t backend_record_open(struct program *program, uint32_t index, char *text, uint64_t text_bytes) {
  struct cuda_device *device = cuda_of(program->object.device);
  struct program_call *made = &((struct cuda_program *)program)->calls[index];
  struct record *record = &program->list.records[index];
  const struct kernel *kernel = kernel_of(record->op);
  if (!kernel) {
    snprintf(text, text_bytes, "there is no op 0x%x", (unsigned)record->op);
    return TRAINER_UNSUPPORTED;
  }
  record->name = kernel->name;
  if (record->n_bounds > 0) return refuse(text, text_bytes, TRAINER_UNSUPPORTED, "this backend needs every extent before the list runs, but an operand is bound");
  made->kernel = kernel;
  made->call = (struct call){
      .out = record->out,
      .in = record->in,
      .n_out = record->n_out,
      .n_in = record->n_in,
      .attr = record->attr,
      .attr_bytes = record->attr_bytes,
      .gpu = &device->gpu,
  };
  int32_t status = kernel->check(record, text, text_bytes);
  if (!status && kernel->prepare) status = prepared_get(device, kernel, &made->call, &made->prepared, text, text_bytes);
  if (status) return status;
  made->call.prepared = prepared_value(made->prepared);
  uint64_t workspace = kernel->workspace ? kernel->workspace(&made->call) : 0;
  if (workspace > program->workspace_bytes) program->workspace_bytes = workspace;
  return TRAINER_OK;
}

void *backend_params_new(struct program *program) {
  struct cuda_program *own = (struct cuda_program *)program;
  own->params = params_take(cuda_of(program->object.device), program->list.params_bytes);
  return own->params ? own->params->data : NULL;
}

void backend_program_close(struct program *program) {
  struct cuda_program *own = (struct cuda_program *)program;
  struct device *device = program->object.device;
  if (own->graph) (void)cuda_status(device, cudaGraphExecDestroy(own->graph));
  if (own->ran) (void)cuda_status(device, cudaEventDestroy(own->ran));
  for (uint32_t i = 0; own->calls && i < program->list.record_count; i++) prepared_release(cuda_of(device), own->calls[i].prepared);
  params_give(cuda_of(device), own->params);
  free(own->calls);
}

/* ---- running ---- */

/* A launch went wrong: by its own fault, or because an earlier kernel's fault shows now. */
static struct failure launch_failure(const struct program *program, uint32_t record, int32_t status, const char *text, cudaStream_t stream) {
  struct device *device = program->object.device;
  cudaError_t code = cudaStreamQuery(stream);
  if (code == cudaErrorNotReady || cuda_status(device, code) != TRAINER_DEVICE_LOST) return resolved_failure(&program->list, record, status, text);
  return resolved_failure(&program->list, cuda_of(device)->step_by_step ? record : TRAINER_NO_RECORD, TRAINER_DEVICE_LOST, cudaGetErrorString(code));
}

struct failure program_launch_record(struct cuda_program *own, uint32_t record, cudaStream_t stream) {
  struct program *program = &own->program;
  struct device *device = program->object.device;
  struct call *call = &own->calls[record].call;
  char text[256] = "";
  call->stream = stream;
  call->workspace = program->list.workspace;
  call->workspace_bytes = program->list.workspace_bytes;
  int32_t status = own->calls[record].kernel->run(call, text, sizeof text);
  if (status) return launch_failure(program, record, status, text, stream);
  cudaError_t code = cuda_of(device)->step_by_step ? cudaStreamSynchronize(stream) : cudaSuccess;
  if (code) return resolved_failure(&program->list, record, cuda_status(device, code), cudaGetErrorString(code));
  return (struct failure){.status = TRAINER_OK};
}

struct failure program_launch(struct cuda_program *own, cudaStream_t stream) {
  struct failure failure = {.status = TRAINER_OK};
  for (uint32_t i = 0; !failure.status && i < own->program.list.record_count; i++) failure = program_launch_record(own, i, stream);
  return failure;
}

/* Launches the records one by one, with a mark behind each: a graph has no place for marks. */
static struct failure launch_timed(struct cuda_program *own, struct timing *timing, cudaStream_t stream) {
  struct failure failure = {.status = TRAINER_OK};
  cudaError_t code = timing_mark(timing, 0, stream);
  for (uint32_t i = 0; !code && !failure.status && i < own->program.list.record_count; i++) {
    failure = program_launch_record(own, i, stream);
    if (!failure.status) code = timing_mark(timing, i + 1, stream);
  }
  if (code) return resolved_failure(&own->program.list, TRAINER_NO_RECORD, cuda_status(own->program.object.device, code), cudaGetErrorString(code));
  return failure;
}

/* Runs of one program follow each other, whatever streams they are on: they share its
 * params block. */
static struct failure run_ordered(struct cuda_program *own, const void *params, struct timing *timing, cudaStream_t stream) {
  const struct resolved *list = &own->program.list;
  cudaError_t code = own->ran ? cudaStreamWaitEvent(stream, own->ran, 0) : cudaSuccess;
  if (!code && own->params) code = cudaMemcpyAsync(own->params->data, params, list->params_bytes, cudaMemcpyHostToDevice, stream);
  struct failure failure = {.status = TRAINER_OK};
  if (!code && timing) failure = launch_timed(own, timing, stream);
  else if (!code && own->graph) code = cudaGraphLaunch(own->graph, stream);
  else if (!code) failure = program_launch(own, stream);
  if (!code && !failure.status && own->ran) code = cudaEventRecord(own->ran, stream);
  if (code) return resolved_failure(list, TRAINER_NO_RECORD, cuda_status(own->program.object.device, code), cudaGetErrorString(code));
  return failure;
}

struct failure program_run(struct cuda_program *own, const void *params, struct timing *timing, cudaStream_t stream) {
  pthread_mutex_lock(&own->program.run_lock);
  struct failure failure = run_ordered(own, params, timing, stream);
  pthread_mutex_unlock(&own->program.run_lock);
  return failure;
}
