/* rmsnorm.c - RMSNORM and its gradient (Zhang & Sennrich 2019), with the residual sum. */
#include <math.h>
#include <string.h>

#include "../../../native/half.h"
#include "rowmath.h"
#include "strided.h"

#define TASK_ELEMENTS 16384
#define SEGMENTS_MAX 32
#define SEGMENT_ROWS_MIN 16

static int64_t rows_of(const struct view *view) { return last_dim(view) ? view->count / last_dim(view) : 0; }

static int64_t part_of(int64_t width, int64_t at) { return width - at < STRIDED_ROW ? width - at : STRIDED_ROW; }

/* Part of a row as f32, in place where it can be. */
static const float *load_part(float *buffer, const struct view *view, int64_t row, int64_t at, int64_t n) {
  void *data = row_at(view, row, at);
  if (view->dtype == TRAINER_F32) return data;
  load_f32(buffer, data, view->dtype, n);
  return buffer;
}

static float *target_part(float *buffer, const struct view *view, int64_t row, int64_t at) {
  return view->dtype == TRAINER_F32 ? row_at(view, row, at) : buffer;
}

static void commit_part(const float *target, const struct view *view, int64_t row, int64_t at, int64_t n) {
  if (view->dtype != TRAINER_F32) store_f32(row_at(view, row, at), view->dtype, target, n);
}

/* ---- forward ---- */

struct rmsnorm {
  const struct call *call;
  const struct rowmath *math;
  int64_t rows;
  int64_t width;
  int64_t rows_per_task;
  float eps;
};

/* Writes h where there is a residual and returns the sum of the squares of the stored h. */
static double sum_squares(const struct rmsnorm *norm, int64_t row) {
  const struct view *h = &norm->call->out[1], *x = &norm->call->in[0], *residual = &norm->call->in[1];
  float buffer[STRIDED_ROW], added[STRIDED_ROW];
  double sum = 0;
  for (int64_t at = 0; at < norm->width; at += STRIDED_ROW) {
    int64_t n = part_of(norm->width, at);
    const float *in = load_part(buffer, x, row, at, n);
    if (h->present) {
      const float *plus = load_part(added, residual, row, at, n);
      float *to = target_part(buffer, h, row, at);
      for (int64_t i = 0; i < n; i++) to[i] = in[i] + plus[i];
      commit_part(to, h, row, at, n);
      in = load_part(buffer, h, row, at, n);
    }
    sum += norm->math->dot(in, in, n);
  }
  return sum;
}

static void forward_row(const struct rmsnorm *norm, int64_t row) {
  const struct view *y = &norm->call->out[0], *w = &norm->call->in[2];
  const struct view *h = norm->call->out[1].present ? &norm->call->out[1] : &norm->call->in[0];
  float buffer[2][STRIDED_ROW];
  double mean = sum_squares(norm, row) / (double)norm->width;
  float rstd = (float)(1.0 / sqrt(mean + (double)norm->eps));
  for (int64_t at = 0; at < norm->width; at += STRIDED_ROW) {
    int64_t n = part_of(norm->width, at);
    const float *in = load_part(buffer[0], h, row, at, n);
    const float *weight = row_load(buffer[1], w, at, 1, n);
    float *to = target_part(buffer[0], y, row, at);
    norm->math->rms_scale(to, in, weight, rstd, n);
    commit_part(to, y, row, at, n);
  }
  ((float *)norm->call->out[2].data)[row] = rstd;
}

static void forward_task(void *arg, int64_t task, uint32_t worker) {
  const struct rmsnorm *norm = arg;
  int64_t end = (task + 1) * norm->rows_per_task;
  (void)worker;
  if (end > norm->rows) end = norm->rows;
  for (int64_t row = task * norm->rows_per_task; row < end; row++) forward_row(norm, row);
}

static void forward_run(const struct call *call) {
  const trainer_attr_rmsnorm *attr = call->attr;
  int64_t width = last_dim(&call->in[0]);
  struct rmsnorm norm = {call, rowmath_for(call->isa), rows_of(&call->in[0]), width, width ? 1 + TASK_ELEMENTS / width : 1, f32_from_bits(attr->eps_bits)};
  pool_run(call->pool, (norm.rows + norm.rows_per_task - 1) / norm.rows_per_task, forward_task, &norm);
}

const struct kernel kernel_rmsnorm = {.op = TRAINER_OP_RMSNORM, .name = "rmsnorm", .check = check_rmsnorm, .run = forward_run};

