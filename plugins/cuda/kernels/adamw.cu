/* adamw.cu - ADAMW (Loshchilov & Hutter 2019), as torch.optim.AdamW steps, with optional
 * stochastic rounding of bf16 states. One pass over param, m, v and grad. */
#include "../../../native/half.h"
#include "../../../native/philox.h"
#include "layout.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int GROUP = 4; /* elements of a thread: those that share a Philox counter */

enum { PARAM, M, V, GRAD, STATES = GRAD, VIEWS };
enum { IN_GRAD, IN_LR, IN_CLIP, IN_SKIP, IN_STEPS, IN_SEED, INPUTS };

struct adamw {
  layout<VIEWS> at;
  void *data[VIEWS];
  uint32_t dtype[VIEWS];
  const float *lr, *clip;
  const int32_t *skip, *steps, *seed;
  float beta1, beta2, eps, weight_decay;
  uint32_t site_lo, site_hi;
  int stochastic;
};

/* What is the same for every element of a step. */
struct step {
  float clip, decay, beta1, one_minus_beta1, beta2, one_minus_beta2, size, root_correct, eps;
  uint32_t t;
};

__device__ step make_step(const adamw &a) {
  double beta1 = a.beta1, beta2 = a.beta2, lr = *a.lr, t = *a.steps;
  step s;
  s.clip = *a.clip;
  s.decay = (float)(1.0 - lr * a.weight_decay);
  s.beta1 = a.beta1;
  s.one_minus_beta1 = (float)(1.0 - beta1);
  s.beta2 = a.beta2;
  s.one_minus_beta2 = (float)(1.0 - beta2);
  s.size = (float)(lr / (1.0 - pow(beta1, t)));
  s.root_correct = (float)sqrt(1.0 - pow(beta2, t));
  s.eps = a.eps;
  s.t = (uint32_t)*a.steps;
  return s;
}

__device__ __forceinline__ void update(float (&x)[VIEWS], const step &s) {
  float grad = x[GRAD] * s.clip;
  float first = s.beta1 * x[M] + s.one_minus_beta1 * grad;
  float second = s.beta2 * x[V] + s.one_minus_beta2 * grad * grad;
  float root = sqrtf(second) / s.root_correct + s.eps;
  x[M] = first;
  x[V] = second;
  x[PARAM] = x[PARAM] * s.decay - s.size * (first / root);
}

/* Rounds to bf16, up or down with probability by distance; infinities and NaN stay. */
__device__ __forceinline__ float round_stochastic(float x, uint32_t word) {
  uint32_t bits = __float_as_uint(x);
  return (bits & 0x7F800000u) == 0x7F800000u ? x : __uint_as_float((bits + (word >> 16)) & 0xFFFF0000u);
}

template <typename T> __device__ __forceinline__ void load_group(float (&x)[GROUP], const void *data, int64_t at) {
  vec<T, GROUP> v = load_vec<T, GROUP>((const T *)data + at);
#pragma unroll
  for (int e = 0; e < GROUP; e++) x[e] = to_f32(v.v[e]);
}

template <typename T> __device__ __forceinline__ void store_group(void *data, int64_t at, const float (&x)[GROUP]) {
  vec<T, GROUP> v;
#pragma unroll
  for (int e = 0; e < GROUP; e++) v.v[e] = from_f32<T>(x[e]);
  store_vec<T, GROUP>((T *)data + at, v);
}

/* Elements [index, index + n) of view k; n < GROUP only at the end or between gaps. */
__device__ __forceinline__ void load_state(float (&x)[GROUP], const adamw &a, int k, int64_t index, int n, bool whole) {
  if (!whole) {
    for (int e = 0; e < n; e++) x[e] = load_value(a.data[k], a.dtype[k], a.at.offset(k, index + e));
  } else if (a.dtype[k] == TRAINER_F32) {
    load_group<float>(x, a.data[k], index);
  } else if (a.dtype[k] == TRAINER_BF16) {
    load_group<bf16>(x, a.data[k], index);
  } else {
    load_group<f16>(x, a.data[k], index);
  }
}

