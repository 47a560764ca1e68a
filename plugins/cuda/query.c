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

static uint32_t level_of(const trainer_op_query *query, const struct gpu *gpu) {
  const struct kernel *kernel = kernel_of(query->op);
  if (!kernel || query->version > 1) return TRAINER_LEVEL_NONE;
  if (kernel->level) return kernel->level(query, gpu);
  return asks_stored(query) ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE;
}

/* The gradient of attention adds with atomics where nobody asked for equal bits. */
trainer_op_answer backend_answer(const struct device *device, const trainer_op_query *query) {
  const struct gpu *gpu = &((const struct cuda_device *)device)->gpu;
  return (trainer_op_answer){.level = level_of(query, gpu), .deterministic = gpu->deterministic || query->op != TRAINER_OP_ATTENTION_GRAD};
}
