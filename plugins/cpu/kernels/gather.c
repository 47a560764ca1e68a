/* gather.c - GATHER rows by index, and SCATTER_ADD, its gradient. An index beyond the
 * table is treated like a negative one: nothing outside the table is touched. */
#include <string.h>

#include "check.h"
#include "rowmath.h"
#include "strided.h"

#define COLUMNS 128 /* features of one scatter task */

static int rows_and_index(const struct view *rows, const struct view *table, const struct view *index) {
  return rows->rank == 2 && table->rank == 2 && rows->shape[1] == table->shape[1] && index->rank == 1 &&
         is_dtype(index, TRAINER_I32) && index->shape[0] == rows->shape[0];
}

static int32_t index_at(const struct view *index, int64_t at) { return ((const int32_t *)index->data)[at * index->stride[0]]; }

/* ---- gather ---- */

static int32_t gather_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != 1 || call->n_in != 2 || !rows_and_index(&call->out[0], &call->in[0], &call->in[1]))
    return refuse(text, bytes, TRAINER_INVALID, "gather needs dst [n, f], src [v, f] and index i32 [n]");
  if (!has_rows(&call->out[0]) || !has_rows(&call->in[0]))
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "rows of gather must lie without gaps");
  int same = call->out[0].dtype == call->in[0].dtype && dtype_bytes(call->in[0].dtype) <= 4;
  if (!same && !(is_float(&call->out[0]) && is_float(&call->in[0])))
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "gather keeps the dtype or converts floats");
  return TRAINER_OK;
}

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

const struct kernel kernel_gather = {.op = TRAINER_OP_GATHER, .name = "gather", .check = gather_check, .run = gather_run};

/* ---- scatter add ---- */

static int32_t scatter_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != 1 || call->n_in != 2 || !rows_and_index(&call->in[0], &call->out[0], &call->in[1]))
    return refuse(text, bytes, TRAINER_INVALID, "scatter_add needs dst [v, f], src [n, f] and index i32 [n]");
  if (!has_rows(&call->out[0]) || !has_rows(&call->in[0]))
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "rows of scatter_add must lie without gaps");
  if (!is_float(&call->out[0]) || !is_float(&call->in[0])) return refuse(text, bytes, TRAINER_UNSUPPORTED, "scatter_add adds floats");
  return TRAINER_OK;
}

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

const struct kernel kernel_scatter_add = {.op = TRAINER_OP_SCATTER_ADD, .name = "scatter_add", .check = scatter_check, .run = scatter_run};
