/* gather.c - GATHER rows by index, and SCATTER_ADD, its gradient. An index beyond the
 * table is treated like a negative one: nothing outside the table is touched. */
#include <string.h>

#include "rowmath.h"
#include "strided.h"

#define COLUMNS 128 /* features of one scatter task */

static int32_t index_at(const struct view *index, int64_t at) { return ((const int32_t *)index->data)[at * index->stride[0]]; }

/* ---- gather ---- */

static void gather_row(const struct call *call, int64_t n) {
  const struct view *dst = &call->out[0], *src = &call->in[0];
  int64_t width = dst->shape[1];
  int32_t from = index_at(&call->in[1], n);
  char *to = row_at(dst, n, 0);
  if (from < 0 || from >= src->shape[0]) {
    memset(to, 0, (size_t)width * dtype_bytes(dst->dtype));
  } else if (dst->dtype == src->dtype) {
    memcpy(to, row_at(src, from, 0), (size_t)width * dtype_bytes(dst->dtype));
  } else {
    float buffer[STRIDED_ROW];
    for (int64_t at = 0; at < width; at += STRIDED_ROW) {
      int64_t part = width - at < STRIDED_ROW ? width - at : STRIDED_ROW;
      load_f32(buffer, row_at(src, from, at), src->dtype, part);
      store_f32(row_at(dst, n, at), dst->dtype, buffer, part);
    }
  }
}

static int64_t rows_per_task(const struct view *rows) { return rows->shape[1] > 0 ? 1 + STRIDED_GRAIN / rows->shape[1] : STRIDED_GRAIN; }

static void gather_task(void *arg, int64_t task, uint32_t worker) {
  const struct call *call = arg;
  int64_t per = rows_per_task(&call->out[0]), end = (task + 1) * per;
  (void)worker;
  if (end > call->out[0].shape[0]) end = call->out[0].shape[0];
  for (int64_t n = task * per; n < end; n++) gather_row(call, n);
}

static void gather_run(const struct call *call) {
  struct call own = *call;
  int64_t per = rows_per_task(&call->out[0]);
  pool_run(call->pool, (call->out[0].shape[0] + per - 1) / per, gather_task, &own);
}

const struct kernel kernel_gather = {.op = TRAINER_OP_GATHER, .name = "gather", .check = check_gather, .run = gather_run};

/* ---- scatter add ---- */

/* One block of features over all rows: each sum is added in ascending n, whoever runs. */
static void scatter_task(void *arg, int64_t task, uint32_t worker) {
  const struct call *call = arg;
  const struct view *dst = &call->out[0], *src = &call->in[0];
  const struct rowmath *math = rowmath_for(call->isa);
  int64_t column = task * COLUMNS, left = dst->shape[1] - column, n = left < COLUMNS ? left : COLUMNS;
  float from[COLUMNS], sum[COLUMNS];
  (void)worker;
  for (int64_t row = 0; row < src->shape[0]; row++) {
    int32_t to = index_at(&call->in[1], row);
    if (to < 0 || to >= dst->shape[0]) continue;
    int64_t source = row * src->stride[0] + column, target = to * dst->stride[0] + column;
    row_load(sum, dst, target, 1, n);
    float *y = row_target(sum, dst, target, 1);
    math->accumulate(y, row_load(from, src, source, 1, n), n);
    row_commit(y, dst, target, 1, n);
  }
}

static void scatter_run(const struct call *call) {
  struct call own = *call;
  pool_run(call->pool, (call->out[0].shape[1] + COLUMNS - 1) / COLUMNS, scatter_task, &own);
}

const struct kernel kernel_scatter_add = {.op = TRAINER_OP_SCATTER_ADD, .name = "scatter_add", .check = check_scatter_add, .run = scatter_run};
