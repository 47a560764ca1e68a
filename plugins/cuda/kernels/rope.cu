/* rope.cu - ROPE (Su et al. 2021) with the halves of a head rotated against each other, as
 * Hugging Face stores Llama's weights. One block turns all heads of one token. */
#include "../../../native/half.h"
#include "layout.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int HALF_MAX = 512;

struct rotation {
  void *y;
  const void *x;
  uint32_t y_dtype, x_dtype;
  int64_t y_token, y_head, x_token, x_head; /* strides */
  int heads;                                /* of x */
  int rotated;                              /* heads that turn */
  int width, half;
  int in_place; /* what does not turn is already there */
  const int32_t *positions;
  int64_t position_stride;
  const float *inv_freq;
  float scale;
  float sign; /* -1 turns back */
};

/* cos and sin of the exact product position * inv_freq: what rounding takes from it is
 * given back by a series, so large positions lose nothing. */
__device__ void make_table(const rotation &r, int64_t token, float *c, float *s) {
  float position = (float)r.positions[token * r.position_stride];
  for (int i = threadIdx.x; i < r.half; i += blockDim.x) {
    float angle = position * r.inv_freq[i], rest = fmaf(position, r.inv_freq[i], -angle), sine, cosine;
    sincosf(angle, &sine, &cosine);
    float odd = rest - rest * rest * rest * (1.0f / 6.0f), even = 0.5f * rest * rest;
    c[i] = r.scale * (cosine - (cosine * even + sine * odd));
    s[i] = r.sign * r.scale * (sine - (sine * even - cosine * odd));
  }
  __syncthreads();
}

template <typename T> __global__ void __launch_bounds__(THREADS) rotate_vectors(rotation r) {
  constexpr int WIDTH = 16 / sizeof(T);
  __shared__ float c[HALF_MAX], s[HALF_MAX];
  int64_t token = blockIdx.x;
  const T *x = (const T *)r.x + token * r.x_token;
  T *y = (T *)r.y + token * r.y_token;
  make_table(r, token, c, s);
  int vectors = r.half / WIDTH;
  for (int j = threadIdx.x; j < r.rotated * vectors; j += THREADS) {
    int head = j / vectors, i = (j - head * vectors) * WIDTH;
    vec<T, WIDTH> a = load_vec<T, WIDTH>(x + head * r.x_head + i), b = load_vec<T, WIDTH>(x + head * r.x_head + r.half + i);
#pragma unroll
    for (int e = 0; e < WIDTH; e++) {
      float x1 = to_f32(a.v[e]), x2 = to_f32(b.v[e]);
      a.v[e] = from_f32<T>(x1 * c[i + e] - x2 * s[i + e]);
      b.v[e] = from_f32<T>(x2 * c[i + e] + x1 * s[i + e]);
    }
    store_vec<T, WIDTH>(y + head * r.y_head + i, a);
    store_vec<T, WIDTH>(y + head * r.y_head + r.half + i, b);
  }
  if (r.in_place) return;
  vectors = r.width / WIDTH;
  for (int j = threadIdx.x; j < r.heads * vectors; j += THREADS) {
    int head = j / vectors, i = (j - head * vectors) * WIDTH;
    if (head >= r.rotated || i >= 2 * r.half) store_vec<T, WIDTH>(y + head * r.y_head + i, load_vec<T, WIDTH>(x + head * r.x_head + i));
  }
}

/* Any width and dtypes. */
__global__ void __launch_bounds__(THREADS) rotate_plain(rotation r) {
  __shared__ float c[HALF_MAX], s[HALF_MAX];
  int64_t token = blockIdx.x;
  make_table(r, token, c, s);
  for (int64_t j = threadIdx.x; j < (int64_t)r.rotated * r.half; j += THREADS) {
    int64_t head = j / r.half, i = j - head * r.half, from = token * r.x_token + head * r.x_head + i, to = token * r.y_token + head * r.y_head + i;
    float x1 = load_value(r.x, r.x_dtype, from), x2 = load_value(r.x, r.x_dtype, from + r.half);
    store_value(r.y, r.y_dtype, to, x1 * c[i] - x2 * s[i]);
    store_value(r.y, r.y_dtype, to + r.half, x2 * c[i] + x1 * s[i]);
  }
  if (r.in_place) return;
  for (int64_t j = threadIdx.x; j < (int64_t)r.heads * r.width; j += THREADS) {
    int64_t head = j / r.width, i = j - head * r.width;
    if (head >= r.rotated || i >= 2 * r.half)
      store_value(r.y, r.y_dtype, token * r.y_token + head * r.y_head + i, load_value(r.x, r.x_dtype, token * r.x_token + head * r.x_head + i));
  }
}

int32_t check(const struct record *record, char *text, uint64_t bytes) {
  const struct view *x = &record->in[0];
  int32_t status = check_rope(record, text, bytes);
  if (status) return status;
  if (((const trainer_attr_rope *)record->attr)->rotary_dim > 2 * HALF_MAX || x->shape[1] * x->shape[2] > INT32_MAX || x->shape[0] > INT32_MAX)
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "rotary_dim of rope is above 1024, or x is too large");
  return TRAINER_OK;
}

int fits_vectors(const rotation &r) {
  int64_t lanes = 16 / float_bytes(r.x_dtype);
  return r.x_dtype == r.y_dtype && is_aligned16(r.x, r.y) && r.half % lanes == 0 && r.width % lanes == 0 && r.x_token % lanes == 0 &&
         r.x_head % lanes == 0 && r.y_token % lanes == 0 && r.y_head % lanes == 0;
}

int32_t run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *y = &call->out[0], *x = &call->in[0];
  const trainer_attr_rope *attr = (const trainer_attr_rope *)call->attr;
  if (x->count == 0) return TRAINER_OK;
  rotation r = {.y = y->data, .x = x->data, .y_dtype = y->dtype, .x_dtype = x->dtype};
  r.y_token = y->stride[0];
  r.y_head = y->stride[1];
  r.x_token = x->stride[0];
  r.x_head = x->stride[1];
  r.heads = (int)x->shape[1];
  r.rotated = (int)attr->heads;
  r.width = (int)x->shape[2];
  r.half = (int)attr->rotary_dim / 2;
  r.in_place = y->data == x->data && y->dtype == x->dtype;
  r.positions = (const int32_t *)call->in[1].data;
  r.position_stride = call->in[1].stride[0];
  r.inv_freq = (const float *)call->in[2].data;
  r.scale = f32_from_bits(attr->scale_bits);
  r.sign = attr->inverse ? -1.0f : 1.0f;
  unsigned tokens = (unsigned)x->shape[0];
  if (fits_vectors(r)) WITH_FLOAT(T, x->dtype, (rotate_vectors<T><<<tokens, THREADS, 0, call->stream>>>(r)));
  else rotate_plain<<<tokens, THREADS, 0, call->stream>>>(r);
  return launched(text, bytes);
}

} // namespace

const struct kernel kernel_rope = {.op = TRAINER_OP_ROPE, .name = "rope", .check = check, .run = run};
