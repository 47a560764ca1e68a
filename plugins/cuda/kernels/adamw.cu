/* adamw.cu - ADAMW (Loshchilov & Hutter 2019), as torch.optim.AdamW steps, with optional
 * stochastic rounding of bf16 states. One pass over param, m, v and grad. */
#include "../../../native/half.h"
#include "../../../native/philox.h"
#include "layout.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int GROUP = 4; /* elements that share a Philox counter */

enum { PARAM, M, V, GRAD, STATES = GRAD, VIEWS };
enum { IN_GRAD, IN_LR, IN_CLIP, IN_SKIP, IN_STEPS, IN_SEED, INPUTS };

struct adamw {
  layout<VIEWS> at;
  void *data[VIEWS];
  uint32_t dtype[VIEWS];
  const float *lr, *clip;
  const int32_t *skip, *steps, *seed;
  float beta1, beta2, log_beta1, log_beta2, eps, weight_decay;
  uint32_t site_lo, site_hi;
  int stochastic;
};

/* What is the same for every element of a step. */
struct step {
  float clip, decay, beta1, one_minus_beta1, beta2, one_minus_beta2, size, root, eps;
  uint32_t t;
};

/* 1 - beta^t, to f32's precision where beta^t is near 1 too. */
__device__ __forceinline__ float one_minus_power(float log_beta, float t) { return -expm1f(t * log_beta); }

__device__ step make_step(const adamw &a) {
  float t = (float)*a.steps;
  step s;
  s.clip = *a.clip;
  s.decay = 1.0f - *a.lr * a.weight_decay;
  s.beta1 = a.beta1;
  s.one_minus_beta1 = 1.0f - a.beta1;
  s.beta2 = a.beta2;
  s.one_minus_beta2 = 1.0f - a.beta2;
  s.size = *a.lr / one_minus_power(a.log_beta1, t);
  s.root = 1.0f / sqrtf(one_minus_power(a.log_beta2, t));
  s.eps = a.eps;
  s.t = (uint32_t)*a.steps;
  return s;
}

/* Within an ulp, at a third of the instructions of the exact one. */
__device__ __forceinline__ float root_of(float x) {
  float root;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(root) : "f"(x));
  return root;
}

__device__ __forceinline__ void update(float &param, float &m, float &v, float grad, const step &s) {
  grad *= s.clip;
  m = s.beta1 * m + s.one_minus_beta1 * grad;
  v = s.beta2 * v + s.one_minus_beta2 * grad * grad;
  param = param * s.decay - __fdividef(s.size * m, root_of(v) * s.root + s.eps);
}

/* Rounds to bf16, up or down with probability by distance. Infinities stay by themselves:
 * nothing is below their mantissa that could carry. */
__device__ __forceinline__ float round_stochastic(float x, uint32_t word) {
  uint32_t bits = __float_as_uint(x);
  return x == x ? __uint_as_float((bits + (word >> 16)) & 0xFFFF0000u) : x;
}

/* Rounds the elements of a group of state k. */
__device__ __forceinline__ void round_group(float *x, philox_key key, int64_t group, int k, uint32_t t) {
  uint32_t words[GROUP];
  philox(words, key, (uint32_t)group, (uint32_t)k, 0, t);
#pragma unroll
  for (int e = 0; e < GROUP; e++) x[e] = round_stochastic(x[e], words[e]);
}

/* All views lie without gaps, aligned, in vectors of one dtype. */
template <typename T, bool STOCHASTIC> __global__ void __launch_bounds__(THREADS) take_step(adamw a) {
  constexpr int WIDTH = 16 / sizeof(T);
  if (*a.skip != 0) return;
  step s = make_step(a);
  philox_key key = philox_key_of(a.seed, a.site_lo, a.site_hi);
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < a.at.count / WIDTH; i += (int64_t)gridDim.x * THREADS) {
    vec<T, WIDTH> stored[VIEWS];
    float x[STATES][WIDTH];
#pragma unroll
    for (int k = 0; k < VIEWS; k++) stored[k] = load_vec<T, WIDTH>((const T *)a.data[k] + i * WIDTH);
#pragma unroll
    for (int e = 0; e < WIDTH; e++) {
#pragma unroll
      for (int k = 0; k < STATES; k++) x[k][e] = to_f32(stored[k].v[e]);
      update(x[PARAM][e], x[M][e], x[V][e], to_f32(stored[GRAD].v[e]), s);
    }
#pragma unroll
    for (int k = 0; k < STATES; k++) {
#pragma unroll
      for (int e = 0; STOCHASTIC && e < WIDTH; e += GROUP) round_group(&x[k][e], key, (i * WIDTH + e) / GROUP, k, s.t);
#pragma unroll
      for (int e = 0; e < WIDTH; e++) stored[k].v[e] = from_f32<T>(x[k][e]);
      store_vec<T, WIDTH>((T *)a.data[k] + i * WIDTH, stored[k]);
    }
  }
}

