/* quantise.c - QUANTISE and DEQUANTISE: DENSE (a cast) and NF4 with one or two levels of
 * scales, blocks running over the flattened row-major weight. */
#include <math.h>
#include <string.h>

#include "../../../native/nf4.h"
#include "check.h"
#include "rowmath.h"
#include "strided.h"

#define BLOCKS_PER_TASK 128
#define GROUP_MAX 4096

static const trainer_quant_format *format_of(const struct call *call) { return &((const trainer_attr_quant *)call->attr)->format; }

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* ---- checks ---- */

static int is_dense(const trainer_quant_format *f) {
  return f->format == TRAINER_FORMAT_DENSE && !f->bits && !f->group && !f->interleaved && !f->code_layout && !f->scale_dtype && !f->zero_dtype && !f->nested_group;
}

/* The NF4 layouts there are. A group is even, so that no byte belongs to two blocks. */
static int is_nf4(const trainer_quant_format *f) {
  int scales = f->nested_group ? f->scale_dtype == TRAINER_U8 : f->scale_dtype == TRAINER_F32;
  return f->format == TRAINER_FORMAT_NF4 && f->bits == 4 && f->group > 0 && f->group <= GROUP_MAX && f->group % 2 == 0 && f->interleaved == 0 &&
         f->code_layout == 0 && f->zero_dtype == 0 && scales && f->nested_group <= INT32_MAX;
}

static int is_array(const struct view *view, uint32_t dtype, int64_t n) { return is_dtype(view, dtype) && is_vector(view, n); }

static int nf4_operands_ok(const struct view *weight, const trainer_quant_format *f, int64_t n) {
  int64_t blocks = divide_up(n, f->group);
  int extra = weight[TRAINER_WEIGHT_ZERO].present || weight[TRAINER_WEIGHT_ZERO_SCALE].present || weight[TRAINER_WEIGHT_ZERO_ZERO].present;
  if (extra || !is_array(&weight[TRAINER_WEIGHT_DATA], TRAINER_U8, divide_up(n, 2)) ||
      !is_array(&weight[TRAINER_WEIGHT_SCALE], f->scale_dtype, blocks))
    return 0;
  if (!f->nested_group)
    return !weight[TRAINER_WEIGHT_SCALE_SCALE].present && !weight[TRAINER_WEIGHT_SCALE_ZERO].present && !weight[TRAINER_WEIGHT_CODE].present;
  return is_array(&weight[TRAINER_WEIGHT_SCALE_SCALE], TRAINER_F32, divide_up(blocks, f->nested_group)) &&
         is_array(&weight[TRAINER_WEIGHT_SCALE_ZERO], TRAINER_F32, 1) &&
         is_array(&weight[TRAINER_WEIGHT_CODE], TRAINER_F32, DYNAMIC_MAP_ENTRIES);
}

static int only_data(const struct view *weight) {
  for (uint32_t i = 1; i < TRAINER_WEIGHT_OPERANDS; i++)
    if (weight[i].present) return 0;
  return 1;
}

static int32_t check(const struct call *call, const struct view *weight, const struct view *dense, char *text, uint64_t bytes) {
  const trainer_attr_quant *attr = call->attr;
  if (call->attr_bytes < sizeof *attr) return refuse(text, bytes, TRAINER_INVALID, "quantise and dequantise need their attributes");
  if (!is_dense(&attr->format) && !is_nf4(&attr->format)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "this weight format is not known here");
  if (!is_float(dense) || dense->rank != 2 || dense->shape[0] != attr->rows || dense->shape[1] != attr->cols)
    return refuse(text, bytes, TRAINER_INVALID, "the dense weight is not float [rows, cols]");
  if (is_dense(&attr->format)) {
    if (is_float(&weight[0]) && same_shape(&weight[0], dense) && only_data(weight)) return TRAINER_OK;
    return refuse(text, bytes, TRAINER_INVALID, "a DENSE weight is one float operand of the dense shape");
  }
  if (!is_contiguous(dense)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "the dense weight has gaps");
  if (nf4_operands_ok(weight, &attr->format, dense->count)) return TRAINER_OK;
  return refuse(text, bytes, TRAINER_INVALID, "operands of the NF4 weight do not fit its format");
}

