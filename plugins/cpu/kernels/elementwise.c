/* elementwise.c - UNARY, BINARY and SELECT over strided, broadcast views. */
#include <math.h>
#include <string.h>

#include "../../../native/half.h"
#include "rowmath.h"
#include "strided.h"

/* Writes 0 or 1 per element of x in dst's dtype. */
static void store_flags(const float *x, const struct view *dst, int64_t offset, int64_t step, int64_t n) {
  if (dst->dtype == TRAINER_I32) {
    for (int64_t i = 0; i < n; i++) ((int32_t *)dst->data)[offset + i * step] = x[i] != 0.0f;
  } else {
    for (int64_t i = 0; i < n; i++) ((uint8_t *)dst->data)[offset + i * step] = x[i] != 0.0f;
  }
}

/* ---- unary ---- */

struct unary {
  const struct call *call;
  const struct rowmath *math;
  uint32_t code;
  float alpha;
  float beta;
};

#define EACH(expression)                        \
  do {                                          \
    for (int64_t i = 0; i < n; i++) {           \
      float v = x[i];                           \
      y[i] = expression;                        \
    }                                           \
  } while (0)

static void unary_apply(const struct unary *unary, float *y, const float *x, int64_t n) {
  switch (unary->code) {
  case TRAINER_UNARY_NEG: EACH(-v); break;
  case TRAINER_UNARY_EXP: unary->math->exp(y, x, n); break;
  case TRAINER_UNARY_LOG: EACH(logf(v)); break;
  case TRAINER_UNARY_SQRT: EACH(sqrtf(v)); break;
  case TRAINER_UNARY_RSQRT: EACH(1.0f / sqrtf(v)); break;
  case TRAINER_UNARY_TANH: EACH(tanhf(v)); break;
  case TRAINER_UNARY_SIGMOID: unary->math->sigmoid(y, x, n); break;
  case TRAINER_UNARY_ABS: EACH(fabsf(v)); break;
  case TRAINER_UNARY_RECIPROCAL: EACH(1.0f / v); break;
  case TRAINER_UNARY_SIN: EACH(sinf(v)); break;
  case TRAINER_UNARY_COS: EACH(cosf(v)); break;
  case TRAINER_UNARY_FLOOR: EACH(floorf(v)); break;
  case TRAINER_UNARY_ISFINITE: EACH((float)((f32_bits(v) & 0x7F800000u) != 0x7F800000u)); break;
  case TRAINER_UNARY_AFFINE: EACH(v * unary->alpha + unary->beta); break;
  default: EACH(rintf(v)); break; /* ROUND; the rounding mode is to nearest even */
  }
}

static void unary_row(const void *arg, const struct strided_row *row) {
  const struct unary *unary = arg;
  const struct view *dst = &unary->call->out[0];
  float from[STRIDED_ROW], to[STRIDED_ROW];
  const float *x = row_load(from, &unary->call->in[0], row->offset[1], row->step[1], row->n);
  if (!is_float(dst)) {
    unary_apply(unary, to, x, row->n);
    store_flags(to, dst, row->offset[0], row->step[0], row->n);
    return;
  }
  float *y = row_target(to, dst, row->offset[0], row->step[0]);
  unary_apply(unary, y, x, row->n);
  row_commit(y, dst, row->offset[0], row->step[0], row->n);
}

static void unary_run(const struct call *call) {
  const trainer_attr_unary *attr = call->attr;
  struct strided strided;
  struct unary unary = {call, rowmath_for(call->isa), attr->code, f32_from_bits(attr->alpha_bits), f32_from_bits(attr->beta_bits)};
  const struct view *views[] = {&call->out[0], &call->in[0]};
  strided_make(&strided, views, 2);
  strided_run(call->pool, &strided, unary_row, &unary);
}

const struct kernel kernel_unary = {.op = TRAINER_OP_UNARY, .name = "unary", .check = check_unary, .run = unary_run};

/* ---- binary ---- */

