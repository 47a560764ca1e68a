/* attention_body.h - the tasks of attention.h, compiled for each instruction set. The
 * including file defines ATTENTION_ISA, the table to make.
 *
 * Blocks are kept so that every product reads them as the register tile likes it:
 * `turned` blocks are [D][64], one column per query or key; `rows` blocks are [64][D].
 */
#include <math.h>

#include "attention.h"
#include "gemm_micro.h"
#include "gemm_pack.h"

#define BLOCK ATTENTION_BLOCK

/* One side of a pair of blocks: positions, and what decides who sees whom. */
struct span {
  int64_t first, n;
  int32_t segment[BLOCK];
  int32_t segment_low, segment_high;
};

static struct gemm_source head_of(const struct view *x, int64_t b, int64_t head) {
  const char *data = (const char *)x->data + (b * x->stride[0] + head * x->stride[2]) * dtype_bytes(x->dtype);
  return (struct gemm_source){.data = data, .dtype = x->dtype, .line = x->stride[1], .step = x->stride[3], .factor = 1.0f, .keep_scale = 1.0f};
}

static void load_turned(float *dst, const struct attention *t, const struct view *x, int64_t b, int64_t head, const struct span *at) {
  struct gemm_source s = head_of(x, b, head);
  pack_rows(dst, BLOCK, &s, t->compute, at->first, at->n, 0, t->width);
}

static void load_rows(float *dst, const struct attention *t, const struct view *x, int64_t b, int64_t head, const struct span *at) {
  struct gemm_source s = head_of(x, b, head);
  for (int64_t i = 0; i < at->n; i++) {
    read_line(dst + i * t->padded, &s, t->compute, at->first + i, 0, t->width);
    for (int64_t d = t->width; d < t->padded; d++) dst[i * t->padded + d] = 0.0f;
  }
}

/* Stores rows [n][padded], each times factor[i] where given. */
static void store_rows(const struct attention *t, const struct view *x, int64_t b, int64_t head, const struct span *at, float *rows) {
  uint32_t size = dtype_bytes(x->dtype);
  for (int64_t i = 0; i < at->n; i++) {
    char *to = (char *)x->data + (b * x->stride[0] + (at->first + i) * x->stride[1] + head * x->stride[2]) * size;
    float *from = rows + i * t->padded;
    if (x->stride[3] == 1) store_f32(to, x->dtype, from, t->width);
    else
      for (int64_t d = 0; d < t->width; d++) store_f32(to + d * x->stride[3] * size, x->dtype, from + d, 1);
  }
}

static struct span span_of(const struct attention *t, int64_t b, int64_t block, int64_t limit) {
  struct span at = {.first = block * BLOCK, .n = limit - block * BLOCK, .segment_low = INT32_MAX, .segment_high = INT32_MIN};
  if (at.n > BLOCK) at.n = BLOCK;
  for (int64_t i = 0; t->segments->present && i < at.n; i++) {
    int32_t s = ((const int32_t *)t->segments->data)[b * t->segments->stride[0] + (at.first + i) * t->segments->stride[1]];
    at.segment[i] = s;
    at.segment_low = s < at.segment_low ? s : at.segment_low;
    at.segment_high = s > at.segment_high ? s : at.segment_high;
  }
  return at;
}

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/* Keys of row b that exist at all. */
static int64_t keys_of(const struct attention *t, int64_t b) {
  if (!t->lengths->present) return t->keys;
  return clamp(((const int32_t *)t->lengths->data)[b * t->lengths->stride[0]], 0, t->keys);
}

/* Key blocks [low, high) that queries of a span may see. */
static void key_blocks(const struct attention *t, int64_t b, const struct span *q, int64_t *low, int64_t *high) {
  int64_t begin = 0, end = keys_of(t, b);
  if (t->causal) end = clamp(q->first + q->n + t->offset, 0, end);
  if (t->window) begin = clamp(q->first + t->offset - t->window + 1, 0, end);
  *low = begin / BLOCK;
  *high = (end + BLOCK - 1) / BLOCK;
}

