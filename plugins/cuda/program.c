/* program.c - lists become programs: resolved to kernel calls on addresses, with what the
 * kernels prepare made. Running one allocates nothing. */
#include <stdlib.h>

#include "backend.h"

static void program_release(struct object *object) {
  struct program *program = (struct program *)object;
  struct device *device = object->device;
  if (program->graph) (void)cuda_status(device, cudaGraphExecDestroy(program->graph));
  if (program->ran) (void)cuda_status(device, cudaEventDestroy(program->ran));
  for (uint32_t i = 0; program->calls && i < program->list.record_count; i++) prepared_release(device, program->calls[i].prepared);
  params_give(device, program->params);
  meter_remove(&device->meter, program->counted);
  pthread_mutex_destroy(&program->run_lock);
  free(program->calls);
  resolved_free(&program->list);
  free(program);
}

/* Makes the call of one record and lets its kernel check and prepare it. */
static int32_t make_call(struct program *program, struct program_call *made, struct resolved_record *record, char *text, uint64_t text_bytes) {
  struct device *device = program->object.device;
  const struct kernel *kernel = kernel_of(record->op);
  if (!kernel) {
    snprintf(text, text_bytes, "there is no op 0x%x", (unsigned)record->op);
    return TRAINER_UNSUPPORTED;
  }
  record->name = kernel->name;
  if (record->n_bounds > 0) return refuse(text, text_bytes, TRAINER_UNSUPPORTED, "this backend needs every extent before the list runs, but an operand is bound");
  made->kernel = kernel;
  made->call = (struct call){
      .out = record->views,
      .in = record->views + record->n_out,
      .n_out = record->n_out,
      .n_in = record->n_in,
      .attr = record->attr,
      .attr_bytes = record->attr_bytes,
      .gpu = &device->gpu,
  };
  int32_t status = kernel->check ? kernel->check(&made->call, text, text_bytes) : TRAINER_OK;
  if (!status && kernel->prepare) status = prepared_get(device, kernel, &made->call, &made->prepared, text, text_bytes);
  if (status) return status;
  made->call.prepared = prepared_value(made->prepared);
  uint64_t workspace = kernel->workspace ? kernel->workspace(&made->call) : 0;
  if (workspace > program->workspace_bytes) program->workspace_bytes = workspace;
  return TRAINER_OK;
}

static int32_t make_calls(struct program *program, uint32_t *bad_record, trainer_error *error) {
  char text[256] = "";
  struct resolved *list = &program->list;
  program->calls = calloc(list->record_count ? list->record_count : 1, sizeof *program->calls);
  if (!program->calls) return trainer_fail(error, TRAINER_OOM, "no memory to resolve the list");
  for (uint32_t i = 0; i < list->record_count; i++) {
    int32_t status = make_call(program, &program->calls[i], &list->records[i], text, sizeof text);
    if (status) {
      *bad_record = i;
      return resolved_fail(list, i, status, text, error);
    }
  }
  return TRAINER_OK;
}

int32_t program_create(struct device *device, const trainer_list *list, struct program **out, uint32_t *bad_record, trainer_error *error) {
  uint32_t bad = TRAINER_NO_RECORD;
  struct program *program = calloc(1, sizeof *program);
  if (!program) return trainer_fail(error, TRAINER_OOM, "no memory for a program");
  object_init(&program->object, OBJECT_PROGRAM, device, program_release);
  pthread_mutex_init(&program->run_lock, NULL);
  int32_t status = resolve(&program->list, list, LIST_BYTES_MAX, &bad, error);
  if (!status) status = make_calls(program, &bad, error);
  if (bad_record) *bad_record = bad;
  if (status) object_release(&program->object);
  else *out = program;
  return status;
}

int32_t program_bind(struct program *program, const trainer_binding *bindings, uint32_t count, const trainer_binding *workspace, trainer_error *error) {
  struct resolved *list = &program->list;
  if (list->params_bytes) program->params = params_take(program->object.device, list->params_bytes);
  if (list->params_bytes && !program->params) return trainer_fail(error, TRAINER_OOM, "no memory for a params block");
  struct binding_rules rules = {
      .device = program->object.device,
      .workspace_bytes = program->workspace_bytes,
      .workspace_alignment = ALIGNMENT,
      .params = program->params ? program->params->data : NULL,
  };
  int32_t status = resolved_bind(list, &rules, bindings, count, workspace, error);
  for (uint32_t i = 0; !status && i < list->record_count; i++) {
    program->calls[i].call.workspace = list->workspace;
    program->calls[i].call.workspace_bytes = list->workspace_bytes;
  }
  return status;
}

