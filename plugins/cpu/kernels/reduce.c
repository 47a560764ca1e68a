/* reduce.c - REDUCE: sums and maxima over any dimensions, in an order that follows from
 * the shape alone.
 *
 * The dimensions of src are kept (dst has them) or reduced (dst has 1). Where the last
 * one is reduced, each result is the sum of rows; where it is kept, a block of neighbouring
 * results is summed at once. Long reductions with few results are cut into segments that
 * run side by side; their partial results are added in order. Sums of rows are f32 sums of
 * at most STRIDED_ROW elements in sixteen lanes, joined in f64.
 */
#include <math.h>

#include "rowmath.h"
#include "strided.h"

#define COLUMNS 256          /* results of one task where columns are summed */
#define SEGMENT_ELEMENTS 65536
#define SEGMENTS_MAX 16
#define TASK_ELEMENTS 16384

/* One group of dimensions, as few as the strides allow. */
struct dims {
  uint32_t rank;
  int64_t count;
  int64_t shape[TRAINER_MAX_RANK];
  int64_t src[TRAINER_MAX_RANK];
  int64_t dst[TRAINER_MAX_RANK];
};

struct reduction {
  const struct call *call;
  const struct rowmath *math;
  struct dims kept;
  struct dims reduced;
  int max;
  int by_columns;
  int64_t columns;      /* by_columns: extent of the last kept dimension */
  int64_t blocks;       /* tasks of one segment */
  int64_t per_task;     /* results of one task */
  int64_t segments;
  int64_t segment_size; /* of the reduced elements */
  double *partial;      /* [segments, results], NULL with one segment */
};

/* ---- shape ---- */

static void dims_add(struct dims *dims, int64_t size, int64_t src, int64_t dst) {
  uint32_t last = dims->rank - 1;
  dims->count *= size;
  if (size == 1) return;
  if (dims->rank > 0 && dims->src[last] == src * size && dims->dst[last] == dst * size) {
    dims->shape[last] *= size;
    dims->src[last] = src;
    dims->dst[last] = dst;
    return;
  }
  dims->shape[dims->rank] = size;
  dims->src[dims->rank] = src;
  dims->dst[dims->rank++] = dst;
}

/* Offset of element `index` of a group in src, or in dst. */
static int64_t dims_offset(const struct dims *dims, const int64_t *stride, int64_t index) {
  int64_t offset = 0;
  for (uint32_t dim = dims->rank; dim-- > 0; index /= dims->shape[dim]) offset += index % dims->shape[dim] * stride[dim];
  return offset;
}

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Few tasks but much to do: more than one segment. */
static void choose_segments(struct reduction *r) {
  int64_t tasks = r->blocks, work = r->kept.count * r->reduced.count;
  r->segments = 1;
  if (tasks < SEGMENTS_MAX && work > SEGMENT_ELEMENTS) {
    r->segments = divide_up(work, SEGMENT_ELEMENTS);
    if (r->segments > SEGMENTS_MAX) r->segments = SEGMENTS_MAX;
    if (r->segments > r->reduced.count) r->segments = r->reduced.count;
  }
  r->segment_size = r->segments ? divide_up(r->reduced.count, r->segments) : 0;
}

static void plan(struct reduction *r, const struct call *call) {
  const struct view *src = &call->in[0], *dst = &call->out[0];
  int last_kept = 0;
  *r = (struct reduction){.call = call, .kept = {.count = 1}, .reduced = {.count = 1}};
  for (uint32_t dim = 0; dim < src->rank; dim++) {
    int reduce = dst->shape[dim] == 1 && src->shape[dim] != 1;
    dims_add(reduce ? &r->reduced : &r->kept, src->shape[dim], src->stride[dim], reduce ? 0 : dst->stride[dim]);
    if (src->shape[dim] != 1) last_kept = !reduce;
  }
  r->max = ((const trainer_attr_reduce *)call->attr)->code == TRAINER_REDUCE_MAX;
  r->by_columns = last_kept;
  if (r->by_columns) {
    r->columns = r->kept.shape[r->kept.rank - 1];
    r->per_task = COLUMNS;
    r->blocks = r->columns ? r->kept.count / r->columns * divide_up(r->columns, COLUMNS) : 0;
  } else {
    r->per_task = r->reduced.count ? divide_up(TASK_ELEMENTS, r->reduced.count) : TASK_ELEMENTS;
    r->blocks = divide_up(r->kept.count, r->per_task);
  }
  choose_segments(r);
}

static uint64_t workspace(const struct call *call, uint32_t threads) {
  struct reduction r;
  (void)threads;
  plan(&r, call);
  return r.segments > 1 ? (uint64_t)(r.segments * r.kept.count) * sizeof(double) : 0;
}

/* ---- values ---- */

static double join(const struct reduction *r, double a, double b) {
  if (!r->max) return a + b;
  return a > b || a != a ? a : b; /* NaN wins */
}

static double nothing(const struct reduction *r) { return r->max ? -INFINITY : 0.0; }

/* i32 sums wrap around; in f64 they are exact up to 2^53. */
static void store_result(const struct reduction *r, int64_t result, double value) {
  const struct view *dst = &r->call->out[0];
  int64_t offset = dims_offset(&r->kept, r->kept.dst, result);
  if (dst->dtype == TRAINER_I32) {
    ((int32_t *)dst->data)[offset] = value < -0x1p62 ? INT32_MIN : (int32_t)(uint32_t)(uint64_t)(int64_t)value;
  } else {
    float single = (float)value;
    store_f32((char *)dst->data + offset * dtype_bytes(dst->dtype), dst->dtype, &single, 1);
  }
}