__device__ __forceinline__ void store_state(const float (&x)[GROUP], const adamw &a, int k, int64_t index, int n, bool whole) {
  if (!whole) {
    for (int e = 0; e < n; e++) store_value(a.data[k], a.dtype[k], a.at.offset(k, index + e), x[e]);
  } else if (a.dtype[k] == TRAINER_F32) {
    store_group<float>(a.data[k], index, x);
  } else if (a.dtype[k] == TRAINER_BF16) {
    store_group<bf16>(a.data[k], index, x);
  } else {
    store_group<f16>(a.data[k], index, x);
  }
}

/* VECTORS: all views lie without gaps and are aligned. */
template <bool VECTORS> __global__ void __launch_bounds__(THREADS) take_step(adamw a) {
  __shared__ step shared;
  if (*a.skip != 0) return;
  if (threadIdx.x == 0) shared = make_step(a);
  __syncthreads();
  step s = shared;
  philox_key key = philox_key_of(a.seed, a.site_lo, a.site_hi);
  int64_t groups = (a.at.count + GROUP - 1) / GROUP;
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < groups; i += (int64_t)gridDim.x * THREADS) {
    int64_t index = i * GROUP, left = a.at.count - index;
    int n = left < GROUP ? (int)left : GROUP;
    bool whole = VECTORS && n == GROUP;
    float x[VIEWS][GROUP] = {};
#pragma unroll
    for (int k = 0; k < VIEWS; k++) load_state(x[k], a, k, index, n, whole);
#pragma unroll
    for (int e = 0; e < GROUP; e++) {
      float one[VIEWS] = {x[PARAM][e], x[M][e], x[V][e], x[GRAD][e]};
      update(one, s);
      x[PARAM][e] = one[PARAM];
      x[M][e] = one[M];
      x[V][e] = one[V];
    }
#pragma unroll
    for (int k = 0; k < STATES; k++) {
      if (a.stochastic && a.dtype[k] == TRAINER_BF16) {
        uint32_t words[4];
        philox(words, key, (uint32_t)i, (uint32_t)k, 0, s.t);
#pragma unroll
        for (int e = 0; e < GROUP; e++) x[k][e] = round_stochastic(x[k][e], words[e]);
      }
      store_state(x[k], a, k, index, n, whole);
    }
  }
}

int32_t run(const struct call *call, char *text, uint64_t bytes) {
  const trainer_attr_adamw *attr = (const trainer_attr_adamw *)call->attr;
  const struct view *in = call->in;
  const struct view *const views[VIEWS] = {&call->out[PARAM], &call->out[M], &call->out[V], &in[IN_GRAD]};
  adamw a;
  a.at = layout_of<VIEWS>(views, views[0]->rank);
  bool vectors = a.at.rank == 1;
  for (int k = 0; k < VIEWS; k++) {
    a.data[k] = views[k]->data;
    a.dtype[k] = views[k]->dtype;
    vectors = vectors && a.at.stride[k][0] == 1 && is_aligned16(a.data[k]);
  }
  a.lr = (const float *)in[IN_LR].data;
  a.clip = (const float *)in[IN_CLIP].data;
  a.skip = (const int32_t *)in[IN_SKIP].data;
  a.steps = (const int32_t *)in[IN_STEPS].data;
  a.seed = (const int32_t *)in[IN_SEED].data;
  a.beta1 = f32_from_bits(attr->beta1_bits);
  a.beta2 = f32_from_bits(attr->beta2_bits);
  a.eps = f32_from_bits(attr->eps_bits);
  a.weight_decay = f32_from_bits(attr->weight_decay_bits);
  a.site_lo = attr->site_lo;
  a.site_hi = attr->site_hi;
  a.stochastic = attr->stochastic != 0;
  if (a.at.count == 0) return TRAINER_OK;
  unsigned blocks = grid_of(call->gpu, divide_up(a.at.count, GROUP), THREADS);
  if (vectors) take_step<true><<<blocks, THREADS, 0, call->stream>>>(a);
  else take_step<false><<<blocks, THREADS, 0, call->stream>>>(a);
  return launched(text, bytes);
}

} // namespace

const struct kernel kernel_adamw = {.op = TRAINER_OP_ADAMW, .name = "adamw", .check = check_adamw, .run = run};
