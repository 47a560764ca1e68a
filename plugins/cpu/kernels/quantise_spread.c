/* quantise_spread.c - QUANTISE to AFFINE (HQQ, Badri & Shaji 2023), BIASED (MLX) and INT8:
 * first how the numbers of each group spread over the codes, then the codes, which lie in
 * the order of elements wherever a group has its own. */
#include <math.h>
#include <string.h>

#include "quantise_formats.h"

#define TILE 16  /* groups read side by side */
#define RUN 128  /* elements of a group at a time; a multiple of 8 */
#define GROUPS_PER_TASK 128
#define ELEMENTS_PER_TASK 16384

struct spread {
  const struct rowmath *math;
  const struct view *weight;
  const struct view *dense;
  struct quant quant;
  float top;       /* the highest code */
  float *by;       /* scratch f32 [groups] */
  float *zero;     /* scratch f32 [groups] */
  double *errors;  /* AFFINE: f64 [tasks], a round's sum of each task */
};

static int64_t tasks_of(int64_t n, int64_t each) { return (n + each - 1) / each; }

static uint64_t aligned(int64_t elements, uint64_t size) { return ((uint64_t)elements * size + 63) / 64 * 64; }

/* ---- groups ---- */

/* A tile of groups, the same elements of each. */
struct tile {
  float x[TILE][RUN];
  int64_t first, groups; /* in the weight */
  int64_t n;             /* elements of each */
};

/* Reads elements [from, from + RUN) of the tile's groups, or what is left of them. */
static void tile_load(struct tile *t, const struct spread *s, int64_t from) {
  const struct quant *q = &s->quant;
  t->n = q->format.group - from < RUN ? q->format.group - from : RUN;
  if (!q->format.interleaved) {
    for (int64_t g = 0; g < t->groups; g++) load_f32(t->x[g], element(s->dense, (t->first + g) * q->format.group + from), s->dense->dtype, t->n);
    return;
  }
  float line[TILE];
  for (int64_t i = 0; i < t->n; i++) {
    load_f32(line, element(s->dense, (from + i) * q->groups + t->first), s->dense->dtype, t->groups);
    for (int64_t g = 0; g < t->groups; g++) t->x[g][i] = line[g];
  }
}

static struct quant_spread spread_of_range(const struct spread *s, int64_t group, float low, float high) {
  const trainer_quant_format *f = &s->quant.format;
  if (f->format == TRAINER_FORMAT_AFFINE) return quant_affine(low, high, f->bits);
  float *scale = s->weight[TRAINER_WEIGHT_SCALE].data, *zero = s->weight[TRAINER_WEIGHT_ZERO].data;
  if (f->format == TRAINER_FORMAT_INT8) {
    float absmax = quant_larger(fabsf(low), fabsf(high));
    scale[group] = absmax / 127.0f;
    return quant_int8(absmax);
  }
  struct quant_spread made = quant_biased(low, high, f->bits);
  scale[group] = made.by;
  zero[group] = made.zero;
  return made;
}

static void tile_range(const struct spread *s, struct tile *t) {
  float low[TILE], high[TILE];
  for (int64_t from = 0; from < s->quant.format.group; from += RUN) {
    tile_load(t, s, from);
    for (int64_t g = 0; g < t->groups; g++) {
      if (from == 0) low[g] = high[g] = t->x[g][0];
      s->math->range(&low[g], &high[g], t->x[g], t->n);
    }
  }
  for (int64_t g = 0; g < t->groups; g++) {
    struct quant_spread made = spread_of_range(s, t->first + g, low[g], high[g]);
    s->by[t->first + g] = made.by;
    s->zero[t->first + g] = made.zero;
  }
}

/* One round of HQQ: moves the zeros of a tile's groups and returns the sum of errors. */
static double tile_round(const struct spread *s, struct tile *t) {
  double zeros[TILE] = {0}, error = 0;
  for (int64_t from = 0; from < s->quant.format.group; from += RUN) {
    tile_load(t, s, from);
    for (int64_t g = 0; g < t->groups; g++)
      s->math->round(&zeros[g], &error, t->x[g], (struct quant_spread){s->by[t->first + g], s->zero[t->first + g]}, s->top, t->n);
  }
  for (int64_t g = 0; g < t->groups; g++) s->zero[t->first + g] = (float)(zeros[g] / (double)s->quant.format.group);
  return error;
}

static void tile_next(struct tile *t, int64_t first, int64_t end) {
  t->first = first;
  t->groups = end - first < TILE ? end - first : TILE;
}

static int64_t task_end(const struct spread *s, int64_t task) {
  int64_t end = (task + 1) * GROUPS_PER_TASK;
  return end < s->quant.groups ? end : s->quant.groups;
}

static void range_task(void *arg, int64_t task, uint32_t worker) {
  const struct spread *s = arg;
  struct tile t;
  (void)worker;
  for (int64_t first = task * GROUPS_PER_TASK; first < task_end(s, task); first += TILE) {
    tile_next(&t, first, task_end(s, task));
    tile_range(s, &t);
  }
}

static void round_task(void *arg, int64_t task, uint32_t worker) {
  const struct spread *s = arg;
  struct tile t;
  (void)worker;
  s->errors[task] = 0;
  for (int64_t first = task * GROUPS_PER_TASK; first < task_end(s, task); first += TILE) {
    tile_next(&t, first, task_end(s, task));
    s->errors[task] += tile_round(s, &t);
  }
}

