/* random.c - RANDOM and DROPOUT_MASK: Philox at (seed, site, step, sample, position,
 * feature), so a number depends on nothing else. */
#include "../../../native/half.h"
#include "../../../native/philox.h"
#include "check.h"
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

static int inputs_ok(const struct call *call, int64_t rows) {
  const struct view *in = call->in;
  return is_dtype(&in[0], TRAINER_I32) && is_dtype(&in[1], TRAINER_I32) && in[0].rank == 1 && in[1].rank == 1 &&
         in[0].count == rows && in[1].count == rows && is_dtype(&in[2], TRAINER_I32) && is_vector(&in[2], 2) &&
         is_scalar(&in[3], TRAINER_I32);
}

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

static int32_t random_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != 1 || call->n_in != 4 || call->attr_bytes < sizeof(trainer_attr_random))
    return refuse(text, bytes, TRAINER_INVALID, "random needs dst, four inputs and its attributes");
  if (!is_dtype(&call->out[0], TRAINER_F32) || call->out[0].rank != 2 || !has_rows(&call->out[0]) || !inputs_ok(call, call->out[0].shape[0]))
    return refuse(text, bytes, TRAINER_INVALID, "random needs dst f32 [r, f], samples, positions i32 [r], seed i32 [2], step i32 [1]");
  return TRAINER_OK;
}

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

const struct kernel kernel_random = {.op = TRAINER_OP_RANDOM, .name = "random", .check = random_check, .run = random_run};

/* ---- dropout mask ---- */

static int is_activation(const struct view *view, int64_t rows, int64_t cols) {
  return is_float(view) && view->rank == 2 && has_rows(view) && view->shape[0] == rows && view->shape[1] == cols;
}

static int dropped_ok(const struct view *y, const struct view *x, int64_t rows, int64_t cols) {
  if (!y->present && !x->present) return 1;
  return is_activation(y, rows, cols) && is_activation(x, rows, cols);
}

static int32_t mask_check(const struct call *call, char *text, uint64_t bytes) {
  const trainer_attr_dropout_mask *attr = call->attr;
  const struct view *mask = &call->out[0];
  if (call->n_out != 2 || call->n_in != 5 || call->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "dropout_mask needs two outputs, five inputs and its attributes");
  if (!is_dtype(mask, TRAINER_U8) || mask->rank != 2 || !has_rows(mask) || attr->features < 0 || attr->features > INT32_MAX ||
      mask->shape[1] != (attr->features + 7) / 8 || !inputs_ok(call, mask->shape[0]))
    return refuse(text, bytes, TRAINER_INVALID, "dropout_mask needs mask u8 [T, ceil(K/8)], samples, positions i32 [T], seed i32 [2], step i32 [1]");
  if (!dropped_ok(&call->out[1], &call->in[4], mask->shape[0], attr->features))
    return refuse(text, bytes, TRAINER_INVALID, "x and y of dropout_mask are not both absent, or both float [T, K]");
  return TRAINER_OK;
}

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

const struct kernel kernel_dropout_mask = {.op = TRAINER_OP_DROPOUT_MASK, .name = "dropout_mask", .check = mask_check, .run = mask_run};
