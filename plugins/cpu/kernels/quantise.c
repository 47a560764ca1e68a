/* quantise.c - QUANTISE and DEQUANTISE: DENSE (a cast) and every quantised format, whose
 * groups run over the flattened row-major weight. */
#include "check.h"
#include "quantise_formats.h"
#include "strided.h"

#define ELEMENTS_PER_TASK 16384
#define ROW 512

static const trainer_quant_format *format_of(const struct call *call) { return &((const trainer_attr_quant *)call->attr)->format; }

static int32_t check(const struct call *call, const struct view *weight, const struct view *dense, char *text, uint64_t bytes) {
  const trainer_attr_quant *attr = call->attr;
  if (call->attr_bytes < sizeof *attr) return refuse(text, bytes, TRAINER_INVALID, "quantise and dequantise need their attributes");
  if (!is_float(dense) || dense->rank != 2 || dense->shape[0] != attr->rows || dense->shape[1] != attr->cols)
    return refuse(text, bytes, TRAINER_INVALID, "the dense weight is not float [rows, cols]");
  if (!quant_is_dense(&attr->format) && !is_contiguous(dense)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "the dense weight has gaps");
  return quant_check(weight, &attr->format, attr->rows, attr->cols, text, bytes);
}

static uint32_t level(const trainer_op_query *query, enum isa isa) {
  const struct view view = {.dtype = query->dtype ? query->dtype : TRAINER_F32, .present = 1};
  const struct view weight = {.dtype = query->weight_dtype ? query->weight_dtype : TRAINER_F32, .present = 1};
  (void)isa;
  int stored = is_float(&weight) || (!quant_is_dense(&query->format) && query->weight_dtype == TRAINER_U8);
  return quant_exists(&query->format) && is_float(&view) && stored ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE;
}

/* ---- dense ---- */

struct pair {
  const struct view *to;
  const struct view *from;
};

static void dense_row(const void *arg, const struct strided_row *row) {
  const struct pair *pair = arg;
  float from[STRIDED_ROW], to[STRIDED_ROW];
  const float *x = row_load(from, pair->from, row->offset[1], row->step[1], row->n);
  float *y = row_target(to, pair->to, row->offset[0], row->step[0]);
  for (int64_t i = 0; i < row->n; i++) y[i] = x[i];
  row_commit(y, pair->to, row->offset[0], row->step[0], row->n);
}

static void dense_run(const struct call *call, const struct view *to, const struct view *from) {
  struct strided strided;
  struct pair pair = {to, from};
  const struct view *views[] = {to, from};
  strided_make(&strided, views, 2);
  strided_run(call->pool, &strided, dense_row, &pair);
}

/* ---- quantise ---- */

static int32_t quantise_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != TRAINER_WEIGHT_OPERANDS || call->n_in != 1)
    return refuse(text, bytes, TRAINER_INVALID, "quantise needs a weight of eight outputs and src");
  return check(call, call->out, call->in, text, bytes);
}

static uint64_t quantise_workspace(const struct call *call, uint32_t threads) {
  const trainer_quant_format *f = format_of(call);
  (void)threads;
  if (quant_is_dense(f)) return 0;
  return quant_is_tabled(f->format) ? tabled_workspace(f, call->in[0].count) : spread_workspace(f, call->in[0].count);
}

static void quantise_run(const struct call *call) {
  const trainer_quant_format *f = format_of(call);
  if (quant_is_dense(f)) dense_run(call, &call->out[0], &call->in[0]);
  else if (quant_is_tabled(f->format)) quantise_tabled(call, f);
  else quantise_spread(call, f);
}

const struct kernel kernel_quantise = {
    .op = TRAINER_OP_QUANTISE, .name = "quantise", .check = quantise_check, .workspace = quantise_workspace, .run = quantise_run, .level = level};

/* ---- dequantise ---- */

struct dequantise {
  const struct rowmath *math;
  const struct view *dense;
  struct quant quant;
};

static void dequantise_task(void *arg, int64_t task, uint32_t worker) {
  const struct dequantise *d = arg;
  int64_t end = (task + 1) * ELEMENTS_PER_TASK < d->quant.n ? (task + 1) * ELEMENTS_PER_TASK : d->quant.n;
  float x[ROW];
  (void)worker;
  for (int64_t at = task * ELEMENTS_PER_TASK; at < end; at += ROW) {
    int64_t n = end - at < ROW ? end - at : ROW;
    d->math->weight(x, &d->quant, at, n);
    store_f32((char *)d->dense->data + at * dtype_bytes(d->dense->dtype), d->dense->dtype, x, n);
  }
}

static int32_t dequantise_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != 1 || call->n_in != TRAINER_WEIGHT_OPERANDS)
    return refuse(text, bytes, TRAINER_INVALID, "dequantise needs dst and a weight of eight inputs");
  return check(call, call->in, call->out, text, bytes);
}

static void dequantise_run(const struct call *call) {
  if (quant_is_dense(format_of(call))) {
    dense_run(call, &call->out[0], &call->in[0]);
    return;
  }
  struct dequantise d = {rowmath_for(call->isa), &call->out[0], quant_of(call->in, format_of(call), call->out[0].count)};
  pool_run(call->pool, (d.quant.n + ELEMENTS_PER_TASK - 1) / ELEMENTS_PER_TASK, dequantise_task, &d);
}

const struct kernel kernel_dequantise = {
    .op = TRAINER_OP_DEQUANTISE, .name = "dequantise", .check = dequantise_check, .run = dequantise_run, .level = level};
