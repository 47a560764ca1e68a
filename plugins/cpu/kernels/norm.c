/* norm.c - GLOBAL_NORM: the sum of squares of any number of gradients; GUARD: what follows
 * from it for the step. */
#include <math.h>

#include "../../../native/half.h"
#include "rowmath.h"
#include "strided.h"

/* ---- global norm ---- */

static int64_t pieces_of(const struct view *view) { return (view->count + STRIDED_GRAIN - 1) / STRIDED_GRAIN; }

/* One f64 a piece of the largest gradient. */
static uint64_t norm_workspace(const struct call *call, uint32_t threads) {
  int64_t most = 0;
  (void)threads;
  for (uint32_t i = 0; i < call->n_in; i++)
    if (pieces_of(&call->in[i]) > most) most = pieces_of(&call->in[i]);
  return (uint64_t)most * sizeof(double);
}

struct piece {
  const struct view *view;
  const struct rowmath *math;
  double *sum;
};

static void norm_row(const void *arg, const struct strided_row *row) {
  const struct piece *piece = arg;
  float buffer[STRIDED_ROW];
  *piece->sum += piece->math->sum_squares(row_load(buffer, piece->view, row->offset[0], row->step[0], row->n), row->n);
}

struct norm {
  const struct view *view;
  const struct rowmath *math;
  struct strided strided;
  double *sums;
};

static void norm_task(void *arg, int64_t task, uint32_t worker) {
  const struct norm *norm = arg;
  struct piece piece = {norm->view, norm->math, &norm->sums[task]};
  norm->sums[task] = 0;
  int64_t begin = task * STRIDED_GRAIN, end = begin + STRIDED_GRAIN;
  (void)worker;
  strided_walk(&norm->strided, begin, end < norm->view->count ? end : norm->view->count, norm_row, &piece);
}

static void norm_run(const struct call *call) {
  double sum = 0;
  for (uint32_t i = 0; i < call->n_in; i++) {
    struct norm norm = {.view = &call->in[i], .math = rowmath_for(call->isa), .sums = call->workspace};
    strided_make(&norm.strided, &norm.view, 1);
    pool_run(call->pool, pieces_of(norm.view), norm_task, &norm);
    for (int64_t piece = 0; piece < pieces_of(norm.view); piece++) sum += norm.sums[piece];
  }
  *(float *)call->out[0].data = (float)sum;
}

const struct kernel kernel_global_norm = {
    .op = TRAINER_OP_GLOBAL_NORM, .name = "global_norm", .check = check_global_norm, .workspace = norm_workspace, .run = norm_run};

/* ---- guard ---- */

enum { OUT_CLIP, OUT_SKIP, OUT_STEPS, OUT_NORM, OUT_SCALE, OUT_GROWTH, OUTPUTS };

static void guard_scale(float *scale, int32_t *growth, int skip, uint32_t interval) {
  if (skip) {
    *scale *= 0.5f;
    *growth = 0;
  } else if ((uint32_t)++*growth >= interval) {
    *scale *= 2.0f;
    *growth = 0;
  }
}

static void guard_run(const struct call *call) {
  const trainer_attr_guard *attr = call->attr;
  const struct view *out = call->out;
  float *scale = out[OUT_SCALE].data;
  float max_norm = f32_from_bits(attr->max_norm_bits);
  float norm = sqrtf(*(const float *)call->in[0].data) / *scale;
  int skip = (f32_bits(norm) & 0x7F800000u) == 0x7F800000u;
  float clip = 1.0f;
  if (max_norm > 0.0f) clip = fminf(1.0f, max_norm / (norm + 1e-6f));
  *(float *)out[OUT_CLIP].data = skip ? 0.0f : clip / *scale;
  *(int32_t *)out[OUT_SKIP].data = skip;
  *(int32_t *)out[OUT_STEPS].data += !skip;
  *(float *)out[OUT_NORM].data = norm;
  if (attr->interval > 0) guard_scale(scale, out[OUT_GROWTH].data, skip, attr->interval);
}

const struct kernel kernel_guard = {.op = TRAINER_OP_GUARD, .name = "guard", .check = check_guard, .run = guard_run};
