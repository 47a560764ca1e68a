/* cast.c - CAST: between f32, bf16, f16, i32 and u8. Floats round to nearest even;
 * float to integer truncates, saturates and makes NaN 0; i32 to u8 keeps the low 8 bits. */
#include "strided.h"

static int32_t truncate(float x, float low, float high, int32_t lowest, int32_t highest) {
  if (x != x) return 0;
  if (x <= low) return lowest;
  return x >= high ? highest : (int32_t)x;
}

static int32_t int_at(const struct view *view, int64_t at) {
  return view->dtype == TRAINER_I32 ? ((const int32_t *)view->data)[at] : ((const uint8_t *)view->data)[at];
}

static void int_set(const struct view *view, int64_t at, int32_t value) {
  if (view->dtype == TRAINER_I32) ((int32_t *)view->data)[at] = value;
  else ((uint8_t *)view->data)[at] = (uint8_t)value;
}

static int32_t truncate_to(const struct view *dst, float x) {
  if (dst->dtype == TRAINER_U8) return truncate(x, 0.0f, 255.0f, 0, 255);
  return truncate(x, -2147483648.0f, 2147483648.0f, INT32_MIN, INT32_MAX);
}

static void cast_row(const void *arg, const struct strided_row *row) {
  const struct call *call = arg;
  const struct view *dst = &call->out[0], *src = &call->in[0];
  float from[STRIDED_ROW], to[STRIDED_ROW];
  if (is_float(src)) {
    const float *x = row_load(from, src, row->offset[1], row->step[1], row->n);
    if (!is_float(dst)) {
      for (int64_t i = 0; i < row->n; i++) int_set(dst, row->offset[0] + i * row->step[0], truncate_to(dst, x[i]));
      return;
    }
    float *y = row_target(to, dst, row->offset[0], row->step[0]);
    for (int64_t i = 0; i < row->n; i++) y[i] = x[i];
    row_commit(y, dst, row->offset[0], row->step[0], row->n);
  } else if (is_float(dst)) {
    float *y = row_target(to, dst, row->offset[0], row->step[0]);
    for (int64_t i = 0; i < row->n; i++) y[i] = (float)int_at(src, row->offset[1] + i * row->step[1]);
    row_commit(y, dst, row->offset[0], row->step[0], row->n);
  } else {
    for (int64_t i = 0; i < row->n; i++)
      int_set(dst, row->offset[0] + i * row->step[0], int_at(src, row->offset[1] + i * row->step[1]));
  }
}

static void run(const struct call *call) {
  struct strided strided;
  const struct view *views[] = {&call->out[0], &call->in[0]};
  strided_make(&strided, views, 2);
  strided_run(call->pool, &strided, cast_row, call);
}

const struct kernel kernel_cast = {.op = TRAINER_OP_CAST, .name = "cast", .check = check_cast, .run = run};