struct binary {
  const struct call *call;
  uint32_t code;
};

#define EACH2(expression)                       \
  do {                                          \
    _Pragma("GCC ivdep")                        \
    for (int64_t i = 0; i < n; i++) {           \
      float v = a[i], w = b[i];                 \
      y[i] = expression;                        \
    }                                           \
  } while (0)

static void binary_apply(uint32_t code, float *y, const float *a, const float *b, int64_t n) {
  switch (code) {
  case TRAINER_BINARY_ADD: EACH2(v + w); break;
  case TRAINER_BINARY_SUB: EACH2(v - w); break;
  case TRAINER_BINARY_MUL: EACH2(v * w); break;
  case TRAINER_BINARY_DIV: EACH2(v / w); break;
  case TRAINER_BINARY_MAX: EACH2(v > w || v != v ? v : w); break;
  case TRAINER_BINARY_MIN: EACH2(v < w || v != v ? v : w); break;
  case TRAINER_BINARY_LT: EACH2((float)(v < w)); break;
  case TRAINER_BINARY_LE: EACH2((float)(v <= w)); break;
  case TRAINER_BINARY_EQ: EACH2((float)(v == w)); break;
  default: EACH2(powf(v, w)); break;
  }
}

/* Wraps around; x^negative is 0 but for x = 1 and -1; 0^negative is 0. */
static int32_t int_power(int32_t base, int32_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;
  uint32_t result = 1, square = (uint32_t)base;
  for (uint32_t left = (uint32_t)exponent; left; left >>= 1, square *= square)
    if (left & 1) result *= square;
  return (int32_t)result;
}

/* i32 arithmetic wraps around; division truncates, by zero it gives 0. */
static int32_t int_apply(uint32_t code, int32_t a, int32_t b) {
  switch (code) {
  case TRAINER_BINARY_ADD: return (int32_t)((uint32_t)a + (uint32_t)b);
  case TRAINER_BINARY_SUB: return (int32_t)((uint32_t)a - (uint32_t)b);
  case TRAINER_BINARY_MUL: return (int32_t)((uint32_t)a * (uint32_t)b);
  case TRAINER_BINARY_DIV: return b == 0 ? 0 : b == -1 ? (int32_t)(0u - (uint32_t)a) : a / b;
  case TRAINER_BINARY_MAX: return a > b ? a : b;
  case TRAINER_BINARY_MIN: return a < b ? a : b;
  case TRAINER_BINARY_LT: return a < b;
  case TRAINER_BINARY_LE: return a <= b;
  case TRAINER_BINARY_EQ: return a == b;
  default: return int_power(a, b);
  }
}

static void int_row(const struct binary *binary, const struct strided_row *row) {
  const struct call *call = binary->call;
  const struct view *dst = &call->out[0];
  const int32_t *a = (const int32_t *)call->in[0].data + row->offset[1];
  const int32_t *b = (const int32_t *)call->in[1].data + row->offset[2];
  float flags[STRIDED_ROW];
  for (int64_t i = 0; i < row->n; i++) {
    int32_t value = int_apply(binary->code, a[i * row->step[1]], b[i * row->step[2]]);
    if (dst->dtype == TRAINER_I32) ((int32_t *)dst->data)[row->offset[0] + i * row->step[0]] = value;
    else flags[i] = (float)value;
  }
  if (is_float(dst)) {
    float to[STRIDED_ROW];
    float *y = row_target(to, dst, row->offset[0], row->step[0]);
    memcpy(y, flags, (size_t)row->n * sizeof *y);
    row_commit(y, dst, row->offset[0], row->step[0], row->n);
  } else if (dst->dtype == TRAINER_U8) {
    store_flags(flags, dst, row->offset[0], row->step[0], row->n);
  }
}

