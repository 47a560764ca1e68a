/* quantise.c - QUANTISE and DEQUANTISE: DENSE (a cast) and every quantised format, whose
 * groups run over the flattened row-major weight. */
#include "quantise_formats.h"
#include "strided.h"

#define ELEMENTS_PER_TASK 16384
#define ROW 512

static const trainer_quant_format *format_of(const struct call *call) { return &((const trainer_attr_quant *)call->attr)->format; }

static uint32_t level(const trainer_op_query *query, enum isa isa) {
  (void)isa;
  return asks_quantised(query) ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE;
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
    .op = TRAINER_OP_QUANTISE, .name = "quantise", .check = check_quantise, .workspace = quantise_workspace, .run = quantise_run, .level = level};

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

static void dequantise_run(const struct call *call) {
  if (quant_is_dense(format_of(call))) {
    dense_run(call, &call->out[0], &call->in[0]);
    return;
  }
  struct dequantise d = {rowmath_for(call->isa), &call->out[0], quant_of(call->in, format_of(call), call->out[0].count)};
  pool_run(call->pool, (d.quant.n + ELEMENTS_PER_TASK - 1) / ELEMENTS_PER_TASK, dequantise_task, &d);
}

const struct kernel kernel_dequantise = {
    .op = TRAINER_OP_DEQUANTISE, .name = "dequantise", .check = check_dequantise, .run = dequantise_run, .level = level};