/* Any strides and dtypes: a thread takes a group. */
__global__ void __launch_bounds__(THREADS) take_step_plain(adamw a) {
  if (*a.skip != 0) return;
  step s = make_step(a);
  philox_key key = philox_key_of(a.seed, a.site_lo, a.site_hi);
  int64_t groups = (a.at.count + GROUP - 1) / GROUP;
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < groups; i += (int64_t)gridDim.x * THREADS) {
    int64_t index = i * GROUP, left = a.at.count - index;
    int n = left < GROUP ? (int)left : GROUP;
    float x[STATES][GROUP] = {};
    for (int e = 0; e < n; e++) {
      for (int k = 0; k < STATES; k++) x[k][e] = load_value(a.data[k], a.dtype[k], a.at.offset(k, index + e));
      update(x[PARAM][e], x[M][e], x[V][e], load_value(a.data[GRAD], a.dtype[GRAD], a.at.offset(GRAD, index + e)), s);
    }
    for (int k = 0; k < STATES; k++) {
      if (a.stochastic && a.dtype[k] == TRAINER_BF16) round_group(x[k], key, i, k, s.t);
      for (int e = 0; e < n; e++) store_value(a.data[k], a.dtype[k], a.at.offset(k, index + e), x[k][e]);
    }
  }
}

template <typename T> void launch(const adamw &a, unsigned blocks, cudaStream_t stream) { take_step<T, false><<<blocks, THREADS, 0, stream>>>(a); }
template <> void launch<bf16>(const adamw &a, unsigned blocks, cudaStream_t stream) {
  if (a.stochastic) take_step<bf16, true><<<blocks, THREADS, 0, stream>>>(a);
  else take_step<bf16, false><<<blocks, THREADS, 0, stream>>>(a);
}

int32_t run(const struct call *call, char *text, uint64_t bytes) {
  const trainer_attr_adamw *attr = (const trainer_attr_adamw *)call->attr;
  const struct view *in = call->in;
  const struct view *const views[VIEWS] = {&call->out[PARAM], &call->out[M], &call->out[V], &in[IN_GRAD]};
  adamw a;
  a.at = layout_of<VIEWS>(views, views[0]->rank);
  int width = 16 / (int)float_bytes(views[0]->dtype);
  bool vectors = a.at.rank == 1 && has_vectors(a.at, width);
  for (int k = 0; k < VIEWS; k++) {
    a.data[k] = views[k]->data;
    a.dtype[k] = views[k]->dtype;
    vectors = vectors && a.dtype[k] == a.dtype[0] && is_aligned16(a.data[k]);
  }
  a.lr = (const float *)in[IN_LR].data;
  a.clip = (const float *)in[IN_CLIP].data;
  a.skip = (const int32_t *)in[IN_SKIP].data;
  a.steps = (const int32_t *)in[IN_STEPS].data;
  a.seed = (const int32_t *)in[IN_SEED].data;
  a.beta1 = f32_from_bits(attr->beta1_bits);
  a.beta2 = f32_from_bits(attr->beta2_bits);
  a.log_beta1 = (float)log((double)a.beta1);
  a.log_beta2 = (float)log((double)a.beta2);
  a.eps = f32_from_bits(attr->eps_bits);
  a.weight_decay = f32_from_bits(attr->weight_decay_bits);
  a.site_lo = attr->site_lo;
  a.site_hi = attr->site_hi;
  a.stochastic = attr->stochastic != 0;
  if (a.at.count == 0) return TRAINER_OK;
  if (vectors) WITH_FLOAT(T, a.dtype[0], launch<T>(a, grid_of(call->gpu, divide_up(a.at.count, width), THREADS), call->stream));
  else take_step_plain<<<grid_of(call->gpu, divide_up(a.at.count, GROUP), THREADS), THREADS, 0, call->stream>>>(a);
  return launched(text, bytes);
}

} // namespace

const struct kernel kernel_adamw = {.op = TRAINER_OP_ADAMW, .name = "adamw", .check = check_adamw, .run = run};
