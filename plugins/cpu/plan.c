/* plan.c - a plan is a program with a handle, counted in the device's memory. */
#include "backend.h"

static int32_t plan_create(struct device *device, const trainer_plan_desc *desc, trainer_plan *plan, trainer_error *error) {
  struct program *program = NULL;
  int32_t status = program_create(device, desc->list, &program, NULL, error);
  if (status) return status;
  status = program_bind(program, desc->bindings, desc->binding_count, &desc->workspace, error);
  if (!status && !meter_add(&device->meter, program->bytes)) {
    status = trainer_fail(error, TRAINER_OOM, "no room for a plan of %llu bytes", (unsigned long long)program->bytes);
  } else if (!status) {
    program->counted = program->bytes;
    trainer_plan own = {.handle = handle_new(&program->object), .bytes = program->bytes};
    if (own.handle) {
      TRAINER_WRITE(plan, own);
      return TRAINER_OK;
    }
    status = trainer_fail(error, TRAINER_OOM, "no memory for a handle");
  }
  object_release(&program->object);
  return status;
}

int32_t cpu_plan_create(uint64_t handle, const trainer_plan_desc *given, trainer_plan *plan, trainer_error *error) {
  trainer_plan_desc desc;
  if (!TRAINER_READ(desc, given) || trainer_struct_size(plan) < sizeof *plan)
    return trainer_fail(error, TRAINER_INVALID, "the description or the result of plan_create is missing or too small");
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  int32_t status = plan_create(device, &desc, plan, error);
  object_release(&device->object);
  return status;
}

int32_t cpu_plan_destroy(uint64_t handle, uint64_t plan, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct object *object = handle_take(plan, OBJECT_PROGRAM, device);
  object_release(object);
  object_release(&device->object);
  return object ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the plan is not alive");
}