/* ---- running ---- */

static struct failure failure_at(const struct program *program, uint32_t record, int32_t status, const char *text) {
  struct failure failure = {.status = status, .record = record, .serial = program->list.serial};
  const char *name = record == TRAINER_NO_RECORD ? NULL : program->list.records[record].name;
  if (name) snprintf(failure.text, sizeof failure.text, "record %u (%s): %.180s", (unsigned)record, name, text);
  else snprintf(failure.text, sizeof failure.text, "%.250s", text);
  return failure;
}

/* A launch went wrong: by its own fault, or because an earlier kernel's fault shows now. */
static struct failure launch_failure(const struct program *program, uint32_t record, int32_t status, const char *text, cudaStream_t stream) {
  struct device *device = program->object.device;
  cudaError_t code = cudaStreamQuery(stream);
  if (code == cudaErrorNotReady || cuda_status(device, code) != TRAINER_DEVICE_LOST) return failure_at(program, record, status, text);
  return failure_at(program, device->step_by_step ? record : TRAINER_NO_RECORD, TRAINER_DEVICE_LOST, cudaGetErrorString(code));
}

struct failure program_launch_record(struct program *program, uint32_t record, cudaStream_t stream) {
  struct device *device = program->object.device;
  struct program_call *next = &program->calls[record];
  char text[256] = "";
  next->call.stream = stream;
  int32_t status = next->kernel->run(&next->call, text, sizeof text);
  if (status) return launch_failure(program, record, status, text, stream);
  cudaError_t code = device->step_by_step ? cudaStreamSynchronize(stream) : cudaSuccess;
  if (code) return failure_at(program, record, cuda_status(device, code), cudaGetErrorString(code));
  return (struct failure){.status = TRAINER_OK};
}

struct failure program_launch(struct program *program, cudaStream_t stream) {
  struct failure failure = {.status = TRAINER_OK};
  for (uint32_t i = 0; !failure.status && i < program->list.record_count; i++) failure = program_launch_record(program, i, stream);
  return failure;
}

/* Runs of one program follow each other, whatever streams they are on: they share its
 * params block. */
static struct failure run_ordered(struct program *program, const void *params, cudaStream_t stream) {
  cudaError_t code = program->ran ? cudaStreamWaitEvent(stream, program->ran, 0) : cudaSuccess;
  if (!code && program->params)
    code = cudaMemcpyAsync(program->params->data, params, program->list.params_bytes, cudaMemcpyHostToDevice, stream);
  struct failure failure = {.status = TRAINER_OK};
  if (!code && program->graph) code = cudaGraphLaunch(program->graph, stream);
  else if (!code) failure = program_launch(program, stream);
  if (!code && !failure.status && program->ran) code = cudaEventRecord(program->ran, stream);
  if (code) return failure_at(program, TRAINER_NO_RECORD, cuda_status(program->object.device, code), cudaGetErrorString(code));
  return failure;
}

struct failure program_run(struct program *program, const void *params, cudaStream_t stream) {
  pthread_mutex_lock(&program->run_lock);
  struct failure failure = run_ordered(program, params, stream);
  pthread_mutex_unlock(&program->run_lock);
  return failure;
}

int32_t cuda_list_check(uint64_t handle, const trainer_list *list, trainer_list_report *report, trainer_error *error) {
  int32_t status;
  struct device *device = device_get_alive(handle, &status, error);
  if (!device) return status;
  trainer_list_report own = {.bad_record = TRAINER_NO_RECORD};
  struct program *program = NULL;
  status = program_create(device, list, &program, &own.bad_record, error);
  if (!status) {
    own.workspace_bytes = program->workspace_bytes;
    own.plan_bytes = program_plan_bytes(program);
    object_release(&program->object);
  }
  object_release(&device->object);
  TRAINER_WRITE(report, own);
  return status;
}