static void emit(const struct reduction *r, int64_t segment, int64_t result, double value) {
  if (r->partial) r->partial[segment * r->kept.count + result] = value;
  else store_result(r, result, value);
}

static double int_rows(const struct reduction *r, int64_t offset, int64_t step, int64_t n) {
  const int32_t *x = (const int32_t *)r->call->in[0].data + offset;
  double value = nothing(r);
  for (int64_t i = 0; i < n; i++) value = join(r, value, x[i * step]);
  return value;
}

/* The value of n elements of one reduced row. */
static double reduce_row(const struct reduction *r, int64_t offset, int64_t step, int64_t n) {
  const struct view *src = &r->call->in[0];
  float buffer[STRIDED_ROW];
  if (src->dtype == TRAINER_I32) return int_rows(r, offset, step, n);
  const float *x = row_load(buffer, src, offset, step, n);
  if (!r->max) return r->math->sum(x, n);
  float value = -INFINITY;
  for (int64_t i = 0; i < n; i++) value = value > x[i] || value != value ? value : x[i];
  return value;
}

/* ---- tasks ---- */

/* One result: the reduced elements [begin, end), row by row. */
static double reduce_one(const struct reduction *r, int64_t base, int64_t begin, int64_t end) {
  const struct dims *dims = &r->reduced;
  double value = nothing(r);
  if (dims->rank == 0) return begin < end ? join(r, value, reduce_row(r, base, 1, 1)) : value;
  int64_t inner = dims->shape[dims->rank - 1], step = dims->src[dims->rank - 1];
  while (begin < end) {
    int64_t n = inner - begin % inner;
    if (n > end - begin) n = end - begin;
    if (n > STRIDED_ROW) n = STRIDED_ROW;
    value = join(r, value, reduce_row(r, base + dims_offset(dims, dims->src, begin), step, n));
    begin += n;
  }
  return value;
}

static void rows_task(const struct reduction *r, int64_t block, int64_t segment) {
  int64_t begin = segment * r->segment_size, end = begin + r->segment_size;
  int64_t first = block * r->per_task, last = first + r->per_task;
  if (end > r->reduced.count) end = r->reduced.count;
  if (last > r->kept.count) last = r->kept.count;
  for (int64_t result = first; result < last; result++)
    emit(r, segment, result, reduce_one(r, dims_offset(&r->kept, r->kept.src, result), begin, end));
}

/* Joins one row of n columns into acc. */
static void join_columns(const struct reduction *r, double *acc, int64_t offset, int64_t step, int64_t n) {
  const struct view *src = &r->call->in[0];
  float buffer[COLUMNS];
  if (src->dtype == TRAINER_I32) {
    for (int64_t i = 0; i < n; i++) acc[i] = join(r, acc[i], ((const int32_t *)src->data)[offset + i * step]);
    return;
  }
  const float *x = row_load(buffer, src, offset, step, n);
  if (r->max) {
    for (int64_t i = 0; i < n; i++) acc[i] = join(r, acc[i], x[i]);
  } else {
    for (int64_t i = 0; i < n; i++) acc[i] += x[i];
  }
}

static void columns_task(const struct reduction *r, int64_t block, int64_t segment) {
  int64_t per_row = divide_up(r->columns, COLUMNS), column = block % per_row * COLUMNS;
  int64_t result = block / per_row * r->columns + column;
  int64_t n = r->columns - column < COLUMNS ? r->columns - column : COLUMNS;
  int64_t begin = segment * r->segment_size, end = begin + r->segment_size;
  int64_t base = dims_offset(&r->kept, r->kept.src, result), step = r->kept.src[r->kept.rank - 1];
  double acc[COLUMNS];
  if (end > r->reduced.count) end = r->reduced.count;
  for (int64_t i = 0; i < n; i++) acc[i] = nothing(r);
  for (int64_t at = begin; at < end; at++) join_columns(r, acc, base + dims_offset(&r->reduced, r->reduced.src, at), step, n);
  for (int64_t i = 0; i < n; i++) emit(r, segment, result + i, acc[i]);
}

static void reduce_task(void *arg, int64_t task, uint32_t worker) {
  const struct reduction *r = arg;
  (void)worker;
  if (r->by_columns) columns_task(r, task % r->blocks, task / r->blocks);
  else rows_task(r, task % r->blocks, task / r->blocks);
}

static void run(const struct call *call) {
  struct reduction r;
  plan(&r, call);
  r.math = rowmath_for(call->isa);
  if (r.reduced.count == 0) r.segments = 1;
  /* A bounded dimension may leave fewer results than were planned for. */
  if ((uint64_t)(r.segments * r.kept.count) * sizeof(double) > call->workspace_bytes && r.segments > 1) {
    r.segments = 1;
    r.segment_size = r.reduced.count;
  }
  if (r.segments > 1) r.partial = call->workspace;
  pool_run(call->pool, r.blocks * r.segments, reduce_task, &r);
  for (int64_t result = 0; r.partial && result < r.kept.count; result++) {
    double value = nothing(&r);
    for (int64_t segment = 0; segment < r.segments; segment++) value = join(&r, value, r.partial[segment * r.kept.count + result]);
    store_result(&r, result, value);
  }
}

const struct kernel kernel_reduce = {.op = TRAINER_OP_REDUCE, .name = "reduce", .check = check_reduce, .workspace = workspace, .run = run};
