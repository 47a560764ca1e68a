/* attention.cu - ATTENTION and its gradient: checks, and who computes them. cuDNN does
 * where it is there and the shape is one it does well; kernels/attention_body.cuh does
 * everything. */
#include <stdlib.h>
#include <string.h>

#include "../../../native/half.h"
#include "../dnn.h"
#include "attention_body.cuh"

namespace {

constexpr int64_t POSITIONS_MOST = 1 << 30;
constexpr int64_t GRID_MOST = 65535; /* of heads, and of batch rows */
constexpr int64_t WIDTH_MOST = 256;
constexpr int64_t WORKSPACE_ALIGNMENT = 256;

/* The operands of one call, by their place. */
struct operands {
  const struct view *q, *k, *v, *o, *lse, *grad_o, *dq, *dk, *dv; /* the gradient's are NULL in the forward pass */
  const struct view *lengths, *segments, *offset;
  const trainer_attr_attention *attr;
};

operands forward_operands(const struct call *call) {
  const struct view *in = call->in, *out = call->out;
  return {in, in + 1, in + 2, out, out + 1, nullptr, nullptr, nullptr, nullptr, in + 3, in + 4, in + 5, (const trainer_attr_attention *)call->attr};
}

operands gradient_operands(const struct call *call) {
  const struct view *in = call->in, *out = call->out;
  return {in + 3, in + 4, in + 5, in + 1, in + 2, in, out, out + 1, out + 2, in + 6, in + 7, in + 8, (const trainer_attr_attention *)call->attr};
}

uint32_t compute_of(const operands &x) { return x.attr->compute ? x.attr->compute : TRAINER_F32; }

/* ---- checks ---- */

/* What the record's sizes must not exceed here. */
int32_t check_sizes(const struct view *q, const struct view *k, char *text, uint64_t bytes) {
  if (q->shape[0] > GRID_MOST || q->shape[1] > POSITIONS_MOST || k->shape[1] > POSITIONS_MOST || q->shape[2] > GRID_MOST || q->shape[3] > WIDTH_MOST)
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "a size of q or k is out of range; heads may be 256 wide");
  return TRAINER_OK;
}

int32_t check(const struct record *record, char *text, uint64_t bytes) {
  int32_t status = check_attention(record, text, bytes);
  return status ? status : check_sizes(&record->in[0], &record->in[1], text, bytes);
}

int32_t check_grad(const struct record *record, char *text, uint64_t bytes) {
  int32_t status = check_attention_grad(record, text, bytes);
  return status ? status : check_sizes(&record->in[3], &record->in[4], text, bytes);
}

/* ---- our own kernels ---- */

/* vectors: whether it is stored as `dtype` in aligned pieces of 16 bytes. */
heads heads_of(const struct view *x, uint32_t dtype) {
  heads h = {};
  if (!x || !x->present) return h;
  int64_t lanes = 16 / float_bytes(dtype);
  h.data = x->data;
  h.dtype = x->dtype;
  h.batch = x->stride[0];
  h.position = x->stride[1];
  h.head = x->stride[2];
  h.feature = x->stride[3];
  h.vectors = x->dtype == dtype && x->stride[3] == 1 && x->shape[3] % lanes == 0 && x->stride[0] % lanes == 0 && x->stride[1] % lanes == 0 &&
              x->stride[2] % lanes == 0 && is_aligned16(x->data);
  return h;
}

attention attention_of(const operands &x, void *workspace) {
  uint32_t dtype = compute_of(x);
  attention a = {};
  a.q = heads_of(x.q, dtype);
  a.k = heads_of(x.k, dtype);
  a.v = heads_of(x.v, dtype);
  a.o = heads_of(x.o, dtype);
  a.grad_o = heads_of(x.grad_o, dtype);
  a.dq = heads_of(x.dq, dtype);
  a.dk = heads_of(x.dk, dtype);
  a.dv = heads_of(x.dv, dtype);
  a.lse = (float *)x.lse->data;
  a.lse_batch = x.lse->stride[0];
  a.lse_head = x.lse->stride[1];
  a.lse_position = x.lse->stride[2];
  a.delta = (float *)workspace;
  if (x.lengths->present) a.lengths = (const int32_t *)x.lengths->data, a.length_stride = x.lengths->stride[0];
  if (x.segments->present) a.segments = (const int32_t *)x.segments->data, a.segment_batch = x.segments->stride[0], a.segment_position = x.segments->stride[1];
  if (x.offset->present) a.offset = (const int32_t *)x.offset->data;
  a.batch = (int)x.q->shape[0];
  a.queries = (int)x.q->shape[1];
  a.heads_n = (int)x.q->shape[2];
  a.width = (int)x.q->shape[3];
  a.keys = (int)x.k->shape[1];
  a.groups = (int)x.k->shape[2];
  a.scale = f32_from_bits(x.attr->scale_bits);
  a.causal = x.attr->causal != 0;
  a.window = x.attr->window;
  return a;
}

