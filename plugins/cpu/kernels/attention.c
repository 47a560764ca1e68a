/* attention.c - causal, windowed, grouped attention and its gradient: checks, and the
 * portable instruction set. */
#define ATTENTION_ISA attention_isa_scalar
#include "attention_body.h"

#include "check.h"
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
  int64_t width = t->width < WIDTH_MOST ? t->width : WIDTH_MOST; /* the call may not have been checked */
  t->padded = (width + VECTOR_MOST - 1) / VECTOR_MOST * VECTOR_MOST;
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

static int is_heads(const struct view *x, int64_t batch, int64_t positions, int64_t heads, int64_t width) {
  return is_float(x) && x->rank == 4 && x->shape[0] == batch && x->shape[1] == positions && x->shape[2] == heads && x->shape[3] == width;
}

static int32_t check_sizes(const struct attention *t, const struct call *call, char *text, uint64_t text_bytes) {
  int sound = t->q->rank == 4 && t->k->rank == 4 && t->groups > 0 && t->heads > 0 && t->width > 0 && t->heads % t->groups == 0;
  if (!sound) return refuse(text, text_bytes, TRAINER_INVALID, "q [B,S,H,D] and k [B,L,G,D] do not fit: H is not a multiple of G");
  if (t->batch > INT32_MAX || t->queries > INT32_MAX || t->keys > INT32_MAX || t->heads > HEADS_MOST || t->width > WIDTH_MOST)
    return refuse(text, text_bytes, TRAINER_UNSUPPORTED, "a size of q or k is out of range");
  if (!is_heads(t->q, t->batch, t->queries, t->heads, t->width) || !is_heads(t->k, t->batch, t->keys, t->groups, t->width) ||
      !is_heads(t->v, t->batch, t->keys, t->groups, t->width))
    return refuse(text, text_bytes, TRAINER_INVALID, "q, k or v does not have the shape of the others");
  if (!is_heads(t->o, t->batch, t->queries, t->heads, t->width)) return refuse(text, text_bytes, TRAINER_INVALID, "o does not have the shape of q");
  if (!is_dtype(t->lse, TRAINER_F32) || t->lse->rank != 3 || t->lse->shape[0] != t->batch || t->lse->shape[1] != t->heads || t->lse->shape[2] != t->queries)
    return refuse(text, text_bytes, TRAINER_INVALID, "lse is not f32 [B,H,S]");
  return gemm_check_compute(((const trainer_attr_attention *)call->attr)->compute, text, text_bytes);
}

static int32_t check_masks(const struct attention *t, const struct view *offset, char *text, uint64_t text_bytes) {
  const struct view *segments = t->segments;
  if (t->lengths->present && (t->lengths->dtype != TRAINER_I32 || t->lengths->rank != 1 || t->lengths->shape[0] != t->batch))
    return refuse(text, text_bytes, TRAINER_INVALID, "lengths is not i32 [B]");
  int64_t most = t->queries > t->keys ? t->queries : t->keys;
  if (segments->present && (segments->dtype != TRAINER_I32 || segments->rank != 2 || segments->shape[0] != t->batch || segments->shape[1] < most))
    return refuse(text, text_bytes, TRAINER_INVALID, "segments is not i32 [B,S] over all queries and keys");
  if (offset->present && !is_scalar(offset, TRAINER_I32)) return refuse(text, text_bytes, TRAINER_INVALID, "offset is not one i32");
  return TRAINER_OK;
}

static int32_t check(const struct call *call, char *text, uint64_t text_bytes) {
  if (call->n_out != 2 || call->n_in != 6 || call->attr_bytes < sizeof(trainer_attr_attention))
    return refuse(text, text_bytes, TRAINER_INVALID, "attention has two outputs, six inputs and attr_attention");
  struct attention t = forward_of(call);
  int32_t status = check_sizes(&t, call, text, text_bytes);
  return status ? status : check_masks(&t, &call->in[5], text, text_bytes);
}

static int32_t check_grad(const struct call *call, char *text, uint64_t text_bytes) {
  if (call->n_out != 3 || call->n_in != 9 || call->attr_bytes < sizeof(trainer_attr_attention))
    return refuse(text, text_bytes, TRAINER_INVALID, "attention_grad has three outputs, nine inputs and attr_attention");
  struct attention t = gradient_of(call);
  int32_t status = check_sizes(&t, call, text, text_bytes);
  if (!status) status = check_masks(&t, &call->in[8], text, text_bytes);
  if (status) return status;
  if (!is_heads(t.grad_o, t.batch, t.queries, t.heads, t.width) || (t.dq->present && !is_heads(t.dq, t.batch, t.queries, t.heads, t.width)) ||
      (t.dk->present && !is_heads(t.dk, t.batch, t.keys, t.groups, t.width)) || (t.dv->present && !is_heads(t.dv, t.batch, t.keys, t.groups, t.width)))
    return refuse(text, text_bytes, TRAINER_INVALID, "a gradient does not have the shape of its tensor");
  return TRAINER_OK;
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