/* Query blocks [low, high) that may see keys of a span. */
static void query_blocks(const struct attention *t, const struct span *k, int64_t *low, int64_t *high) {
  int64_t begin = 0, end = t->queries;
  if (t->causal) begin = clamp(k->first - t->offset, 0, end);
  if (t->window) end = clamp(k->first + k->n - 1 + t->window - t->offset, begin, end);
  *low = begin / BLOCK;
  *high = (end + BLOCK - 1) / BLOCK;
}

enum sight { SEES_NONE, SEES_SOME, SEES_ALL };

/* What a block of queries sees of a block of keys; k->n counts existing keys only. */
static enum sight sight_of(const struct attention *t, const struct span *q, const struct span *k) {
  enum sight sight = SEES_ALL;
  if (t->segments->present) {
    if (q->segment_high < k->segment_low || k->segment_high < q->segment_low) return SEES_NONE;
    if (q->segment_low != q->segment_high || k->segment_low != k->segment_high) sight = SEES_SOME;
  }
  if (t->causal && k->first + k->n - 1 > q->first + t->offset) sight = SEES_SOME;
  if (t->window && k->first <= q->first + q->n - 1 + t->offset - t->window) sight = SEES_SOME;
  return sight;
}

/* Keys (low, high] are near enough to query i of a span. */
static void reach_of(const struct attention *t, const struct span *q, int64_t i, int32_t *low, int32_t *high) {
  int64_t at = q->first + i + t->offset;
  *high = t->causal ? (int32_t)clamp(at, INT32_MIN, INT32_MAX) : INT32_MAX;
  *low = t->window ? (int32_t)clamp(at - t->window, INT32_MIN, INT32_MAX) : INT32_MIN;
}

/* scores[key][query]: what a query does not see becomes -inf. */
static void hide_by_key(const struct attention *t, const struct span *q, const struct span *k, float *restrict scores) {
  int32_t low[BLOCK], high[BLOCK];
  for (int64_t i = 0; i < BLOCK; i++) reach_of(t, q, i, &low[i], &high[i]);
  for (int64_t j = 0; j < k->n; j++) {
    int32_t key = (int32_t)(k->first + j);
    float *restrict row = scores + j * BLOCK;
    for (int64_t i = 0; i < BLOCK; i++) row[i] = (key > low[i]) & (key <= high[i]) ? row[i] : -INFINITY;
    for (int64_t i = 0; t->segments->present && i < q->n; i++) row[i] = q->segment[i] == k->segment[j] ? row[i] : -INFINITY;
  }
}

/* scores[query][key], likewise. */
static void hide_by_query(const struct attention *t, const struct span *q, const struct span *k, float *restrict scores) {
  for (int64_t i = 0; i < q->n; i++) {
    int32_t low, high, first = (int32_t)k->first;
    float *restrict row = scores + i * BLOCK;
    reach_of(t, q, i, &low, &high);
    for (int32_t j = 0; j < BLOCK; j++) row[j] = (first + j > low) & (first + j <= high) ? row[j] : -INFINITY;
    for (int64_t j = 0; t->segments->present && j < k->n; j++) row[j] = q->segment[i] == k->segment[j] ? row[j] : -INFINITY;
  }
}

static void fill(float *x, float value, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] = value;
}

/* Places in a worker's scratch. */
struct places {
  float *turned[4]; /* [D][64] */
  float *rows[4];   /* [64][D] */
  float *block[2];  /* [64][64] */
};

static struct places places_of(const struct attention *t, uint32_t worker) {
  struct places at;
  float *next = (float *)(void *)(t->scratch + worker * t->scratch_bytes);
  for (int i = 0; i < 4; i++, next += BLOCK * t->padded) at.turned[i] = next;
  for (int i = 0; i < 4; i++, next += BLOCK * t->padded) at.rows[i] = next;
  for (int i = 0; i < 2; i++, next += BLOCK * BLOCK) at.block[i] = next;
  return at;
}

/* ---- forward ---- */

/* The running softmax of a block of queries. */
struct softmax {
  float most[BLOCK], sum[BLOCK];
};

