/* fill.c - FILL and IOTA: dst from no input. */
#include "../../../native/half.h"
#include "strided.h"

/* ---- fill ---- */

/* The bits one element gets. */
static uint32_t fill_bits(const struct call *call) {
  uint32_t bits = ((const trainer_attr_fill *)call->attr)->value_bits;
  if (call->out[0].dtype == TRAINER_BF16) return bf16_from_f32(f32_from_bits(bits));
  if (call->out[0].dtype == TRAINER_F16) return f16_from_f32(f32_from_bits(bits));
  return bits;
}

#define FILL_ROW(type)                                                      \
  do {                                                                      \
    type *to = (type *)dst + row->offset[0];                                \
    for (int64_t i = 0; i < row->n; i++) to[i * row->step[0]] = (type)bits; \
  } while (0)

static void fill_row(const void *arg, const struct strided_row *row) {
  const struct call *call = arg;
  void *dst = call->out[0].data;
  uint32_t bits = fill_bits(call), size = dtype_bytes(call->out[0].dtype);
  if (size == 4) FILL_ROW(uint32_t);
  else if (size == 2) FILL_ROW(uint16_t);
  else FILL_ROW(uint8_t);
}

static void fill_run(const struct call *call) {
  struct strided strided;
  const struct view *views[] = {&call->out[0]};
  strided_make(&strided, views, 1);
  strided_run(call->pool, &strided, fill_row, call);
}

const struct kernel kernel_fill = {.op = TRAINER_OP_FILL, .name = "fill", .check = check_fill, .run = fill_run};

/* ---- iota ---- */

struct iota {
  const struct view *dst;
  int64_t inner; /* elements of one index */
  int64_t size;
};

static void iota_row(const void *arg, const struct strided_row *row) {
  const struct iota *iota = arg;
  int32_t *dst = (int32_t *)iota->dst->data + row->offset[0];
  for (int64_t i = 0; i < row->n; i++) dst[i * row->step[0]] = (int32_t)((row->index + i) / iota->inner % iota->size);
}

static void iota_run(const struct call *call) {
  uint32_t dim = ((const trainer_attr_iota *)call->attr)->dim;
  struct strided strided;
  const struct view *dst = &call->out[0];
  struct iota iota = {dst, 1, dst->shape[dim]};
  for (uint32_t i = dim + 1; i < dst->rank; i++) iota.inner *= dst->shape[i];
  strided_make(&strided, &dst, 1);
  strided_run(call->pool, &strided, iota_row, &iota);
}

const struct kernel kernel_iota = {.op = TRAINER_OP_IOTA, .name = "iota", .check = check_iota, .run = iota_run};
