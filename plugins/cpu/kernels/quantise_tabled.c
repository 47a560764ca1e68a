/* quantise_tabled.c - QUANTISE to NF4 and FP4 with one or two levels of scales. */
#include <math.h>
#include <string.h>

#include "quantise_formats.h"

#define BLOCKS_PER_TASK 128
#define RUN 512 /* elements at a time; even */

struct tabled {
  const struct rowmath *math;
  const struct view *weight;
  const struct view *dense;
  struct quant quant;
  struct quant_book book;
  float *absmax; /* f32 [blocks]: the scale operand, or scratch when nested */
};

static int64_t block_elements(const struct tabled *t, int64_t block) {
  int64_t left = t->quant.n - block * t->quant.format.group;
  return left < t->quant.format.group ? left : t->quant.format.group;
}

static float block_absmax(const struct tabled *t, int64_t block) {
  int64_t begin = block * t->quant.format.group, n = block_elements(t, block);
  float most = 0.0f, x[RUN];
  for (int64_t from = 0; from < n; from += RUN) {
    int64_t run = n - from < RUN ? n - from : RUN;
    load_f32(x, element(t->dense, begin + from), t->dense->dtype, run);
    most = quant_larger(most, t->math->largest(x, run));
  }
  return most;
}

/* A block begins with a byte of its own: groups are even. */
static void quantise_block(const struct tabled *t, int64_t block) {
  int64_t begin = block * t->quant.format.group, n = block_elements(t, block);
  float x[RUN], absmax = block_absmax(t, block), factor = quant_block_factor(absmax);
  uint8_t code[RUN + 1], *codes = (uint8_t *)t->weight[TRAINER_WEIGHT_DATA].data + begin / 2;
  t->absmax[block] = absmax;
  for (int64_t from = 0; from < n; from += RUN) {
    int64_t run = n - from < RUN ? n - from : RUN;
    load_f32(x, element(t->dense, begin + from), t->dense->dtype, run);
    t->math->places(code, x, factor, &t->book, run);
    code[run] = 0; /* fills the last byte of an odd weight */
    for (int64_t i = 0; i < run; i += 2) codes[(from + i) / 2] = (uint8_t)(code[i] << 4 | code[i + 1]);
  }
}

static void quantise_task(void *arg, int64_t task, uint32_t worker) {
  const struct tabled *t = arg;
  int64_t end = (task + 1) * BLOCKS_PER_TASK < t->quant.groups ? (task + 1) * BLOCKS_PER_TASK : t->quant.groups;
  (void)worker;
  for (int64_t block = task * BLOCKS_PER_TASK; block < end; block++) quantise_block(t, block);
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
static void quantise_scales(const struct tabled *t) {
  const struct view *weight = t->weight;
  float *map = weight[TRAINER_WEIGHT_CODE].data, *nested = weight[TRAINER_WEIGHT_SCALE_SCALE].data;
  uint8_t *codes = weight[TRAINER_WEIGHT_SCALE].data;
  int64_t blocks = t->quant.groups, group = t->quant.format.nested_group;
  float middle[QUANT_MAP - 1], mean = blocks ? cascade_sum(t->absmax, blocks) / (float)blocks : 0.0f;
  quant_map(map);
  quant_middles(middle, map, QUANT_MAP);
  *(float *)weight[TRAINER_WEIGHT_SCALE_ZERO].data = mean;
  for (int64_t i = 0; i < blocks; i++) t->absmax[i] -= mean;
  for (int64_t begin = 0; begin < blocks; begin += group) {
    int64_t n = blocks - begin < group ? blocks - begin : group;
    float most = t->math->largest(t->absmax + begin, n);
    nested[begin / group] = most;
    for (int64_t i = begin; i < begin + n; i++) codes[i] = quant_map_code(most == 0.0f ? 0.0f : t->absmax[i] / most, middle);
  }
}

uint64_t tabled_workspace(const trainer_quant_format *f, int64_t n) { return f->nested_group ? (uint64_t)quant_groups(f, n) * sizeof(float) : 0; }

void quantise_tabled(const struct call *call, const trainer_quant_format *f) {
  struct tabled t = {.math = rowmath_for(call->isa), .weight = call->out, .dense = &call->in[0], .quant = quant_of(call->out, f, call->in[0].count),
                     .book = quant_book_of(f->format)};
  t.absmax = f->nested_group ? call->workspace : call->out[TRAINER_WEIGHT_SCALE].data;
  pool_run(call->pool, (t.quant.groups + BLOCKS_PER_TASK - 1) / BLOCKS_PER_TASK, quantise_task, &t);
  if (f->nested_group) quantise_scales(&t);
}