/* scores [key][query] become probabilities relative to the new maximum; decay is what the earlier
 * sums are multiplied by. */
static void soften(const struct attention *t, struct softmax *state, float *restrict scores, int64_t keys, float *restrict decay) {
  float shift[BLOCK];
  for (int64_t i = 0; i < BLOCK; i++) shift[i] = state->most[i];
  for (int64_t j = 0; j < keys; j++)
    for (int64_t i = 0; i < BLOCK; i++) shift[i] = scores[j * BLOCK + i] > shift[i] ? scores[j * BLOCK + i] : shift[i];
  for (int64_t i = 0; i < BLOCK; i++) {
    float most = shift[i];
    shift[i] = most == -INFINITY ? 0.0f : most;
    decay[i] = state->most[i] - shift[i];
    state->most[i] = most;
  }
  for (int64_t j = 0; j < keys; j++)
    for (int64_t i = 0; i < BLOCK; i++) scores[j * BLOCK + i] -= shift[i];
  t->math->exp(scores, scores, keys * BLOCK);
  t->math->exp(decay, decay, BLOCK);
  for (int64_t i = 0; i < BLOCK; i++) state->sum[i] *= decay[i];
  for (int64_t j = 0; j < keys; j++)
    for (int64_t i = 0; i < BLOCK; i++) state->sum[i] += scores[j * BLOCK + i];
}

static void scale_rows(float *restrict rows, int64_t ld, const float *factor, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    for (int64_t d = 0; d < ld; d++) rows[i * ld + d] *= factor[i];
}

static void attend(const struct attention *t, struct places *at, struct softmax *state, int64_t b, int64_t group, const struct span *q, const struct span *k, enum sight sight) {
  float decay[BLOCK], *scores = at->block[0], *out = at->rows[1];
  load_turned(at->turned[1], t, t->k, b, group, k);
  load_rows(at->rows[0], t, t->v, b, group, k);
  micro_block(k->n, q->n, t->width, at->turned[1], BLOCK, at->turned[0], BLOCK, scores, BLOCK, 0);
  for (int64_t i = 0; i < k->n * BLOCK; i++) scores[i] *= t->scale;
  if (sight != SEES_ALL) hide_by_key(t, q, k, scores);
  soften(t, state, scores, k->n, decay);
  round_line(scores, t->compute, k->n * BLOCK);
  scale_rows(out, t->padded, decay, q->n);
  micro_block(q->n, t->width, k->n, scores, BLOCK, at->rows[0], t->padded, out, t->padded, 1);
}

static void store_softmax(const struct attention *t, const struct softmax *state, int64_t b, int64_t head, const struct span *q, float *out) {
  float factor[BLOCK];
  for (int64_t i = 0; i < q->n; i++) {
    int empty = state->most[i] == -INFINITY;
    float *lse = (float *)t->lse->data + b * t->lse->stride[0] + head * t->lse->stride[1] + (q->first + i) * t->lse->stride[2];
    *lse = empty ? -INFINITY : state->most[i] + logf(state->sum[i]);
    factor[i] = empty ? 0.0f : 1.0f / state->sum[i];
  }
  scale_rows(out, t->padded, factor, q->n);
  store_rows(t, t->o, b, head, q, out);
}

/* Which block of queries a task is; the last blocks, which see most, begin first. */
static void query_task(const struct attention *t, int64_t task, int64_t *b, int64_t *head, int64_t *block) {
  int64_t blocks = (t->queries + BLOCK - 1) / BLOCK, heads = t->heads * t->batch;
  *block = blocks - 1 - task / heads;
  *head = task % heads % t->heads;
  *b = task % heads / t->heads;
}

