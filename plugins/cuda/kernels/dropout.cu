/* dropout.cu - DROPOUT_MASK: bits of Philox at (seed, site, step, sample, position,
 * feature), so a bit depends on nothing else. */
#include <math.h>

#include "../../../native/half.h"
#include "../../../native/philox.h"
#include "device.cuh"

namespace {

constexpr int THREADS = 128;
constexpr int ROWS = 8; /* a thread: what does not change from row to row is computed once */

struct mask_site {
  uint8_t *mask;
  int64_t pitch; /* bytes from row to row */
  int64_t rows;
  uint32_t features;
  const int32_t *samples, *positions, *seed, *step;
  int64_t sample_stride, position_stride;
  uint32_t site_lo, site_hi;
  uint32_t least; /* the least upper 24 bits of a word that keep, above the lower 8 */
  int whole;      /* words of 32 bits can be stored */
  const void *x; /* what is dropped out, too; NULL: nothing */
  void *y;
  int64_t x_row, y_row;
  float keep_scale;
  int vectors; /* x and y can be accessed 16 bytes at a time */
};

/* Bits of features [at, at + 32); those behind the last one are not cleared. */
__device__ __forceinline__ uint32_t keep_bits(const mask_site &s, philox_key key, uint32_t position, uint32_t sample, uint32_t step, uint32_t at) {
  uint32_t bits = 0;
#pragma unroll
  for (int quarter = 0; quarter < 8; quarter++) {
    uint32_t words[4];
    philox(words, key, at / 4 + quarter, position, sample, step);
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (words[i] >= s.least) bits |= 1u << (4 * quarter + i);
  }
  return bits;
}

/* Eight values under the bits of a byte, scaled. */
template <typename T> __device__ __forceinline__ void drop_eight(T *y, const T *x, uint32_t bits, float keep_scale) {
  constexpr int n = 16 / sizeof(T);
#pragma unroll
  for (int i = 0; i < 8; i += n) {
    vec<T, n> part = load_vec<T, n>(x + i);
#pragma unroll
    for (int j = 0; j < n; j++) part.v[j] = from_f32<T>(bits >> (i + j) & 1 ? to_f32(part.v[j]) * keep_scale : 0.0f);
    store_vec<T, n>(y + i, part);
  }
}

/* y for the 1,024 features of a warp from `first` on, of which each lane has the bits of 32:
 * neighbouring lanes take neighbouring eights. */
template <typename T> __device__ __forceinline__ void drop_row(const mask_site &s, int64_t row, uint32_t first, uint32_t bits) {
  const T *x = (const T *)s.x + row * s.x_row;
  T *y = (T *)s.y + row * s.y_row;
  uint32_t lane = threadIdx.x % WARP;
#pragma unroll
  for (uint32_t i = 0; i < 4; i++) {
    uint32_t byte = __shfl_sync(0xFFFFFFFFu, bits, i * 8 + lane / 4) >> lane % 4 * 8, at = first + (i * WARP + lane) * 8;
    if (s.vectors && at < s.features) drop_eight<T>(y + at, x + at, byte, s.keep_scale);
    for (uint32_t k = at; !s.vectors && k < at + 8 && k < s.features; k++) y[k] = from_f32<T>(byte >> (k - at) & 1 ? to_f32(x[k]) * s.keep_scale : 0.0f);
  }
}

/* One thread makes the same four bytes of some rows. */
template <typename T> __global__ void __launch_bounds__(THREADS) make_mask(const __grid_constant__ mask_site s) {
  uint32_t at = (blockIdx.x * THREADS + threadIdx.x) * 32, first = at - threadIdx.x % WARP * 32;
  if (first >= s.features) return; /* the whole warp */
  philox_key key = philox_key_of(s.seed, s.site_lo, s.site_hi);
  uint32_t step = (uint32_t)*s.step, left = at < s.features ? s.features - at : 0, inside = left < 32 ? (1u << left) - 1 : 0xFFFFFFFFu;
  for (int64_t row = blockIdx.y; row < s.rows; row += gridDim.y) {
    uint32_t position = (uint32_t)s.positions[row * s.position_stride], sample = (uint32_t)s.samples[row * s.sample_stride];
    uint32_t bits = keep_bits(s, key, position, sample, step, at) & inside;
    uint8_t *to = s.mask + row * s.pitch + at / 8;
    if (s.whole && left) *(uint32_t *)to = bits;
    else
      for (uint32_t i = 0; i < 4 && i * 8 < left; i++) to[i] = (uint8_t)(bits >> 8 * i);
    if (s.y) drop_row<T>(s, row, first, bits);
  }
}

/* Words from here on have upper 24 bits that are at least p, as f32 in [0, 1). A larger p
 * than any keeps nothing: the caller sees to that. */
uint32_t least_word(float p) { return p <= 0.0f ? 0u : (uint32_t)ceilf(p * 16777216.0f) << 8; }

void set_dropped(mask_site *s, const struct view *y, const struct view *x, float keep_scale) {
  if (!y->present) return;
  s->x = x->data;
  s->y = y->data;
  s->x_row = x->stride[0];
  s->y_row = y->stride[0];
  s->keep_scale = keep_scale;
  int64_t n = 16 / list_dtype_bytes(x->dtype);
  s->vectors = is_aligned16(x->data, y->data) && s->features % 8 == 0 && x->stride[0] % n == 0 && y->stride[0] % n == 0;
}

int32_t clear(const struct view *view, int64_t bytes_each, cudaStream_t stream, char *text, uint64_t text_bytes) {
  if (view->present && view->count)
    cudaMemset2DAsync(view->data, (size_t)(view->stride[0] * bytes_each), 0, (size_t)(view->shape[1] * bytes_each), (size_t)view->shape[0], stream);
  return launched(text, text_bytes);
}

int32_t check(const struct record *record, char *text, uint64_t bytes) {
  const struct view *y = &record->out[1], *x = &record->in[4];
  int32_t status = check_dropout_mask(record, text, bytes);
  if (status || x->dtype == y->dtype) return status;
  return refuse(text, bytes, TRAINER_UNSUPPORTED, "x and y of dropout_mask must be of one float type");
}

int32_t run(const struct call *call, char *text, uint64_t bytes) {
  const trainer_attr_dropout_mask *attr = (const trainer_attr_dropout_mask *)call->attr;
  const struct view *mask = &call->out[0], *in = call->in;
  if (mask->count == 0) return TRAINER_OK;
  mask_site s = {};
  s.mask = (uint8_t *)mask->data;
  s.pitch = mask->stride[0];
  s.rows = mask->shape[0];
  s.features = (uint32_t)attr->features;
  s.samples = (const int32_t *)in[0].data;
  s.positions = (const int32_t *)in[1].data;
  s.seed = (const int32_t *)in[2].data;
  s.step = (const int32_t *)in[3].data;
  s.sample_stride = in[0].stride[0];
  s.position_stride = in[1].stride[0];
  s.site_lo = attr->site_lo;
  s.site_hi = attr->site_hi;
  float p = f32_from_bits(attr->p_bits);
  if (!(p <= 16777215.0f / 16777216.0f)) { /* no number in [0, 1) of 24 bits is as large */
    int32_t status = clear(mask, 1, call->stream, text, bytes);
    return status ? status : clear(&call->out[1], list_dtype_bytes(call->out[1].dtype), call->stream, text, bytes);
  }
  s.least = least_word(p);
  s.whole = s.features % 32 == 0 && s.pitch % 4 == 0 && (uintptr_t)s.mask % 4 == 0;
  int64_t lines = divide_up(s.rows, ROWS);
  dim3 grid((unsigned)divide_up(divide_up(s.features, 32), THREADS), (unsigned)(lines < 65535 ? lines : 65535));
  set_dropped(&s, &call->out[1], &in[4], f32_from_bits(attr->keep_scale_bits));
  uint32_t dtype = call->out[1].present ? call->out[1].dtype : TRAINER_F32;
  WITH_FLOAT(T, dtype, make_mask<T><<<grid, THREADS, 0, call->stream>>>(s));
  return launched(text, bytes);
}

} // namespace

const struct kernel kernel_dropout_mask = {.op = TRAINER_OP_DROPOUT_MASK, .name = "dropout_mask", .check = check, .run = run};
