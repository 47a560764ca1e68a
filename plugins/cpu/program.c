/* program.c - lists become programs: resolved to kernel calls on addresses. Running one
 * allocates nothing. */
#include <stdlib.h>

#include "backend.h"

static void program_release(struct object *object) {
  struct program *program = (struct program *)object;
  resolved_free(&program->list);
  meter_remove(&object->device->meter, program->counted);
  pthread_mutex_destroy(&program->run_lock);
  free(program->calls);
  free(program->params);
  free(program);
}

/* Makes the call of one record and lets its kernel check it. */
static int32_t make_call(struct program *program, struct program_call *made, struct resolved_record *record, char *text, uint64_t text_bytes) {
  struct device *device = program->object.device;
  made->kernel = kernel_of(record->op);
  if (!made->kernel) {
    snprintf(text, text_bytes, "there is no op 0x%x", (unsigned)record->op);
    return TRAINER_UNSUPPORTED;
  }
  record->name = made->kernel->name;
  made->call = (struct call){
      .out = record->views,
      .in = record->views + record->n_out,
      .n_out = record->n_out,
      .n_in = record->n_in,
      .attr = record->attr,
      .attr_bytes = record->attr_bytes,
      .isa = device->isa,
      .pool = device->pool,
  };
  int32_t status = made->kernel->check ? made->kernel->check(&made->call, text, text_bytes) : TRAINER_OK;
  if (status || !made->kernel->workspace) return status;
  uint64_t workspace = made->kernel->workspace(&made->call, pool_threads(device->pool));
  if (workspace > program->workspace_bytes) program->workspace_bytes = workspace;
  return TRAINER_OK;
}

static int32_t make_calls(struct program *program, uint32_t *bad_record, trainer_error *error) {
  char text[256] = "";
  struct resolved *list = &program->list;
  uint64_t calls = list->record_count ? list->record_count : 1;
  program->calls = calloc(calls, sizeof *program->calls);
  program->params = calloc(1, list->params_bytes + 1);
  program->bytes = sizeof *program + list->bytes + calls * sizeof *program->calls + list->params_bytes + 1;
  if (!program->calls || !program->params) return trainer_fail(error, TRAINER_OOM, "no memory to resolve the list");
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
  struct binding_rules rules = {
      .device = program->object.device,
      .workspace_bytes = program->workspace_bytes,
      .workspace_alignment = WORKSPACE_ALIGNMENT,
      .params = program->params,
  };
  int32_t status = resolved_bind(list, &rules, bindings, count, workspace, error);
  for (uint32_t i = 0; !status && i < list->record_count; i++) {
    program->calls[i].call.workspace = list->workspace;
    program->calls[i].call.workspace_bytes = list->workspace_bytes;
  }
  return status;
}

/* Sets bounded dimensions to their extents of now, never above what was checked. */
static void apply_bounds(const struct resolved_record *record) {
  for (uint32_t i = 0; i < record->n_bounds; i++) {
    const struct bound *bound = &record->bounds[i];
    int64_t extent = *(const int32_t *)bound->by->data;
    if (extent > bound->limit) extent = bound->limit;
    bound->view->shape[bound->dim] = extent > 0 ? extent : 0;
    bound->view->count = 1;
    for (uint32_t dim = 0; dim < bound->view->rank; dim++) bound->view->count *= bound->view->shape[dim];
  }
}

void program_run(struct program *program, const void *params, struct pool *pool, struct progress *progress) {
  pthread_mutex_lock(&program->run_lock);
  if (program->list.params_bytes) memcpy(program->params, params, program->list.params_bytes);
  for (uint32_t i = 0; i < program->list.record_count; i++) {
    struct program_call *next = &program->calls[i];
    apply_bounds(&program->list.records[i]);
    next->call.pool = pool;
    next->kernel->run(&next->call);
    progress_add(progress, 1);
  }
  pthread_mutex_unlock(&program->run_lock);
}

int32_t cpu_list_check(uint64_t handle, const trainer_list *list, trainer_list_report *report, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  trainer_list_report own = {.bad_record = TRAINER_NO_RECORD};
  struct program *program = NULL;
  int32_t status = program_create(device, list, &program, &own.bad_record, error);
  if (!status) {
    own.workspace_bytes = program->workspace_bytes;
    own.plan_bytes = program->bytes;
    object_release(&program->object);
  }
  object_release(&device->object);
  TRAINER_WRITE(report, own);
  return status;
}