static uint32_t level(const trainer_op_query *query, enum isa isa) {
  const struct view view = {.dtype = query->dtype ? query->dtype : TRAINER_F32, .present = 1};
  const struct view weight = {.dtype = query->weight_dtype ? query->weight_dtype : TRAINER_F32, .present = 1};
  (void)isa;
  int known = is_dense(&query->format) || is_nf4(&query->format);
  int stored = is_float(&weight) || (query->format.format == TRAINER_FORMAT_NF4 && query->weight_dtype == TRAINER_U8);
  return known && is_float(&view) && stored ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE;
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

struct nf4 {
  const struct rowmath *math;
  const struct view *weight;
  const struct view *dense;
  const trainer_quant_format *format;
  int64_t n;
  int64_t blocks;
  float *absmax; /* f32 [blocks]: the scale operand, or scratch when nested */
  float between[15];
};

static const void *element(const struct view *view, int64_t at) { return (const char *)view->data + at * dtype_bytes(view->dtype); }

/* Largest magnitude; NaN wins. */
static float largest(const float *x, int64_t n) {
  float most = 0.0f;
  for (int64_t i = 0; i < n; i++) {
    float size = fabsf(x[i]);
    most = size > most || size != size ? size : most;
  }
  return most;
}

static void quantise_block(const struct nf4 *nf4, int64_t block) {
  int64_t begin = block * nf4->format->group, n = nf4->n - begin;
  uint8_t *codes = (uint8_t *)nf4->weight[TRAINER_WEIGHT_DATA].data + begin / 2;
  float x[GROUP_MAX];
  int32_t code[GROUP_MAX + 1];
  if (n > nf4->format->group) n = nf4->format->group;
  load_f32(x, element(nf4->dense, begin), nf4->dense->dtype, n);
  float absmax = largest(x, n);
  nf4->absmax[block] = absmax;
  if (absmax == 0.0f) absmax = 1.0f; /* all zero: code 7, which is 0 */
  nf4->math->nf4_codes(code, x, absmax, nf4->between, n);
  code[n] = 0; /* fills the last byte of an odd weight */
  for (int64_t i = 0; i < n; i += 2) codes[i / 2] = (uint8_t)(code[i] << 4 | code[i + 1]);
}

static int64_t block_end(const struct nf4 *nf4, int64_t task) {
  int64_t end = (task + 1) * BLOCKS_PER_TASK;
  return end < nf4->blocks ? end : nf4->blocks;
}

static void quantise_task(void *arg, int64_t task, uint32_t worker) {
  const struct nf4 *nf4 = arg;
  (void)worker;
  for (int64_t block = task * BLOCKS_PER_TASK; block < block_end(nf4, task); block++) quantise_block(nf4, block);
}

static void add_to(float *sum, const float *x, int n) {
  for (int i = 0; i < n; i++) sum[i] += x[i];
}

/* The f32 sum in the order of PyTorch on AVX2, whose mean bitsandbytes takes: rows of
 * four vectors of eight lanes, carried into the next of four levels after 2^power rows. */
static float cascade_sum(const float *x, int64_t n) {
  float level[4][32] = {{0}}, sum = 0.0f;
  int64_t vectors = n / 8, rows = vectors / 4;
  int power = 0;
  while (((int64_t)1 << power) < rows) power++;
  power = power / 4 > 4 ? power / 4 : 4;
  int64_t mask = ((int64_t)1 << power) - 1;
  for (int64_t row = 0; row < rows; row++) {
    add_to(level[0], x + row * 32, 32);
    for (int up = 1; up < 4 && ((row + 1) >> (up - 1) * power & mask) == 0; up++) {
      add_to(level[up], level[up - 1], 32);
      memset(level[up - 1], 0, sizeof level[up - 1]);
    }
  }
  for (int up = 1; up < 4; up++) add_to(level[0], level[up], 32);
  for (int64_t vector = rows * 4; vector < vectors; vector++) add_to(level[0], x + vector * 8, 8);
  for (int k = 1; k < 4; k++) add_to(level[0], level[0] + k * 8, 8);
  for (int64_t i = vectors * 8; i < n; i++) sum += x[i];
  for (int lane = 0; lane < 8; lane++) sum += level[0][lane];
  return sum;
}

/* The second level: scales minus their mean, as codes of the dynamic map. */
static void quantise_scales(const struct nf4 *nf4) {
  const struct view *weight = nf4->weight;
  float *map = weight[TRAINER_WEIGHT_CODE].data, *nested = weight[TRAINER_WEIGHT_SCALE_SCALE].data;
  uint8_t *codes = weight[TRAINER_WEIGHT_SCALE].data;
  float between[DYNAMIC_MAP_ENTRIES - 1], mean = nf4->blocks ? cascade_sum(nf4->absmax, nf4->blocks) / (float)nf4->blocks : 0.0f;
  int64_t group = nf4->format->nested_group;
  dynamic_map(map);
  codes_between(between, map, DYNAMIC_MAP_ENTRIES);
  *(float *)weight[TRAINER_WEIGHT_SCALE_ZERO].data = mean;
  for (int64_t i = 0; i < nf4->blocks; i++) nf4->absmax[i] -= mean;
  for (int64_t begin = 0; begin < nf4->blocks; begin += group) {
    int64_t n = nf4->blocks - begin < group ? nf4->blocks - begin : group;
    float most = largest(nf4->absmax + begin, n);
    nested[begin / group] = most;
    for (int64_t i = begin; i < begin + n; i++) codes[i] = dynamic_map_encode(most == 0.0f ? 0.0f : nf4->absmax[i] / most, between);
  }
}

static int32_t quantise_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != TRAINER_WEIGHT_OPERANDS || call->n_in != 1)
    return refuse(text, bytes, TRAINER_INVALID, "quantise needs a weight of eight outputs and src");
  return check(call, call->out, call->in, text, bytes);
}

