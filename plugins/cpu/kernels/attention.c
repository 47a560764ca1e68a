/* attention.c - causal, windowed, grouped attention and its gradient: checks, and the
 * portable instruction set. */
#define ATTENTION_ISA attention_isa_scalar
#include "attention_body.h"

#include "gemm_weight.h"

#define VECTOR_MOST 16 /* f32 in the widest vector */
#define HEADS_MOST 65536
#define WIDTH_MOST 65536
#define TASKS_WANTED 64
#define SPAN_BYTES (512 << 10) /* of what a task keeps: most of a second-level cache */

static int64_t blocks_of(int64_t n) { return (n + BLOCK - 1) / BLOCK; }

/* How many blocks a task keeps: as many as leave enough tasks and fit the cache. */
static int64_t choose_span(const struct attention *t) {
  int64_t span = ATTENTION_SPAN, least = t->queries < t->keys ? t->queries : t->keys;
  int64_t bytes = 4 * BLOCK * t->padded * (int64_t)sizeof(float);
  double blocks = (double)t->batch * (double)t->groups * (double)blocks_of(least);
  while (span > 1 && (blocks < (double)(span * TASKS_WANTED) || span * bytes > SPAN_BYTES)) span /= 2;
  return span;
}

/* Scratch of one task; the forward pass uses less of it than the gradient. */
static uint64_t scratch_bytes(const struct attention *t) {
  int64_t arrays = 4 + 4 * ATTENTION_SPAN;
  return gemm_align((uint64_t)(arrays * BLOCK * t->padded + 2 * BLOCK * BLOCK) * sizeof(float));
}

static const struct attention_isa *choose_attention(enum isa isa) {
  switch (isa) {
#if defined(__x86_64__)
  case ISA_AVX512BF16:
  case ISA_AVX512: return &attention_isa_avx512;
  case ISA_AVX2: return &attention_isa_avx2;
#elif defined(__aarch64__)
  case ISA_NEON: return &attention_isa_neon;
#endif
  default: return &attention_isa_scalar;
  }
}

/* Sizes and attribute; the views that both passes have are set by the caller. */
static void set_sizes(struct attention *t, const struct call *call) {
  const trainer_attr_attention *attr = call->attr;
  t->batch = t->q->shape[0];
  t->queries = t->q->shape[1];
  t->heads = t->q->shape[2];
  t->width = t->q->shape[3];
  t->keys = t->k->shape[1];
  t->groups = t->k->shape[2];
  t->padded = (t->width + VECTOR_MOST - 1) / VECTOR_MOST * VECTOR_MOST;
  t->scale = f32_from_bits(attr->scale_bits);
  t->causal = attr->causal != 0;
  t->window = attr->window;
  t->compute = attr->compute ? attr->compute : TRAINER_F32;
  t->math = rowmath_for(call->isa);
  t->span = choose_span(t);
  t->scratch_bytes = scratch_bytes(t);
}

/* Where the inputs lengths?, segments?, offset? begin at in. */
static void set_masks(struct attention *t, const struct view *in) {
  t->lengths = in;
  t->segments = in + 1;
  if (in[2].present && in[2].data) t->offset = *(const int32_t *)in[2].data;
}

static struct attention forward_of(const struct call *call) {
  const struct view *in = call->in;
  struct attention t = {.q = in, .k = in + 1, .v = in + 2, .o = call->out, .lse = call->out + 1};
  set_sizes(&t, call);
  set_masks(&t, in + 3);
  return t;
}

static struct attention gradient_of(const struct call *call) {
  const struct view *in = call->in;
  struct attention t = {.grad_o = in, .o = in + 1, .lse = in + 2, .q = in + 3, .k = in + 4, .v = in + 5, .dq = call->out, .dk = call->out + 1, .dv = call->out + 2};
  set_sizes(&t, call);
  set_masks(&t, in + 6);
  return t;
}

/* What the record's sizes must not exceed here. */
static int32_t check_sizes(const struct view *q, const struct view *k, char *text, uint64_t bytes) {
  if (q->shape[0] > INT32_MAX || q->shape[1] > INT32_MAX || k->shape[1] > INT32_MAX || q->shape[2] > HEADS_MOST || q->shape[3] > WIDTH_MOST)
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "a size of q or k is out of range");
  return TRAINER_OK;
}

static int32_t check(const struct record *record, char *text, uint64_t bytes) {
  int32_t status = check_attention(record, text, bytes);
  return status ? status : check_sizes(&record->in[0], &record->in[1], text, bytes);
}

static int32_t check_grad(const struct record *record, char *text, uint64_t bytes) {
  int32_t status = check_attention_grad(record, text, bytes);
  return status ? status : check_sizes(&record->in[3], &record->in[4], text, bytes);
}

static uint64_t workspace(const struct call *call, uint32_t threads) {
  return forward_of(call).scratch_bytes * threads;
}

static uint64_t delta_bytes(const struct attention *t) { return gemm_align((uint64_t)(t->batch * t->heads * t->queries) * sizeof(float)); }

static uint64_t workspace_grad(const struct call *call, uint32_t threads) {
  struct attention t = gradient_of(call);
  return delta_bytes(&t) + t.scratch_bytes * threads;
}

static int64_t tasks_of(int64_t n, int64_t span) { return (blocks_of(n) + span - 1) / span; }

static void run(const struct call *call) {
  struct attention t = forward_of(call);
  t.scratch = call->workspace;
  pool_run(call->pool, t.batch * t.heads * tasks_of(t.queries, t.span), choose_attention(call->isa)->forward, &t);
}

static void run_grad(const struct call *call) {
  struct attention t = gradient_of(call);
  const struct attention_isa *isa = choose_attention(call->isa);
  int64_t query_tasks = t.batch * t.heads * tasks_of(t.queries, t.span), key_tasks = t.batch * t.groups * tasks_of(t.keys, t.span);
  t.delta = call->workspace;
  t.scratch = (char *)call->workspace + delta_bytes(&t);
  pool_run(call->pool, query_tasks, isa->delta, &t);
  if (t.dk->present || t.dv->present) pool_run(call->pool, key_tasks, isa->grad_kv, &t);
  if (t.dq->present) pool_run(call->pool, query_tasks, isa->grad_q, &t);
}

const struct kernel kernel_attention = {TRAINER_OP_ATTENTION, "attention", check, workspace, run, gemm_level};
const struct kernel kernel_attention_grad = {TRAINER_OP_ATTENTION_GRAD, "attention_grad", check_grad, workspace_grad, run_grad, gemm_level};