/* Rounds until one does not improve the error of the whole weight. */
static void solve(const struct spread *s, struct pool *pool) {
  int64_t tasks = tasks_of(s->quant.groups, GROUPS_PER_TASK);
  double best = INFINITY;
  for (int round = 0; round < QUANT_ROUNDS; round++) {
    double error = 0;
    pool_run(pool, tasks, round_task, (void *)s);
    for (int64_t task = 0; task < tasks; task++) error += s->errors[task];
    if (!(error < best)) return;
    best = error;
  }
}

/* ---- codes ---- */

/* The spreads of elements [at, at + n): of one group after the other, or each of the next. */
static void look_up(float *by, float *zero, const struct spread *s, int64_t at, int64_t n) {
  const struct quant *q = &s->quant;
  for (int64_t i = 0, run; i < n; i += run) {
    int64_t g = quant_group_of(q, at + i);
    run = q->format.interleaved ? 1 : (g + 1) * q->format.group - at - i;
    if (run > n - i) run = n - i;
    for (int64_t k = i; k < i + run; k++) {
      by[k] = s->by[g];
      zero[k] = s->zero[g];
    }
  }
}

/* n elements from a multiple of 8 on: whole bytes. */
static void store_codes(const struct spread *s, int64_t at, const uint8_t *code, int64_t n) {
  uint32_t bits = s->quant.format.bits;
  uint8_t *to = (uint8_t *)s->weight[TRAINER_WEIGHT_DATA].data + at / 8 * bits;
  for (int64_t i = 0; i < n; i += 8, to += bits) {
    int64_t count = n - i < 8 ? n - i : 8;
    uint64_t word = 0;
    for (int64_t j = 0; j < count; j++) word |= (uint64_t)code[i + j] << j * bits;
    bits_store(to, (int)bits_bytes(count, bits), word, bits, 1);
  }
}

static void codes_task(void *arg, int64_t task, uint32_t worker) {
  const struct spread *s = arg;
  int64_t end = (task + 1) * ELEMENTS_PER_TASK < s->quant.n ? (task + 1) * ELEMENTS_PER_TASK : s->quant.n;
  float x[RUN], by[RUN], zero[RUN];
  uint8_t code[RUN];
  (void)worker;
  for (int64_t at = task * ELEMENTS_PER_TASK; at < end; at += RUN) {
    int64_t n = end - at < RUN ? end - at : RUN;
    load_f32(x, element(s->dense, at), s->dense->dtype, n);
    look_up(by, zero, s, at, n);
    s->math->codes(code, x, by, zero, s->quant.format.format, s->top, n);
    store_codes(s, at, code, n);
  }
}

/* ---- scales ---- */

/* Stores scales or zeros x [groups] in 8 bits, interleaved. */
static void nest(const struct spread *s, const float *x, uint8_t *codes, float *scale, float *zero) {
  int64_t groups = s->quant.groups, outer = s->quant.outer;
  for (int64_t o = 0; o < outer; o++) {
    float low = x[o], high = x[o];
    for (int64_t g = o; g < groups; g += outer) {
      low = quant_smaller(low, x[g]);
      high = quant_larger(high, x[g]);
    }
    struct quant_spread made = quant_affine(low, high, 8);
    for (int64_t g = o; g < groups; g += outer) codes[g] = (uint8_t)quant_affine_code(x[g], made, quant_top(8));
    scale[o] = 1.0f / made.by;
    zero[o] = made.zero;
  }
}

/* What AFFINE stores of each group. */
static void store_scales(const struct spread *s) {
  const struct view *w = s->weight;
  for (int64_t g = 0; g < s->quant.groups; g++) s->by[g] = 1.0f / s->by[g];
  if (s->quant.format.nested_group) {
    nest(s, s->by, w[TRAINER_WEIGHT_SCALE].data, w[TRAINER_WEIGHT_SCALE_SCALE].data, w[TRAINER_WEIGHT_SCALE_ZERO].data);
    nest(s, s->zero, w[TRAINER_WEIGHT_ZERO].data, w[TRAINER_WEIGHT_ZERO_SCALE].data, w[TRAINER_WEIGHT_ZERO_ZERO].data);
    return;
  }
  memcpy(w[TRAINER_WEIGHT_SCALE].data, s->by, (size_t)s->quant.groups * sizeof *s->by);
  memcpy(w[TRAINER_WEIGHT_ZERO].data, s->zero, (size_t)s->quant.groups * sizeof *s->zero);
}

uint64_t spread_workspace(const trainer_quant_format *f, int64_t n) {
  int64_t groups = quant_groups(f, n);
  return 2 * aligned(groups, sizeof(float)) + aligned(tasks_of(groups, GROUPS_PER_TASK), sizeof(double));
}

void quantise_spread(const struct call *call, const trainer_quant_format *f) {
  struct spread s = {.math = rowmath_for(call->isa), .weight = call->out, .dense = &call->in[0], .quant = quant_of(call->out, f, call->in[0].count),
                     .top = quant_top(f->bits)};
  char *at = call->workspace;
  if (s.quant.n == 0) return;
  s.by = (float *)(void *)at;
  s.zero = (float *)(void *)(at + aligned(s.quant.groups, sizeof(float)));
  s.errors = (double *)(void *)(at + 2 * aligned(s.quant.groups, sizeof(float)));
  pool_run(call->pool, tasks_of(s.quant.groups, GROUPS_PER_TASK), range_task, &s);
  if (f->format == TRAINER_FORMAT_AFFINE) solve(&s, call->pool);
  pool_run(call->pool, tasks_of(s.quant.n, ELEMENTS_PER_TASK), codes_task, &s);
  if (f->format == TRAINER_FORMAT_AFFINE) store_scales(&s);
}