static uint64_t quantise_workspace(const struct call *call, uint32_t threads) {
  const trainer_quant_format *f = format_of(call);
  (void)threads;
  return f->nested_group ? (uint64_t)divide_up(call->in[0].count, f->group) * sizeof(float) : 0;
}

static struct nf4 nf4_of(const struct call *call, const struct view *weight, const struct view *dense) {
  const trainer_quant_format *f = format_of(call);
  return (struct nf4){.math = rowmath_for(call->isa), .weight = weight, .dense = dense, .format = f, .n = dense->count, .blocks = divide_up(dense->count, f->group)};
}

static void quantise_run(const struct call *call) {
  if (format_of(call)->format == TRAINER_FORMAT_DENSE) {
    dense_run(call, &call->out[0], &call->in[0]);
    return;
  }
  struct nf4 nf4 = nf4_of(call, call->out, call->in);
  nf4.absmax = nf4.format->nested_group ? call->workspace : call->out[TRAINER_WEIGHT_SCALE].data;
  codes_between(nf4.between, nf4_values, 16);
  pool_run(call->pool, divide_up(nf4.blocks, BLOCKS_PER_TASK), quantise_task, &nf4);
  if (nf4.format->nested_group) quantise_scales(&nf4);
}

const struct kernel kernel_quantise = {
    .op = TRAINER_OP_QUANTISE, .name = "quantise", .check = quantise_check, .workspace = quantise_workspace, .run = quantise_run, .level = level};

/* ---- dequantise ---- */

static float absmax_of(const struct nf4 *nf4, int64_t block) {
  const struct view *weight = nf4->weight;
  if (!nf4->format->nested_group) return ((const float *)weight[TRAINER_WEIGHT_SCALE].data)[block];
  const float *map = weight[TRAINER_WEIGHT_CODE].data, *nested = weight[TRAINER_WEIGHT_SCALE_SCALE].data;
  float value = map[((const uint8_t *)weight[TRAINER_WEIGHT_SCALE].data)[block]] * nested[block / nf4->format->nested_group];
  return value + *(const float *)weight[TRAINER_WEIGHT_SCALE_ZERO].data;
}

static void dequantise_block(const struct nf4 *nf4, int64_t block) {
  int64_t begin = block * nf4->format->group, n = nf4->n - begin;
  const uint8_t *codes = (const uint8_t *)nf4->weight[TRAINER_WEIGHT_DATA].data + begin / 2;
  float x[GROUP_MAX], absmax = absmax_of(nf4, block);
  if (n > nf4->format->group) n = nf4->format->group;
  for (int64_t i = 0; i < n; i++) x[i] = nf4_values[i % 2 ? codes[i / 2] & 15 : codes[i / 2] >> 4] * absmax;
  store_f32((char *)nf4->dense->data + begin * dtype_bytes(nf4->dense->dtype), nf4->dense->dtype, x, n);
}

static void dequantise_task(void *arg, int64_t task, uint32_t worker) {
  const struct nf4 *nf4 = arg;
  (void)worker;
  for (int64_t block = task * BLOCKS_PER_TASK; block < block_end(nf4, task); block++) dequantise_block(nf4, block);
}

static int32_t dequantise_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != 1 || call->n_in != TRAINER_WEIGHT_OPERANDS)
    return refuse(text, bytes, TRAINER_INVALID, "dequantise needs dst and a weight of eight inputs");
  return check(call, call->in, call->out, text, bytes);
}

static void dequantise_run(const struct call *call) {
  if (format_of(call)->format == TRAINER_FORMAT_DENSE) {
    dense_run(call, &call->out[0], &call->in[0]);
    return;
  }
  struct nf4 nf4 = nf4_of(call, call->in, call->out);
  pool_run(call->pool, divide_up(nf4.blocks, BLOCKS_PER_TASK), dequantise_task, &nf4);
}

const struct kernel kernel_dequantise = {
    .op = TRAINER_OP_DEQUANTISE, .name = "dequantise", .check = dequantise_check, .run = dequantise_run, .level = level};
