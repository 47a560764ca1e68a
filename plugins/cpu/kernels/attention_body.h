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

/* A block of rows as it is multiplied, ld apart. */
struct rows {
  const float *data;
  int64_t ld;
};

/* Reads a block of rows into room, or leaves it where it is stored if it is usable there. */
static struct rows load_rows(float *room, const struct attention *t, const struct view *x, int64_t b, int64_t head, const struct span *at) {
  struct gemm_source s = head_of(x, b, head);
  if (t->width == t->padded && source_is_plain(&s, t->compute)) return (struct rows){(const float *)s.data + at->first * s.line, s.line};
  for (int64_t i = 0; i < at->n; i++) {
    read_line(room + i * t->padded, &s, t->compute, at->first + i, 0, t->width);
    for (int64_t d = t->width; d < t->padded; d++) room[i * t->padded + d] = 0.0f;
  }
  return (struct rows){room, t->padded};
}

/* Stores rows [n][padded]. */
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

/* Whether two spans have no segment in common, by what lies between their least and
 * greatest: packed rows, whose segments ascend, are told apart, others only maybe. */
static int are_strangers(const struct attention *t, const struct span *a, const struct span *b) {
  return t->segments->present && (a->segment_high < b->segment_low || b->segment_high < a->segment_low);
}

/* Whether block i of the other side has to be read for a block that may see [low, high). */
static int is_met(const struct attention *t, int64_t i, int64_t low, int64_t high, const struct span *own, const struct span *other) {
  return i >= low && i < high && !are_strangers(t, own, other);
}

enum sight { SEES_NONE, SEES_SOME, SEES_ALL };