/* Tilings, chosen so that tiles fit 99 KiB of shared memory and sums fit registers. */
template <typename T, int D> struct forward_tiling : tiling<T, D, 4, D == 256 ? 32 : 64> {};
template <int D> struct forward_tiling<float, D> : tiling<float, D, D == 256 ? 2 : 4, D == 256 ? 16 : 32> {};
template <typename T, int D> struct gradient_tiling : tiling<T, D, 4, D == 64 ? 64 : D == 128 ? 32 : 16> {};
template <int D> struct gradient_tiling<float, D> : tiling<float, D, D == 256 ? 2 : 4, D == 64 ? 32 : 16> {};

/* One block for ROWS positions of one head of one batch row and C features. */
template <typename T, typename S> void launch(void (*kernel)(attention), const attention &a, int positions, int heads, int tiles, cudaStream_t stream) {
  int bytes = tiles * (int)sizeof(T);
  dim3 grid((unsigned)divide_up(positions, S::ROWS) * S::CHUNKS, (unsigned)heads, (unsigned)a.batch);
  if (grid.x == 0 || grid.z == 0) return;
  cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  kernel<<<grid, S::THREADS, (size_t)bytes, stream>>>(a);
}

template <typename T, int D> void launch_forward(const attention &a, cudaStream_t stream) {
  typedef forward_tiling<T, D> S;
  launch<T, S>(attend<T, S>, a, a.queries, a.heads_n, S::OWN + 2 * S::OTHER, stream);
}

template <typename T, int D> void launch_gradient(const attention &a, cudaStream_t stream) {
  typedef gradient_tiling<T, D> S;
  if (a.dq.data) launch<T, S>(grad_queries<T, S>, a, a.queries, a.heads_n, 2 * S::OWN + 2 * S::OTHER, stream);
  if (a.dk.data || a.dv.data) launch<T, S>(grad_keys<T, S>, a, a.keys, a.groups, 2 * S::OWN + 2 * S::OTHER, stream);
}

int32_t run_own_forward(const struct call *call, const operands &x, char *text, uint64_t bytes) {
  attention a = attention_of(x, call->workspace);
  WITH_FLOAT(T, compute_of(x), {
    if (a.width <= 64) launch_forward<T, 64>(a, call->stream);
    else if (a.width <= 128) launch_forward<T, 128>(a, call->stream);
    else launch_forward<T, 256>(a, call->stream);
  });
  return launched(text, bytes);
}

