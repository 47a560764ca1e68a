/* scale.c - SCALE and its gradient: columns times factors. */
#include <string.h>

#include "rowmath.h"
#include "strided.h"

#define SEGMENTS_MAX 32
#define SEGMENT_ROWS_MIN 16

/* ---- forward ---- */

struct scale {
  const struct call *call;
  const struct rowmath *math;
  int64_t rows_per_task; /* of the gradient */
};

static void forward_row(const void *arg, const struct strided_row *row) {
  const struct scale *scale = arg;
  const struct view *y = &scale->call->out[0], *in = scale->call->in;
  float buffer[3][STRIDED_ROW];
  const float *x = row_load(buffer[0], &in[0], row->offset[1], row->step[1], row->n);
  const float *g = row_load(buffer[1], &in[1], row->offset[2], row->step[2], row->n);
  float *to = row_target(buffer[2], y, row->offset[0], row->step[0]);
  scale->math->multiply(to, x, g, row->n);
  row_commit(to, y, row->offset[0], row->step[0], row->n);
}

static void forward_run(const struct call *call) {
  struct strided strided;
  struct scale scale = {call, rowmath_for(call->isa), 0};
  struct view g = call->in[0]; /* g, once for every row */
  g.stride[0] = 0;
  g.stride[1] = 1;
  const struct view *views[] = {&call->out[0], &call->in[0], &g};
  strided_make(&strided, views, 3);
  strided_run(call->pool, &strided, forward_row, &scale);
}

const struct kernel kernel_scale = {.op = TRAINER_OP_SCALE, .name = "scale", .check = check_scale, .run = forward_run};

/* ---- gradient ---- *
 * Rows are cut into segments by their number alone; each segment sums dg in its own part
 * of the workspace, [segments, N], and the parts are added in order. */

enum { IN_DY, IN_X, IN_G, INPUTS };

static int64_t segment_rows(int64_t rows) {
  int64_t size = (rows + SEGMENTS_MAX - 1) / SEGMENTS_MAX;
  return size > SEGMENT_ROWS_MIN ? size : SEGMENT_ROWS_MIN;
}

static uint64_t grad_workspace(const struct call *call, uint32_t threads) {
  (void)threads;
  return call->out[1].present ? (uint64_t)SEGMENTS_MAX * (uint64_t)last_dim(&call->in[IN_DY]) * sizeof(float) : 0;
}

static void grad_row(const struct scale *scale, int64_t row, float *dg) {
  const struct view *dx = &scale->call->out[0], *in = scale->call->in;
  int64_t width = last_dim(&in[IN_DY]);
  float buffer[3][STRIDED_ROW];
  for (int64_t at = 0; at < width; at += STRIDED_ROW) {
    int64_t n = width - at < STRIDED_ROW ? width - at : STRIDED_ROW;
    const float *dy = row_load(buffer[0], &in[IN_DY], row * in[IN_DY].stride[0] + at, 1, n);
    if (dg) scale->math->multiply_add(dg + at, dy, row_load(buffer[1], &in[IN_X], row * in[IN_X].stride[0] + at, 1, n), n);
    if (!dx->present) continue;
    float *to = row_target(buffer[2], dx, row * dx->stride[0] + at, 1);
    scale->math->multiply(to, dy, (const float *)in[IN_G].data + at, n);
    row_commit(to, dx, row * dx->stride[0] + at, 1, n);
  }
}

static void grad_task(void *arg, int64_t task, uint32_t worker) {
  const struct scale *scale = arg;
  const struct view *dy = &scale->call->in[IN_DY];
  int64_t width = last_dim(dy), end = (task + 1) * scale->rows_per_task;
  float *dg = scale->call->out[1].present ? (float *)scale->call->workspace + task * width : NULL;
  (void)worker;
  if (end > dy->shape[0]) end = dy->shape[0];
  if (dg) memset(dg, 0, (size_t)width * sizeof *dg);
  for (int64_t row = task * scale->rows_per_task; row < end; row++) grad_row(scale, row, dg);
}

static void grad_run(const struct call *call) {
  const struct view *dg = &call->out[1];
  int64_t rows = call->in[IN_DY].shape[0], width = last_dim(&call->in[IN_DY]);
  struct scale scale = {call, rowmath_for(call->isa), segment_rows(rows)};
  int64_t segments = (rows + scale.rows_per_task - 1) / scale.rows_per_task;
  pool_run(call->pool, segments, grad_task, &scale);
  if (!dg->present) return;
  memset(dg->data, 0, (size_t)width * sizeof(float));
  for (int64_t segment = 0; segment < segments; segment++)
    scale.math->accumulate(dg->data, (const float *)call->workspace + segment * width, width);
}

const struct kernel kernel_scale_grad = {
    .op = TRAINER_OP_SCALE_GRAD, .name = "scale_grad", .check = check_scale_grad, .workspace = grad_workspace, .run = grad_run};