/* What a block of queries sees of a block of keys; k->n counts existing keys only. */
static enum sight sight_of(const struct attention *t, const struct span *q, const struct span *k) {
  enum sight sight = SEES_ALL;
  if (are_strangers(t, q, k)) return SEES_NONE;
  if (t->segments->present && (q->segment_low != q->segment_high || k->segment_low != k->segment_high)) sight = SEES_SOME;
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

/* Room in a worker's scratch: `shared` for the blocks of the other side, `own` for those
 * a task keeps, each [D][64] or [64][D]; and two blocks of scores. */
struct room {
  float *shared[4];
  float *own[ATTENTION_SPAN][4];
  float *scores, *dp; /* [64][64] */
};

static struct room room_of(const struct attention *t, uint32_t worker) {
  struct room room;
  float *next = (float *)(void *)(t->scratch + worker * t->scratch_bytes);
  room.scores = next;
  room.dp = next += BLOCK * BLOCK;
  next += BLOCK * BLOCK;
  for (int i = 0; i < 4; i++, next += BLOCK * t->padded) room.shared[i] = next;
  for (int64_t j = 0; j < t->span; j++)
    for (int i = 0; i < 4; i++, next += BLOCK * t->padded) room.own[j][i] = next;
  return room;
}

/* Which blocks of queries a task has; the last ones, which see most, begin first. Returns
 * how many. */
static int64_t query_task(const struct attention *t, int64_t task, int64_t *b, int64_t *head, int64_t *first) {
  int64_t blocks = (t->queries + BLOCK - 1) / BLOCK, heads = t->heads * t->batch;
  int64_t spans = (blocks + t->span - 1) / t->span;
  *first = (spans - 1 - task / heads) * t->span;
  *head = task % heads % t->heads;
  *b = task % heads / t->heads;
  return blocks - *first < t->span ? blocks - *first : t->span;
}

/* ---- forward ---- */

/* A block of queries of one head and its running softmax. */
struct attending {
  struct span at;
  int64_t low, high; /* key blocks it may see */
  float *turned;     /* q */
  float *out;        /* sum of probabilities times v */
  float most[BLOCK], sum[BLOCK];
};

/* scores [key][query] become probabilities relative to the new maximum; decay is what the
 * earlier sums are multiplied by. */
static void soften(const struct attention *t, struct attending *q, float *restrict scores, int64_t keys, float *restrict decay) {
  float shift[BLOCK];
  for (int64_t i = 0; i < BLOCK; i++) shift[i] = q->most[i];
  for (int64_t j = 0; j < keys; j++)
    for (int64_t i = 0; i < BLOCK; i++) shift[i] = scores[j * BLOCK + i] > shift[i] ? scores[j * BLOCK + i] : shift[i];
  for (int64_t i = 0; i < BLOCK; i++) {
    float most = shift[i];
    shift[i] = most == -INFINITY ? 0.0f : most;
    decay[i] = q->most[i] - shift[i];
    q->most[i] = most;
  }
  for (int64_t j = 0; j < keys; j++)
    for (int64_t i = 0; i < BLOCK; i++) scores[j * BLOCK + i] -= shift[i];
  t->math->exp(scores, scores, keys * BLOCK);
  t->math->exp(decay, decay, BLOCK);
  for (int64_t i = 0; i < BLOCK; i++) q->sum[i] *= decay[i];
  for (int64_t j = 0; j < keys; j++)
    for (int64_t i = 0; i < BLOCK; i++) q->sum[i] += scores[j * BLOCK + i];
}

static void scale_rows(float *restrict rows, int64_t ld, const float *factor, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    for (int64_t d = 0; d < ld; d++) rows[i * ld + d] *= factor[i];
}

/* Adds one block of keys, turned, and values to a block of queries. */
static void attend(const struct attention *t, struct attending *q, float *scores, const struct span *k, const float *keys, struct rows values) {
  float decay[BLOCK];
  enum sight sight = sight_of(t, &q->at, k);
  if (sight == SEES_NONE) return;
  micro_block(k->n, q->at.n, t->width, keys, BLOCK, q->turned, BLOCK, scores, BLOCK, 0);
  for (int64_t i = 0; i < k->n * BLOCK; i++) scores[i] *= t->scale;
  if (sight != SEES_ALL) hide_by_key(t, &q->at, k, scores);
  soften(t, q, scores, k->n, decay);
  round_line(scores, t->compute, k->n * BLOCK);
  scale_rows(q->out, t->padded, decay, q->at.n);
  micro_block(q->at.n, t->width, k->n, scores, BLOCK, values.data, values.ld, q->out, t->padded, 1);
}

static void begin_attending(const struct attention *t, struct attending *q, int64_t b, int64_t head, int64_t block) {
  q->at = span_of(t, b, block, t->queries);
  fill(q->most, -INFINITY, BLOCK);
  fill(q->sum, 0.0f, BLOCK);
  fill(q->out, 0.0f, q->at.n * t->padded);
  load_turned(q->turned, t, t->q, b, head, &q->at);
  key_blocks(t, b, &q->at, &q->low, &q->high);
}

static void end_attending(const struct attention *t, struct attending *q, int64_t b, int64_t head) {
  float factor[BLOCK];
  for (int64_t i = 0; i < q->at.n; i++) {
    int empty = q->most[i] == -INFINITY;
    float *lse = (float *)t->lse->data + b * t->lse->stride[0] + head * t->lse->stride[1] + (q->at.first + i) * t->lse->stride[2];
    *lse = empty ? -INFINITY : q->most[i] + logf(q->sum[i]);
    factor[i] = empty ? 0.0f : 1.0f / q->sum[i];
  }
  scale_rows(q->out, t->padded, factor, q->at.n);
  store_rows(t, t->o, b, head, &q->at, q->out);
}

static void forward_task(void *arg, int64_t task, uint32_t worker) {
  const struct attention *t = arg;
  struct room room = room_of(t, worker);
  struct attending q[ATTENTION_SPAN];
  int64_t b, head, first, low = INT64_MAX, high = 0, n = query_task(t, task, &b, &head, &first);
  int64_t group = head / (t->heads / t->groups), keys = keys_of(t, b);
  for (int64_t j = 0; j < n; j++) {
    q[j].turned = room.own[j][0];
    q[j].out = room.own[j][1];
    begin_attending(t, &q[j], b, head, first + j);
    low = q[j].low < low ? q[j].low : low;
    high = q[j].high > high ? q[j].high : high;
  }
  for (int64_t i = low; i < high; i++) {
    struct span k = span_of(t, b, i, keys);
    int met = 0;
    for (int64_t j = 0; j < n; j++) met |= is_met(t, i, q[j].low, q[j].high, &q[j].at, &k);
    if (!met) continue;
    load_turned(room.shared[0], t, t->k, b, group, &k);
    struct rows values = load_rows(room.shared[1], t, t->v, b, group, &k);
    for (int64_t j = 0; j < n; j++)
      if (i >= q[j].low && i < q[j].high) attend(t, &q[j], room.scores, &k, room.shared[0], values);
  }
  for (int64_t j = 0; j < n; j++) end_attending(t, &q[j], b, head);
}

/* ---- gradient ---- */

static float *delta_of(const struct attention *t, int64_t b, int64_t head) { return t->delta + (b * t->heads + head) * t->queries; }

static void delta_task(void *arg, int64_t task, uint32_t worker) {
  const struct attention *t = arg;
  struct room room = room_of(t, worker);
  int64_t b, head, first, n = query_task(t, task, &b, &head, &first);
  struct gemm_source o = head_of(t->o, b, head), grad = head_of(t->grad_o, b, head);
  int64_t end = (first + n) * BLOCK < t->queries ? (first + n) * BLOCK : t->queries;
  for (int64_t i = first * BLOCK; i < end; i++) {
    read_line(room.shared[0], &o, TRAINER_F32, i, 0, t->width);
    read_line(room.shared[1], &grad, TRAINER_F32, i, 0, t->width);
    delta_of(t, b, head)[i] = (float)t->math->dot(room.shared[0], room.shared[1], t->width);
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

/* A block of queries of one head whose gradient a task makes. */
struct query_grad {
  struct span at;
  int64_t low, high;
  float *q, *grad_o; /* turned */
  float *dq;
  float lse[BLOCK], delta[BLOCK];
};

/* Adds one block of keys: k and v turned, k in rows. */
static void add_dq(const struct attention *t, struct query_grad *q, const struct room *room, const struct span *k, struct rows keys) {
  float *scores = room->scores, *dp = room->dp;
  enum sight sight = sight_of(t, &q->at, k);
  if (sight == SEES_NONE) return;
  micro_block(k->n, q->at.n, t->width, room->shared[0], BLOCK, q->q, BLOCK, scores, BLOCK, 0);
  micro_block(k->n, q->at.n, t->width, room->shared[1], BLOCK, q->grad_o, BLOCK, dp, BLOCK, 0);
  for (int64_t j = 0; j < k->n; j++)
    for (int64_t i = 0; i < BLOCK; i++) scores[j * BLOCK + i] = scores[j * BLOCK + i] * t->scale - q->lse[i];
  if (sight != SEES_ALL) hide_by_key(t, &q->at, k, scores);
  differentiate(t, scores, dp, k->n, NULL, q->delta);
  micro_block(q->at.n, t->width, k->n, dp, BLOCK, keys.data, keys.ld, q->dq, t->padded, 1);
}

static void begin_query_grad(const struct attention *t, struct query_grad *q, int64_t b, int64_t head, int64_t block) {
  q->at = span_of(t, b, block, t->queries);
  for (int64_t i = 0; i < BLOCK; i++) {
    int inside = i < q->at.n;
    q->lse[i] = inside ? lse_of(t, b, head, q->at.first + i) : 0.0f;
    q->delta[i] = inside ? delta_of(t, b, head)[q->at.first + i] : 0.0f;
  }
  fill(q->dq, 0.0f, q->at.n * t->padded);
  load_turned(q->q, t, t->q, b, head, &q->at);
  load_turned(q->grad_o, t, t->grad_o, b, head, &q->at);
  key_blocks(t, b, &q->at, &q->low, &q->high);
}

static void grad_q_task(void *arg, int64_t task, uint32_t worker) {
  const struct attention *t = arg;
  struct room room = room_of(t, worker);
  struct query_grad q[ATTENTION_SPAN];
  int64_t b, head, first, low = INT64_MAX, high = 0, n = query_task(t, task, &b, &head, &first);
  int64_t group = head / (t->heads / t->groups), limit = keys_of(t, b);
  for (int64_t j = 0; j < n; j++) {
    q[j].q = room.own[j][0];
    q[j].grad_o = room.own[j][1];
    q[j].dq = room.own[j][2];
    begin_query_grad(t, &q[j], b, head, first + j);
    low = q[j].low < low ? q[j].low : low;
    high = q[j].high > high ? q[j].high : high;
  }
  for (int64_t i = low; i < high; i++) {
    struct span k = span_of(t, b, i, limit);
    int met = 0;
    for (int64_t j = 0; j < n; j++) met |= is_met(t, i, q[j].low, q[j].high, &q[j].at, &k);
    if (!met) continue;
    load_turned(room.shared[0], t, t->k, b, group, &k);
    load_turned(room.shared[1], t, t->v, b, group, &k);
    struct rows keys = load_rows(room.shared[2], t, t->k, b, group, &k);
    for (int64_t j = 0; j < n; j++)
      if (i >= q[j].low && i < q[j].high) add_dq(t, &q[j], &room, &k, keys);
  }
  for (int64_t j = 0; j < n; j++) store_rows(t, t->dq, b, head, &q[j].at, q[j].dq);
}

/* A block of keys whose gradients a task makes. */
struct key_grad {
  struct span at;
  int64_t low, high;
  float *k, *v; /* turned */
  float *dk, *dv;
};

/* Adds one block of queries of one head: q and grad_o turned and in rows. */
static void add_dkv(const struct attention *t, struct key_grad *k, const struct room *room, const struct span *q, int64_t b, int64_t head, struct rows queries, struct rows grads) {
  float *scores = room->scores, *dp = room->dp;
  enum sight sight = sight_of(t, q, &k->at);
  if (sight == SEES_NONE) return;
  micro_block(q->n, k->at.n, t->width, room->shared[0], BLOCK, k->k, BLOCK, scores, BLOCK, 0);
  micro_block(q->n, k->at.n, t->width, room->shared[1], BLOCK, k->v, BLOCK, dp, BLOCK, 0);
  for (int64_t i = 0; i < q->n; i++) {
    float lse = lse_of(t, b, head, q->first + i);
    for (int64_t j = 0; j < BLOCK; j++) scores[i * BLOCK + j] = scores[i * BLOCK + j] * t->scale - lse;
  }
  if (sight != SEES_ALL) hide_by_query(t, q, &k->at, scores);
  differentiate(t, scores, dp, q->n, delta_of(t, b, head) + q->first, NULL);
  micro_block(k->at.n, t->width, q->n, dp, BLOCK, queries.data, queries.ld, k->dk, t->padded, 1);
  micro_block(k->at.n, t->width, q->n, scores, BLOCK, grads.data, grads.ld, k->dv, t->padded, 1);
}

static void begin_key_grad(const struct attention *t, struct key_grad *k, int64_t b, int64_t group, int64_t block) {
  k->at = span_of(t, b, block, keys_of(t, b));
  k->low = k->high = 0;
  fill(k->dk, 0.0f, BLOCK * t->padded);
  fill(k->dv, 0.0f, BLOCK * t->padded);
  if (k->at.n <= 0) return;
  load_turned(k->k, t, t->k, b, group, &k->at);
  load_turned(k->v, t, t->v, b, group, &k->at);
  query_blocks(t, &k->at, &k->low, &k->high);
}

/* Goes once through the queries of one head for all blocks of keys of a task. */
static void add_head(const struct attention *t, struct key_grad *k, int64_t n, const struct room *room, int64_t b, int64_t head) {
  int64_t low = INT64_MAX, high = 0;
  for (int64_t j = 0; j < n; j++) {
    low = k[j].low < low ? k[j].low : low;
    high = k[j].high > high ? k[j].high : high;
  }
  for (int64_t i = low; i < high; i++) {
    struct span q = span_of(t, b, i, t->queries);
    int met = 0;
    for (int64_t j = 0; j < n; j++) met |= is_met(t, i, k[j].low, k[j].high, &k[j].at, &q);
    if (!met) continue;
    load_turned(room->shared[0], t, t->q, b, head, &q);
    load_turned(room->shared[1], t, t->grad_o, b, head, &q);
    struct rows queries = load_rows(room->shared[2], t, t->q, b, head, &q);
    struct rows grads = load_rows(room->shared[3], t, t->grad_o, b, head, &q);
    for (int64_t j = 0; j < n; j++)
      if (i >= k[j].low && i < k[j].high) add_dkv(t, &k[j], room, &q, b, head, queries, grads);
  }
}

static void grad_kv_task(void *arg, int64_t task, uint32_t worker) {
  const struct attention *t = arg;
  struct room room = room_of(t, worker);
  struct key_grad k[ATTENTION_SPAN];
  int64_t pairs = t->batch * t->groups, b = task % pairs / t->groups, group = task % t->groups, shared = t->heads / t->groups;
  int64_t first = task / pairs * t->span, blocks = (t->keys + BLOCK - 1) / BLOCK;
  int64_t n = blocks - first < t->span ? blocks - first : t->span;
  for (int64_t j = 0; j < n; j++) {
    k[j].k = room.own[j][0];
    k[j].v = room.own[j][1];
    k[j].dk = room.own[j][2];
    k[j].dv = room.own[j][3];
    begin_key_grad(t, &k[j], b, group, first + j);
  }
  for (int64_t head = group * shared; head < (group + 1) * shared; head++) add_head(t, k, n, &room, b, head);
  for (int64_t j = 0; j < n; j++) {
    struct span all = span_of(t, b, first + j, t->keys); /* also keys behind the row's length */
    if (t->dk->present) store_rows(t, t->dk, b, group, &all, k[j].dk);
    if (t->dv->present) store_rows(t, t->dv, b, group, &all, k[j].dv);
  }
}

const struct attention_isa ATTENTION_ISA = {forward_task, delta_task, grad_q_task, grad_kv_task};