int64_t delta_bytes(const operands &x) {
  return divide_up(x.q->shape[0] * x.q->shape[1] * x.q->shape[2] * (int64_t)sizeof(float), WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT;
}

int32_t run_own_gradient(const struct call *call, const operands &x, char *text, uint64_t bytes) {
  attention a = attention_of(x, call->workspace);
  int64_t rows = (int64_t)a.batch * a.heads_n * a.queries;
  if (rows > 0) make_delta<<<(unsigned)divide_up(rows, DELTA_THREADS / WARP), DELTA_THREADS, 0, call->stream>>>(a);
  WITH_FLOAT(T, compute_of(x), {
    if (a.width <= 64) launch_gradient<T, 64>(a, call->stream);
    else if (a.width <= 128) launch_gradient<T, 128>(a, call->stream);
    else launch_gradient<T, 256>(a, call->stream);
  });
  return launched(text, bytes);
}

/* ---- cuDNN ---- *
 * Lengths of at least 1 are made in the workspace; what a row without keys, or a key
 * behind the length, leaves is written afterwards. */

constexpr int FIX_THREADS = 256;

__global__ void make_lengths(attention a, int32_t *query_lengths, int32_t *key_lengths) {
  for (int b = threadIdx.x; b < a.batch; b += blockDim.x) {
    int n = keys_of(a, b);
    query_lengths[b] = a.queries;
    key_lengths[b] = n > 1 ? n : 1;
  }
}

__device__ void clear(const heads &to, int b, int h, int position, int width) {
  rows r = to.of(b, h);
  for (int c = threadIdx.x % WARP; c < width; c += WARP) store_value((void *)r.data, r.dtype, position * r.row + c * r.step, 0.0f);
}

/* One warp a position and head: o and lse, or dq, of batch rows without keys. */
__global__ void __launch_bounds__(FIX_THREADS) fix_queries(attention a, heads out, int lse) {
  int b = blockIdx.z, h = blockIdx.y, s = blockIdx.x * (FIX_THREADS / WARP) + threadIdx.x / WARP;
  if (keys_of(a, b) > 0 || s >= a.queries) return;
  clear(out, b, h, s, a.width);
  if (lse && threadIdx.x % WARP == 0) a.lse[b * a.lse_batch + h * a.lse_head + s * a.lse_position] = -INFINITY;
}

/* dk and dv of keys at or behind the length. */
__global__ void __launch_bounds__(FIX_THREADS) fix_keys(attention a) {
  int b = blockIdx.z, h = blockIdx.y, l = blockIdx.x * (FIX_THREADS / WARP) + threadIdx.x / WARP;
  if (l < keys_of(a, b) || l >= a.keys) return;
  clear(a.dk, b, h, l, a.width);
  clear(a.dv, b, h, l, a.width);
}

/* Products below which a plan, which takes a second to make, is never paid back. */
constexpr double WORTH_A_PLAN = 1 << 30;

/* TRAINER_CUDA_ATTENTION = own: never cuDNN; dnn: cuDNN for small shapes too. */
int is_worth_a_plan(const operands &x) {
  const char *choice = getenv("TRAINER_CUDA_ATTENTION");
  if (choice && !strcmp(choice, "own")) return 0;
  return (choice && !strcmp(choice, "dnn")) || (double)x.q->count * (double)x.k->shape[1] >= WORTH_A_PLAN;
}

/* Whether cuDNN's kernels do this shape. Equal bits in every run are not among what they
 * promise for the gradient. */
int suits_dnn(const struct call *call, const operands &x) {
  uint32_t dtype = x.q->dtype;
  const struct view *tensors[] = {x.q, x.k, x.v, x.o, x.grad_o, x.dq, x.dk, x.dv};
  if (!call->gpu->dnn || call->gpu->capability < 80 || dtype == TRAINER_F32 || compute_of(x) != dtype) return 0;
  if (x.segments->present || x.offset->present || x.attr->window || x.q->shape[3] > 128 || x.q->shape[3] % 8 != 0) return 0;
  if (x.q->count == 0 || x.k->count == 0 || !is_contiguous(x.lse)) return 0;
  if (x.grad_o && (call->gpu->deterministic || !x.dq->present || !x.dk->present || !x.dv->present)) return 0;
  for (const struct view *t : tensors)
    if (t && (t->dtype != dtype || t->stride[3] != 1 || t->stride[0] % 8 || t->stride[1] % 8 || t->stride[2] % 8)) return 0;
  return 1;
}

void set_strides(struct dnn_attention *shape, enum dnn_tensor id, const struct view *x) {
  if (!x) return;
  shape->stride[id][0] = x->stride[0];
  shape->stride[id][1] = x->stride[2];
  shape->stride[id][2] = x->stride[1];
}

struct dnn_attention dnn_shape(const struct call *call, const operands &x) {
  struct dnn_attention shape = {};
  shape.dtype = x.q->dtype;
  shape.backward = x.grad_o != nullptr;
  shape.causal = x.attr->causal != 0;
  shape.batch = x.q->shape[0];
  shape.queries = x.q->shape[1];
  shape.heads = x.q->shape[2];
  shape.width = x.q->shape[3];
  shape.keys = x.k->shape[1];
  shape.groups = x.k->shape[2];
  shape.scale = f32_from_bits(x.attr->scale_bits);
  set_strides(&shape, DNN_Q, x.q);
  set_strides(&shape, DNN_K, x.k);
  set_strides(&shape, DNN_V, x.v);
  set_strides(&shape, DNN_O, x.o);
  set_strides(&shape, DNN_GRAD_O, x.grad_o);
  set_strides(&shape, DNN_DQ, x.dq);
  set_strides(&shape, DNN_DK, x.dk);
  set_strides(&shape, DNN_DV, x.dv);
  shape.padded = x.lengths->present || dnn_needs_lengths(call->gpu->dnn, &shape);
  return shape;
}

/* A plan, or NULL where our own kernels are to run. That cuDNN refuses a shape is no error. */
int32_t prepare_with(const struct call *call, const operands &x, void **prepared) {
  char why[256];
  *prepared = nullptr;
  if (!suits_dnn(call, x) || !is_worth_a_plan(x)) return TRAINER_OK;
  struct dnn_attention shape = dnn_shape(call, x);
  *prepared = dnn_plan_make(call->gpu->dnn, &shape, why, sizeof why);
  return TRAINER_OK;
}

int32_t prepare(const struct call *call, void **prepared, char *, uint64_t) { return prepare_with(call, forward_operands(call), prepared); }
int32_t prepare_grad(const struct call *call, void **prepared, char *, uint64_t) { return prepare_with(call, gradient_operands(call), prepared); }

void discard(void *prepared) { dnn_plan_free((struct dnn_plan *)prepared); }

int64_t lengths_bytes(const operands &x) {
  return divide_up(2 * x.q->shape[0] * (int64_t)sizeof(int32_t), WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT;
}

/* Addresses are known only when a call runs: cuDNN wants them aligned. */
int uses_dnn(const struct call *call, const operands &x) {
  const struct view *tensors[] = {x.q, x.k, x.v, x.o, x.lse, x.grad_o, x.dq, x.dk, x.dv};
  if (!call->prepared) return 0;
  for (const struct view *t : tensors)
    if (t && !is_aligned16(t->data)) return 0;
  return 1;
}

int32_t run_dnn(const struct call *call, const operands &x, char *text, uint64_t bytes) {
  int32_t *lengths = (int32_t *)call->workspace;
  void *scratch = (char *)call->workspace + lengths_bytes(x);
  attention a = attention_of(x, nullptr);
  void *tensors[DNN_TENSORS] = {x.q->data, x.k->data, x.v->data, x.o->data, x.lse->data};
  if (x.grad_o) {
    tensors[DNN_GRAD_O] = x.grad_o->data;
    tensors[DNN_DQ] = x.dq->data;
    tensors[DNN_DK] = x.dk->data;
    tensors[DNN_DV] = x.dv->data;
  }
  tensors[DNN_QUERY_LENGTHS] = lengths;
  tensors[DNN_KEY_LENGTHS] = lengths + a.batch;
  if (dnn_plan_is_padded((struct dnn_plan *)call->prepared)) make_lengths<<<1, FIX_THREADS, 0, call->stream>>>(a, lengths, lengths + a.batch);
  int32_t status = dnn_plan_run((struct dnn_plan *)call->prepared, tensors, scratch, call->stream, text, bytes);
  if (status || !x.lengths->present) return status ? status : launched(text, bytes);
  constexpr int WARPS = FIX_THREADS / WARP;
  dim3 queries((unsigned)divide_up(a.queries, WARPS), (unsigned)a.heads_n, (unsigned)a.batch), keys((unsigned)divide_up(a.keys, WARPS), (unsigned)a.groups, (unsigned)a.batch);
  fix_queries<<<queries, FIX_THREADS, 0, call->stream>>>(a, x.grad_o ? a.dq : a.o, !x.grad_o);
  if (x.grad_o) fix_keys<<<keys, FIX_THREADS, 0, call->stream>>>(a);
  return launched(text, bytes);
}

uint64_t workspace_with(const struct call *call, const operands &x) {
  uint64_t own = x.grad_o ? (uint64_t)delta_bytes(x) : 0;
  uint64_t dnn = call->prepared ? (uint64_t)lengths_bytes(x) + dnn_plan_workspace((const struct dnn_plan *)call->prepared) : 0;
  return own > dnn ? own : dnn;
}

uint64_t workspace(const struct call *call) { return workspace_with(call, forward_operands(call)); }
uint64_t workspace_grad(const struct call *call) { return workspace_with(call, gradient_operands(call)); }

int32_t run(const struct call *call, char *text, uint64_t bytes) {
  operands x = forward_operands(call);
  return uses_dnn(call, x) ? run_dnn(call, x, text, bytes) : run_own_forward(call, x, text, bytes);
}

int32_t run_grad(const struct call *call, char *text, uint64_t bytes) {
  operands x = gradient_operands(call);
  return uses_dnn(call, x) ? run_dnn(call, x, text, bytes) : run_own_gradient(call, x, text, bytes);
}

/* Any float storage; products in f32, bf16 or f16. */
uint32_t level(const trainer_op_query *query, const struct gpu *) {
  if (query->compute > TRAINER_F16) return TRAINER_LEVEL_NONE;
  if (query->dtype == 0 || query->dtype == TRAINER_F32) return TRAINER_LEVEL_OK;
  return query->dtype == TRAINER_BF16 || query->dtype == TRAINER_F16 ? TRAINER_LEVEL_FAST : TRAINER_LEVEL_NONE;
}

} // namespace

const struct kernel kernel_attention = {.op = TRAINER_OP_ATTENTION, .name = "attention", .check = check, .prepare = prepare, .discard = discard, .workspace = workspace, .run = run, .level = level};
const struct kernel kernel_attention_grad = {
    .op = TRAINER_OP_ATTENTION_GRAD, .name = "attention_grad", .check = check_grad, .prepare = prepare_grad, .discard = discard, .workspace = workspace_grad, .run = run_grad, .level = level};
