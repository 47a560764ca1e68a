/* random.c - RANDOM and DROPOUT_MASK: Philox at (seed, site, step, sample, position,
 * feature), so a number depends on nothing else. */
#include "../../../native/half.h"
#include "../../../native/philox.h"
#include "rowmath.h"
#include "strided.h"

#define ROWS_MIN_ELEMENTS 8192

/* The inputs both ops share. */
struct site {
  struct philox_key key;
  uint32_t step;
  const struct view *samples;
  const struct view *positions;
};

static struct site site_of(const struct call *call, uint32_t site_lo, uint32_t site_hi) {
  return (struct site){philox_key_of(call->in[2].data, site_lo, site_hi), (uint32_t)*(const int32_t *)call->in[3].data,
                       &call->in[0], &call->in[1]};
}

static uint32_t scalar_at(const struct view *view, int64_t row) {
  return (uint32_t)((const int32_t *)view->data)[row * view->stride[0]];
}

static int64_t rows_per_task(int64_t width) { return width > 0 ? 1 + ROWS_MIN_ELEMENTS / width : ROWS_MIN_ELEMENTS; }

struct draws {
  const struct call *call;
  const struct rowmath *math;
  struct site site;
  float p;
  int64_t features;
  int64_t rows;
  float keep_scale;
};

/* Numbers of features [at, at + n) of a row; at is a multiple of 4, n at most STRIDED_ROW. */
static void draw(float *out, const struct draws *draws, int64_t row, int64_t at, int64_t n) {
  const struct site *site = &draws->site;
  uint32_t words[STRIDED_ROW];
  draws->math->philox(words, site->key, (uint32_t)(at / 4), scalar_at(site->positions, row), scalar_at(site->samples, row), site->step, (n + 3) / 4);
  for (int64_t i = 0; i < n; i++) out[i] = philox_uniform(words[i]);
}

static void each_row(struct draws *draws, void (*fn)(void *arg, int64_t task, uint32_t worker)) {
  int64_t per = rows_per_task(draws->features);
  pool_run(draws->call->pool, (draws->rows + per - 1) / per, fn, draws);
}

static int64_t rows_end(const struct draws *draws, int64_t task) {
  int64_t end = (task + 1) * rows_per_task(draws->features);
  return end < draws->rows ? end : draws->rows;
}

/* ---- random ---- */

static void random_task(void *arg, int64_t task, uint32_t worker) {
  const struct draws *draws = arg;
  (void)worker;
  for (int64_t row = task * rows_per_task(draws->features); row < rows_end(draws, task); row++) {
    float *dst = row_at(&draws->call->out[0], row, 0);
    for (int64_t at = 0; at < draws->features; at += STRIDED_ROW) {
      int64_t left = draws->features - at;
      draw(dst + at, draws, row, at, left < STRIDED_ROW ? left : STRIDED_ROW);
    }
  }
}

static void random_run(const struct call *call) {
  const trainer_attr_random *attr = call->attr;
  struct draws draws = {call, rowmath_for(call->isa), site_of(call, attr->site_lo, attr->site_hi), 0, call->out[0].shape[1], call->out[0].shape[0], 0};
  each_row(&draws, random_task);
}

const struct kernel kernel_random = {.op = TRAINER_OP_RANDOM, .name = "random", .check = check_random, .run = random_run};

/* ---- dropout mask ---- */

/* Bits of n numbers, lowest first; what the last byte has left over is 0. */
static void keep_bits(uint8_t *mask, const float *x, float p, int64_t n) {
  for (int64_t at = 0; at < n; at += 8) {
    uint32_t byte = 0;
    for (int64_t i = 0; i < 8 && at + i < n; i++) byte |= (uint32_t)(x[at + i] >= p) << i;
    mask[at / 8] = (uint8_t)byte;
  }
}

/* y = x * bit * keep_scale for n numbers of a row from `at` on. */
static void drop_row(const struct call *call, const uint8_t *mask, int64_t row, int64_t at, int64_t n, float keep_scale) {
  const struct view *x = &call->in[4], *y = &call->out[1];
  float values[STRIDED_ROW];
  load_f32(values, row_at(x, row, at), x->dtype, n);
  for (int64_t i = 0; i < n; i++) values[i] = mask[i / 8] >> (i % 8) & 1 ? values[i] * keep_scale : 0.0f;
  store_f32(row_at(y, row, at), y->dtype, values, n);
}

static void mask_task(void *arg, int64_t task, uint32_t worker) {
  const struct draws *draws = arg;
  (void)worker;
  for (int64_t row = task * rows_per_task(draws->features); row < rows_end(draws, task); row++) {
    uint8_t *mask = row_at(&draws->call->out[0], row, 0);
    float x[STRIDED_ROW];
    for (int64_t at = 0; at < draws->features; at += STRIDED_ROW) {
      int64_t left = draws->features - at, n = left < STRIDED_ROW ? left : STRIDED_ROW;
      draw(x, draws, row, at, n);
      keep_bits(mask + at / 8, x, draws->p, n);
      if (draws->call->out[1].present) drop_row(draws->call, mask + at / 8, row, at, n, draws->keep_scale);
    }
  }
}

static void mask_run(const struct call *call) {
  const trainer_attr_dropout_mask *attr = call->attr;
  struct draws draws = {call, rowmath_for(call->isa), site_of(call, attr->site_lo, attr->site_hi), f32_from_bits(attr->p_bits), attr->features, call->out[0].shape[0], f32_from_bits(attr->keep_scale_bits)};
  each_row(&draws, mask_task);
}

const struct kernel kernel_dropout_mask = {.op = TRAINER_OP_DROPOUT_MASK, .name = "dropout_mask", .check = check_dropout_mask, .run = mask_run};
