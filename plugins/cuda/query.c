/* query.c - which ops there are: the list of families answers for itself. */
#include "backend.h"
#include "kernels/families.h"

#define ENTRY(name) &name,
static const struct kernel *const families[] = {TRAINER_CUDA_FAMILIES(ENTRY)};
#undef ENTRY

const struct kernel *kernel_of(uint32_t op) {
  for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
    if (families[i]->op == op) return families[i];
  return NULL;
}

static int float_or_unasked(uint32_t dtype) {
  return dtype == 0 || dtype == TRAINER_F32 || dtype == TRAINER_BF16 || dtype == TRAINER_F16;
}

static int stored(uint32_t dtype) { return float_or_unasked(dtype) || dtype == TRAINER_I32 || dtype == TRAINER_U8; }

static uint32_t level_of(const trainer_op_query *query, const struct gpu *gpu) {
  const struct kernel *kernel = kernel_of(query->op);
  if (!kernel || query->version > 1) return TRAINER_LEVEL_NONE;
  if (kernel->level) return kernel->level(query, gpu);
  return stored(query->dtype) && float_or_unasked(query->weight_dtype) ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE;
}

/* The gradient of attention adds with atomics where nobody asked for equal bits. */
static trainer_op_answer answer(const trainer_op_query *query, const void *arg) {
  const struct gpu *gpu = &((const struct device *)arg)->gpu;
  return (trainer_op_answer){.level = level_of(query, gpu), .deterministic = gpu->deterministic || query->op != TRAINER_OP_ATTENTION_GRAD};
}

int32_t cuda_query_ops(uint64_t handle, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  int32_t status = trainer_answer_ops(queries, count, answers, answer, device, error);
  object_release(&device->object);
  return status;
}
