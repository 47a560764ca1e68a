/* query.c - which ops there are: the list of families answers for itself. */
#include "backend.h"
#include "kernels/families.h"

#define ENTRY(name) &name,
static const struct kernel *const families[] = {TRAINER_CPU_FAMILIES(ENTRY)};
#undef ENTRY

const struct kernel *kernel_of(uint32_t op) {
  for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
    if (families[i]->op == op) return families[i];
  return NULL;
}

static uint32_t level_of(const trainer_op_query *query, enum isa isa) {
  const struct kernel *kernel = kernel_of(query->op);
  if (!kernel || query->version > 1) return TRAINER_LEVEL_NONE;
  if (kernel->level) return kernel->level(query, isa);
  return asks_stored(query) ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE;
}

trainer_op_answer backend_answer(const struct device *device, const trainer_op_query *query) {
  return (trainer_op_answer){.level = level_of(query, ((const struct cpu_device *)device)->isa), .deterministic = 1};
}
