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

static int float_or_unasked(uint32_t dtype) {
  return dtype == 0 || dtype == TRAINER_F32 || dtype == TRAINER_BF16 || dtype == TRAINER_F16;
}

static int stored(uint32_t dtype) { return float_or_unasked(dtype) || dtype == TRAINER_I32 || dtype == TRAINER_U8; }

static uint32_t level_of(const trainer_op_query *query, enum isa isa) {
  const struct kernel *kernel = kernel_of(query->op);
  if (!kernel || query->version > 1) return TRAINER_LEVEL_NONE;
  if (kernel->level) return kernel->level(query, isa);
  return stored(query->dtype) && float_or_unasked(query->weight_dtype) ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE;
}

/* Elements of the two arrays lie struct_size of their first one apart. */
int32_t cpu_query_ops(uint64_t handle, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error) {
  uint32_t asked = trainer_struct_size(queries), answered = trainer_struct_size(answers);
  if (count == 0) return TRAINER_OK;
  if (asked < 2 * sizeof(uint32_t) || answered < 2 * sizeof(uint32_t))
    return trainer_fail(error, TRAINER_INVALID, "the queries or the answers are missing or too small");
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  int32_t status = TRAINER_OK;
  for (uint32_t i = 0; i < count && status == TRAINER_OK; i++) {
    trainer_op_query query;
    const char *at = (const char *)queries + (size_t)i * asked;
    char *to = (char *)answers + (size_t)i * answered;
    if (trainer_struct_size(at) != asked || trainer_struct_size(to) != answered) {
      status = trainer_fail(error, TRAINER_INVALID, "query or answer %u has another struct_size than the first", (unsigned)i);
      break;
    }
    TRAINER_READ(query, at);
    trainer_op_answer answer = {.level = level_of(&query, device->isa), .deterministic = 1};
    TRAINER_WRITE(to, answer);
  }
  object_release(&device->object);
  return status;
}