/* ---- gradient ---- *
 * Rows are cut into segments by their number alone; each segment sums dw in its own
 * part of the workspace, [segments, H], and the parts are added in order. */

enum { IN_DY, IN_H, IN_RSTD, IN_W, IN_RESIDUAL, INPUTS };

static int64_t segment_rows(int64_t rows) {
  int64_t size = (rows + SEGMENTS_MAX - 1) / SEGMENTS_MAX;
  return size > SEGMENT_ROWS_MIN ? size : SEGMENT_ROWS_MIN;
}

static uint64_t grad_workspace(const struct call *call, uint32_t threads) {
  (void)threads;
  return call->out[1].present ? (uint64_t)SEGMENTS_MAX * (uint64_t)last_dim(&call->out[0]) * sizeof(float) : 0;
}

/* mean(g * h) of a row, g = dy * w. */
static float mean_gh(const struct rmsnorm *norm, int64_t row) {
  const struct view *in = norm->call->in;
  float buffer[3][STRIDED_ROW];
  double sum = 0;
  for (int64_t at = 0; at < norm->width; at += STRIDED_ROW) {
    int64_t n = part_of(norm->width, at);
    sum += norm->math->dot3(load_part(buffer[0], &in[IN_DY], row, at, n), row_load(buffer[1], &in[IN_W], at, 1, n),
                            load_part(buffer[2], &in[IN_H], row, at, n), n);
  }
  return (float)(sum / (double)norm->width);
}

static void grad_row(const struct rmsnorm *norm, int64_t row, float *dw) {
  const struct view *dx = &norm->call->out[0], *in = norm->call->in;
  float buffer[5][STRIDED_ROW];
  float rstd = ((const float *)in[IN_RSTD].data)[row];
  float factor = rstd * rstd * mean_gh(norm, row);
  for (int64_t at = 0; at < norm->width; at += STRIDED_ROW) {
    int64_t n = part_of(norm->width, at);
    const float *dy = load_part(buffer[0], &in[IN_DY], row, at, n), *h = load_part(buffer[1], &in[IN_H], row, at, n);
    if (dw) norm->math->rms_grad_w(dw + at, dy, h, rstd, n);
    /* Computed beside its place: dx may be the residual. */
    norm->math->rms_grad(buffer[4], dy, h, row_load(buffer[2], &in[IN_W], at, 1, n), rstd, factor, n);
    if (in[IN_RESIDUAL].present) norm->math->accumulate(buffer[4], load_part(buffer[3], &in[IN_RESIDUAL], row, at, n), n);
    store_f32(row_at(dx, row, at), dx->dtype, buffer[4], n);
  }
}

static void grad_task(void *arg, int64_t task, uint32_t worker) {
  const struct rmsnorm *norm = arg;
  float *dw = norm->call->out[1].present ? (float *)norm->call->workspace + task * norm->width : NULL;
  int64_t end = (task + 1) * norm->rows_per_task;
  (void)worker;
  if (end > norm->rows) end = norm->rows;
  if (dw) memset(dw, 0, (size_t)norm->width * sizeof *dw);
  for (int64_t row = task * norm->rows_per_task; row < end; row++) grad_row(norm, row, dw);
}

static void add_segments(const struct rmsnorm *norm, int64_t segments) {
  const struct view *dw = &norm->call->out[1];
  float buffer[STRIDED_ROW];
  for (int64_t at = 0; at < norm->width; at += STRIDED_ROW) {
    int64_t n = part_of(norm->width, at);
    row_load(buffer, dw, at, 1, n);
    float *sum = row_target(buffer, dw, at, 1);
    for (int64_t segment = 0; segment < segments; segment++)
      norm->math->accumulate(sum, (const float *)norm->call->workspace + segment * norm->width + at, n);
    row_commit(sum, dw, at, 1, n);
  }
}

static void grad_run(const struct call *call) {
  int64_t rows = rows_of(&call->in[IN_DY]);
  struct rmsnorm norm = {call, rowmath_for(call->isa), rows, last_dim(&call->in[IN_DY]), segment_rows(rows), 0};
  int64_t segments = (rows + norm.rows_per_task - 1) / norm.rows_per_task;
  pool_run(call->pool, segments, grad_task, &norm);
  if (call->out[1].present) add_segments(&norm, segments);
}

const struct kernel kernel_rmsnorm_grad = {
    .op = TRAINER_OP_RMSNORM_GRAD, .name = "rmsnorm_grad", .check = check_rmsnorm_grad, .workspace = grad_workspace, .run = grad_run};
