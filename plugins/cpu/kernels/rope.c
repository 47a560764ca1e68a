/* rope.c - ROPE (Su et al. 2021) with the halves of a head rotated against each other, as
 * Hugging Face stores Llama's weights. */
#include "../../../native/half.h"
#include "rowmath.h"
#include "strided.h"

#define TASK_ELEMENTS 16384
#define HALF_MAX (STRIDED_ROW / 2)

struct rope {
  const struct call *call;
  const struct rowmath *math;
  int64_t half;
  int64_t rows_per_task;
};

static int32_t check(const struct record *record, char *text, uint64_t bytes) {
  int32_t status = check_rope(record, text, bytes);
  if (status || ((const trainer_attr_rope *)record->attr)->rotary_dim <= 2 * HALF_MAX) return status;
  return refuse(text, bytes, TRAINER_UNSUPPORTED, "rotary_dim of rope is above 1024");
}

static int64_t offset_of(const struct view *view, int64_t t, int64_t head) { return t * view->stride[0] + head * view->stride[1]; }

/* Copies features [from, D) of one head. */
static void pass_through(const struct call *call, int64_t t, int64_t head, int64_t from) {
  const struct view *y = &call->out[0], *x = &call->in[0];
  float buffer[2][STRIDED_ROW];
  if (y->data == x->data && y->dtype == x->dtype) return;
  for (int64_t at = from; at < x->shape[2]; at += STRIDED_ROW) {
    int64_t n = x->shape[2] - at < STRIDED_ROW ? x->shape[2] - at : STRIDED_ROW;
    const float *in = row_load(buffer[0], x, offset_of(x, t, head) + at, 1, n);
    store_f32((char *)y->data + (offset_of(y, t, head) + at) * dtype_bytes(y->dtype), y->dtype, in, n);
  }
}

static void rotate_head(const struct rope *rope, int64_t t, int64_t head, const float *c, const float *s) {
  const struct view *y = &rope->call->out[0], *x = &rope->call->in[0];
  int64_t half = rope->half, from = offset_of(x, t, head), to = offset_of(y, t, head);
  float buffer[4][HALF_MAX];
  const float *x1 = row_load(buffer[0], x, from, 1, half), *x2 = row_load(buffer[1], x, from + half, 1, half);
  float *y1 = row_target(buffer[2], y, to, 1), *y2 = row_target(buffer[3], y, to + half, 1);
  rope->math->rotate(y1, y2, x1, x2, c, s, half);
  row_commit(y1, y, to, 1, half);
  row_commit(y2, y, to + half, 1, half);
}

/* The table of one token, already scaled and, for the backward pass, inverted. */
static void make_table(const struct rope *rope, int64_t t, float *c, float *s) {
  const trainer_attr_rope *attr = rope->call->attr;
  const struct view *positions = &rope->call->in[1];
  const float *inv_freq = rope->call->in[2].data;
  float position = (float)((const int32_t *)positions->data)[t * positions->stride[0]];
  float scale = f32_from_bits(attr->scale_bits), angle[HALF_MAX];
  for (int64_t i = 0; i < rope->half; i++) angle[i] = position * inv_freq[i];
  rope->math->sincos(s, c, angle, rope->half);
  for (int64_t i = 0; i < rope->half; i++) {
    c[i] *= scale;
    s[i] *= attr->inverse ? -scale : scale;
  }
}

static void rope_task(void *arg, int64_t task, uint32_t worker) {
  const struct rope *rope = arg;
  const struct view *x = &rope->call->in[0];
  int64_t heads = ((const trainer_attr_rope *)rope->call->attr)->heads, end = (task + 1) * rope->rows_per_task;
  float c[HALF_MAX], s[HALF_MAX];
  (void)worker;
  if (end > x->shape[0]) end = x->shape[0];
  for (int64_t t = task * rope->rows_per_task; t < end; t++) {
    make_table(rope, t, c, s);
    for (int64_t head = 0; head < x->shape[1]; head++) {
      if (head < heads) rotate_head(rope, t, head, c, s);
      pass_through(rope->call, t, head, head < heads ? 2 * rope->half : 0);
    }
  }
}

static void run(const struct call *call) {
  const struct view *x = &call->in[0];
  struct rope rope = {call, rowmath_for(call->isa), ((const trainer_attr_rope *)call->attr)->rotary_dim / 2,
                      1 + TASK_ELEMENTS / (x->shape[1] * x->shape[2] + 1)};
  pool_run(call->pool, (x->shape[0] + rope.rows_per_task - 1) / rope.rows_per_task, rope_task, &rope);
}

const struct kernel kernel_rope = {.op = TRAINER_OP_ROPE, .name = "rope", .check = check, .run = run};