static void forward_task(void *arg, int64_t task, uint32_t worker) {
  const struct attention *t = arg;
  struct places at = places_of(t, worker);
  struct softmax state;
  int64_t b, head, block, low, high;
  query_task(t, task, &b, &head, &block);
  struct span q = span_of(t, b, block, t->queries);
  int64_t group = head / (t->heads / t->groups), keys = keys_of(t, b);
  fill(state.most, -INFINITY, BLOCK);
  fill(state.sum, 0.0f, BLOCK);
  fill(at.rows[1], 0.0f, q.n * t->padded);
  load_turned(at.turned[0], t, t->q, b, head, &q);
  key_blocks(t, b, &q, &low, &high);
  for (int64_t i = low; i < high; i++) {
    struct span k = span_of(t, b, i, keys);
    enum sight sight = sight_of(t, &q, &k);
    if (sight != SEES_NONE) attend(t, &at, &state, b, group, &q, &k, sight);
  }
  store_softmax(t, &state, b, head, &q, at.rows[1]);
}

/* ---- gradient ---- */

static float *delta_of(const struct attention *t, int64_t b, int64_t head) { return t->delta + (b * t->heads + head) * t->queries; }

static void delta_task(void *arg, int64_t task, uint32_t worker) {
  const struct attention *t = arg;
  struct places at = places_of(t, worker);
  int64_t b, head, block;
  query_task(t, task, &b, &head, &block);
  struct span q = span_of(t, b, block, t->queries);
  struct gemm_source o = head_of(t->o, b, head), grad = head_of(t->grad_o, b, head);
  for (int64_t i = 0; i < q.n; i++) {
    read_line(at.rows[0], &o, TRAINER_F32, q.first + i, 0, t->width);
    read_line(at.rows[1], &grad, TRAINER_F32, q.first + i, 0, t->width);
    delta_of(t, b, head)[q.first + i] = (float)t->math->dot(at.rows[0], at.rows[1], t->width);
  }
}

static float lse_of(const struct attention *t, int64_t b, int64_t head, int64_t query) {
  return ((const float *)t->lse->data)[b * t->lse->stride[0] + head * t->lse->stride[1] + query * t->lse->stride[2]];
}

/* p = exp(scores), ds = p * (dp - delta) * scale, both rounded; dp is overwritten. delta_row or
 * delta_col gives delta: of each row of the block, or of each column. */
static void differentiate(const struct attention *t, float *restrict p, float *restrict dp, int64_t rows, const float *delta_row, const float *delta_col) {
  t->math->exp(p, p, rows * BLOCK);
  for (int64_t j = 0; j < rows; j++)
    for (int64_t i = 0; i < BLOCK; i++)
      dp[j * BLOCK + i] = p[j * BLOCK + i] * (dp[j * BLOCK + i] - (delta_row ? delta_row[j] : delta_col[i])) * t->scale;
  round_line(p, t->compute, rows * BLOCK);
  round_line(dp, t->compute, rows * BLOCK);
}

static void grad_q_block(const struct attention *t, struct places *at, int64_t b, int64_t group, const struct span *q, const struct span *k, enum sight sight, const float *lse, const float *delta) {
  float *scores = at->block[0], *dp = at->block[1];
  load_turned(at->turned[2], t, t->k, b, group, k);
  load_turned(at->turned[3], t, t->v, b, group, k);
  load_rows(at->rows[0], t, t->k, b, group, k);
  micro_block(k->n, q->n, t->width, at->turned[2], BLOCK, at->turned[0], BLOCK, scores, BLOCK, 0);
  micro_block(k->n, q->n, t->width, at->turned[3], BLOCK, at->turned[1], BLOCK, dp, BLOCK, 0);
  for (int64_t j = 0; j < k->n; j++)
    for (int64_t i = 0; i < BLOCK; i++) scores[j * BLOCK + i] = scores[j * BLOCK + i] * t->scale - lse[i];
  if (sight != SEES_ALL) hide_by_key(t, q, k, scores);
  differentiate(t, scores, dp, k->n, NULL, delta);
  micro_block(q->n, t->width, k->n, dp, BLOCK, at->rows[0], t->padded, at->rows[1], t->padded, 1);
}