static void binary_row(const void *arg, const struct strided_row *row) {
  const struct binary *binary = arg;
  const struct call *call = binary->call;
  const struct view *dst = &call->out[0];
  if (call->in[0].dtype == TRAINER_I32) {
    int_row(binary, row);
    return;
  }
  float left[STRIDED_ROW], right[STRIDED_ROW], to[STRIDED_ROW];
  const float *a = row_load(left, &call->in[0], row->offset[1], row->step[1], row->n);
  const float *b = row_load(right, &call->in[1], row->offset[2], row->step[2], row->n);
  if (!is_float(dst)) {
    binary_apply(binary->code, to, a, b, row->n);
    store_flags(to, dst, row->offset[0], row->step[0], row->n);
    return;
  }
  float *y = row_target(to, dst, row->offset[0], row->step[0]);
  binary_apply(binary->code, y, a, b, row->n);
  row_commit(y, dst, row->offset[0], row->step[0], row->n);
}

static void binary_run(const struct call *call) {
  struct strided strided;
  struct binary binary = {call, ((const trainer_attr_binary *)call->attr)->code};
  const struct view *views[] = {&call->out[0], &call->in[0], &call->in[1]};
  strided_make(&strided, views, 3);
  strided_run(call->pool, &strided, binary_row, &binary);
}

const struct kernel kernel_binary = {.op = TRAINER_OP_BINARY, .name = "binary", .check = check_binary, .run = binary_run};

/* ---- select ---- */

/* taken[i] = cond != 0 for a row; NaN is not 0. */
static void load_condition(uint8_t *taken, const struct view *cond, int64_t offset, int64_t step, int64_t n) {
  float buffer[STRIDED_ROW];
  if (cond->dtype == TRAINER_I32) {
    for (int64_t i = 0; i < n; i++) taken[i] = ((const int32_t *)cond->data)[offset + i * step] != 0;
  } else if (cond->dtype == TRAINER_U8) {
    for (int64_t i = 0; i < n; i++) taken[i] = ((const uint8_t *)cond->data)[offset + i * step] != 0;
  } else {
    const float *x = row_load(buffer, cond, offset, step, n);
    for (int64_t i = 0; i < n; i++) taken[i] = x[i] != 0.0f;
  }
}

#define SELECT_ROW(type)                                                                          \
  do {                                                                                            \
    type *y = (type *)dst->data + row->offset[0];                                                 \
    const type *a = (const type *)in[1].data + row->offset[2], *b = (const type *)in[2].data + row->offset[3]; \
    for (int64_t i = 0; i < row->n; i++) y[i * row->step[0]] = taken[i] ? a[i * row->step[2]] : b[i * row->step[3]]; \
  } while (0)

static void select_row(const void *arg, const struct strided_row *row) {
  const struct call *call = arg;
  const struct view *dst = &call->out[0], *in = call->in;
  uint8_t taken[STRIDED_ROW];
  load_condition(taken, &in[0], row->offset[1], row->step[1], row->n);
  if (dst->dtype == TRAINER_I32) {
    SELECT_ROW(int32_t);
  } else if (dst->dtype == TRAINER_U8) {
    SELECT_ROW(uint8_t);
  } else {
    float left[STRIDED_ROW], right[STRIDED_ROW], to[STRIDED_ROW];
    const float *a = row_load(left, &in[1], row->offset[2], row->step[2], row->n);
    const float *b = row_load(right, &in[2], row->offset[3], row->step[3], row->n);
    float *y = row_target(to, dst, row->offset[0], row->step[0]);
    for (int64_t i = 0; i < row->n; i++) y[i] = taken[i] ? a[i] : b[i];
    row_commit(y, dst, row->offset[0], row->step[0], row->n);
  }
}

static void select_run(const struct call *call) {
  struct strided strided;
  const struct view *views[] = {&call->out[0], &call->in[0], &call->in[1], &call->in[2]};
  strided_make(&strided, views, 4);
  strided_run(call->pool, &strided, select_row, call);
}

const struct kernel kernel_select = {.op = TRAINER_OP_SELECT, .name = "select", .check = check_select, .run = select_run};
