/* program.c - see program.h. */
#include "program.h"

#include <stdlib.h>

#include "backend.h"

static void program_release(struct object *object) {
  struct program *program = (struct program *)object;
  backend_program_close(program);
  meter_remove(&object->device->meter, program->counted);
  pthread_mutex_destroy(&program->run_lock);
  resolved_free(&program->list);
  free(program);
}

static int32_t open_records(struct program *program, uint32_t *bad_record, trainer_error *error) {
  char text[256] = "";
  if (!backend_program_open(program)) return trainer_fail(error, TRAINER_OOM, "no memory to resolve the list");
  for (uint32_t i = 0; i < program->list.record_count; i++) {
    int32_t status = backend_record_open(program, i, text, sizeof text);
    if (!status) continue;
    *bad_record = i;
    return resolved_fail(&program->list, i, status, text, error);
  }
  return TRAINER_OK;
}

int32_t program_create(struct device *device, const trainer_list *list, struct program **out, uint32_t *bad_record, trainer_error *error) {
  uint32_t bad = TRAINER_NO_RECORD;
  struct program *program = backend_program_new();
  if (!program) return trainer_fail(error, TRAINER_OOM, "no memory for a program");
  object_init(&program->object, OBJECT_PROGRAM, device, program_release);
  pthread_mutex_init(&program->run_lock, NULL);
  int32_t status = resolve(&program->list, list, LIST_BYTES_MAX, &bad, error);
  if (!status) status = open_records(program, &bad, error);
  if (bad_record) *bad_record = bad;
  if (status) object_release(&program->object);
  else *out = program;
  return status;
}

int32_t program_bind(struct program *program, const trainer_binding *bindings, uint32_t count, const trainer_binding *workspace, trainer_error *error) {
  struct device *device = program->object.device;
  if (program->list.params_bytes && !(program->params = backend_params_new(program)))
    return trainer_fail(error, TRAINER_OOM, "no memory for params");
  struct binding_rules rules = {
      .device = device,
      .workspace_bytes = program->workspace_bytes,
      .workspace_alignment = device->alignment,
      .params = program->params,
  };
  return resolved_bind(&program->list, &rules, bindings, count, workspace, error);
}

int32_t list_check(uint64_t handle, const trainer_list *list, trainer_list_report *report, trainer_error *error) {
  int32_t status;
  struct device *device = device_get_alive(handle, &status, error);
  if (!device) return status;
  trainer_list_report own = {.bad_record = TRAINER_NO_RECORD};
  struct program *program = NULL;
  status = program_create(device, list, &program, &own.bad_record, error);
  if (!status) {
    own.workspace_bytes = program->workspace_bytes;
    own.plan_bytes = program->bytes;
    object_release(&program->object);
  }
  object_release(&device->object);
  TRAINER_WRITE(report, own);
  return status;
}

/* ---- plans ---- */

static int32_t count_plan(struct program *program, trainer_error *error) {
  struct meter *meter = &program->object.device->meter;
  if (!meter_add(meter, program->bytes))
    return trainer_fail(error, TRAINER_OOM, "no room for a plan of %llu bytes below the limit of %llu", (unsigned long long)program->bytes,
                        (unsigned long long)meter->limit);
  program->counted = program->bytes;
  return TRAINER_OK;
}

static int32_t plan_publish(struct device *device, const trainer_plan_desc *desc, trainer_plan *plan, trainer_error *error) {
  struct program *program = NULL;
  int32_t status = program_create(device, desc->list, &program, NULL, error);
  if (status) return status;
  status = program_bind(program, desc->bindings, desc->binding_count, &desc->workspace, error);
  if (!status) status = count_plan(program, error);
  if (!status) status = backend_plan_open(program, error);
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

int32_t plan_create(uint64_t handle, const trainer_plan_desc *given, trainer_plan *plan, trainer_error *error) {
  trainer_plan_desc desc;
  int32_t status;
  if (!TRAINER_READ(desc, given) || trainer_struct_size(plan) < sizeof *plan)
    return trainer_fail(error, TRAINER_INVALID, "the description or the result of plan_create is missing or too small");
  struct device *device = device_get_alive(handle, &status, error);
  if (!device) return status;
  status = plan_publish(device, &desc, plan, error);
  object_release(&device->object);
  return status;
}

int32_t plan_destroy(uint64_t device, uint64_t plan, trainer_error *error) { return device_drop(device, plan, OBJECT_PROGRAM, "plan", error); }