static void grad_q_task(void *arg, int64_t task, uint32_t worker) {
  const struct attention *t = arg;
  struct places at = places_of(t, worker);
  float lse[BLOCK] = {0}, delta[BLOCK] = {0};
  int64_t b, head, block, low, high;
  query_task(t, task, &b, &head, &block);
  struct span q = span_of(t, b, block, t->queries);
  int64_t group = head / (t->heads / t->groups), keys = keys_of(t, b);
  for (int64_t i = 0; i < q.n; i++) {
    lse[i] = lse_of(t, b, head, q.first + i);
    delta[i] = delta_of(t, b, head)[q.first + i];
  }
  fill(at.rows[1], 0.0f, q.n * t->padded);
  load_turned(at.turned[0], t, t->q, b, head, &q);
  load_turned(at.turned[1], t, t->grad_o, b, head, &q);
  key_blocks(t, b, &q, &low, &high);
  for (int64_t i = low; i < high; i++) {
    struct span k = span_of(t, b, i, keys);
    enum sight sight = sight_of(t, &q, &k);
    if (sight != SEES_NONE) grad_q_block(t, &at, b, group, &q, &k, sight, lse, delta);
  }
  store_rows(t, t->dq, b, head, &q, at.rows[1]);
}

/* Adds one block of queries of one head to dk in rows[2] and dv in rows[3]. */
static void grad_kv_block(const struct attention *t, struct places *at, int64_t b, int64_t head, const struct span *q, const struct span *k, enum sight sight) {
  float *scores = at->block[0], *dp = at->block[1];
  const float *delta = delta_of(t, b, head) + q->first;
  load_turned(at->turned[0], t, t->q, b, head, q);
  load_turned(at->turned[1], t, t->grad_o, b, head, q);
  load_rows(at->rows[0], t, t->q, b, head, q);
  load_rows(at->rows[1], t, t->grad_o, b, head, q);
  micro_block(q->n, k->n, t->width, at->turned[0], BLOCK, at->turned[2], BLOCK, scores, BLOCK, 0);
  micro_block(q->n, k->n, t->width, at->turned[1], BLOCK, at->turned[3], BLOCK, dp, BLOCK, 0);
  for (int64_t i = 0; i < q->n; i++) {
    float lse = lse_of(t, b, head, q->first + i);
    for (int64_t j = 0; j < BLOCK; j++) scores[i * BLOCK + j] = scores[i * BLOCK + j] * t->scale - lse;
  }
  if (sight != SEES_ALL) hide_by_query(t, q, k, scores);
  differentiate(t, scores, dp, q->n, delta, NULL);
  micro_block(k->n, t->width, q->n, dp, BLOCK, at->rows[0], t->padded, at->rows[2], t->padded, 1);
  micro_block(k->n, t->width, q->n, scores, BLOCK, at->rows[1], t->padded, at->rows[3], t->padded, 1);
}

static void grad_kv_task(void *arg, int64_t task, uint32_t worker) {
  const struct attention *t = arg;
  struct places at = places_of(t, worker);
  int64_t pairs = t->batch * t->groups, b = task % pairs / t->groups, group = task % t->groups, low, high;
  int64_t keys = keys_of(t, b), shared = t->heads / t->groups;
  struct span all = span_of(t, b, task / pairs, t->keys), k = span_of(t, b, task / pairs, keys);
  fill(at.rows[2], 0.0f, BLOCK * t->padded);
  fill(at.rows[3], 0.0f, BLOCK * t->padded);
  if (k.n > 0) {
    load_turned(at.turned[2], t, t->k, b, group, &k);
    load_turned(at.turned[3], t, t->v, b, group, &k);
    query_blocks(t, &k, &low, &high);
  } else {
    low = high = 0;
  }
  for (int64_t head = group * shared; head < (group + 1) * shared; head++)
    for (int64_t i = low; i < high; i++) {
      struct span q = span_of(t, b, i, t->queries);
      enum sight sight = sight_of(t, &q, &k);
      if (sight != SEES_NONE) grad_kv_block(t, &at, b, head, &q, &k, sight);
    }
  if (t->dk->present) store_rows(t, t->dk, b, group, &all, at.rows[2]);
  if (t->dv->present) store_rows(t, t->dv, b, group, &all, at.rows[3]);
}

const struct attention_isa ATTENTION_ISA = {forward_task, delta_task, grad_q_task, grad_kv_task};
