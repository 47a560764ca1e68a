/* scale.c - SCALE and its gradient: columns times factors. */
#include <string.h>

#include "check.h"
#include "rowmath.h"
#include "strided.h"

#define SEGMENTS_MAX 32
#define SEGMENT_ROWS_MIN 16

/* Floats [T, N] of one shape with rows that lie without gaps, and a vector f32 [N]. */
static int is_matrix(const struct view *view, const struct view *like) {
  return is_float(view) && view->rank == 2 && has_rows(view) && same_shape(view, like);
}

static int is_factors(const struct view *g, const struct view *like) { return is_dtype(g, TRAINER_F32) && is_vector(g, last_dim(like)); }

static int32_t refuse_shapes(char *text, uint64_t bytes) {
  return refuse(text, bytes, TRAINER_INVALID, "operands of scale must be float rows of one shape [T, N] and g f32 [N]");
}

/* ---- forward ---- */

struct scale {
  const struct call *call;
  const struct rowmath *math;
  int64_t rows_per_task; /* of the gradient */
};

static int32_t forward_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != 1 || call->n_in != 2) return refuse(text, bytes, TRAINER_INVALID, "scale needs one output and two inputs");
  if (!is_matrix(&call->in[0], &call->in[0]) || !is_matrix(&call->out[0], &call->in[0]) || !is_factors(&call->in[1], &call->in[0]))
    return refuse_shapes(text, bytes);
  return TRAINER_OK;
}

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

const struct kernel kernel_scale = {.op = TRAINER_OP_SCALE, .name = "scale", .check = forward_check, .run = forward_run};

/* ---- gradient ---- *
 * Rows are cut into segments by their number alone; each segment sums dg in its own part
 * of the workspace, [segments, N], and the parts are added in order. */

enum { IN_DY, IN_X, IN_G, INPUTS };

static int32_t grad_check(const struct call *call, char *text, uint64_t bytes) {
  const struct view *dx = &call->out[0], *dg = &call->out[1], *in = call->in;
  if (call->n_out != 2 || call->n_in != INPUTS) return refuse(text, bytes, TRAINER_INVALID, "scale_grad needs two outputs and three inputs");
  if (in[IN_X].present != dg->present) return refuse(text, bytes, TRAINER_INVALID, "x of scale_grad is present exactly when dg is");
  if (!is_matrix(&in[IN_DY], &in[IN_DY]) || (dx->present && !is_matrix(dx, &in[IN_DY])) || !is_factors(&in[IN_G], &in[IN_DY]) ||
      (dg->present && (!is_factors(dg, &in[IN_DY]) || !is_matrix(&in[IN_X], &in[IN_DY]))))
    return refuse_shapes(text, bytes);
  return TRAINER_OK;
}

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
    .op = TRAINER_OP_SCALE_GRAD, .name = "scale_grad", .check = grad_check, .workspace = grad_workspace, .run = grad_run};
