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

/* One thread makes the same four bytes of some rows. */
__global__ void __launch_bounds__(THREADS) make_mask(const __grid_constant__ mask_site s) {
  uint32_t at = (blockIdx.x * THREADS + threadIdx.x) * 32;
  if (at >= s.features) return;
  philox_key key = philox_key_of(s.seed, s.site_lo, s.site_hi);
  uint32_t step = (uint32_t)*s.step, left = s.features - at, inside = left < 32 ? (1u << left) - 1 : 0xFFFFFFFFu;
  for (int64_t row = blockIdx.y; row < s.rows; row += gridDim.y) {
    uint32_t position = (uint32_t)s.positions[row * s.position_stride], sample = (uint32_t)s.samples[row * s.sample_stride];
    uint32_t bits = keep_bits(s, key, position, sample, step, at) & inside;
    uint8_t *to = s.mask + row * s.pitch + at / 8;
    if (s.whole) *(uint32_t *)to = bits;
    else
      for (uint32_t i = 0; i < 4 && i * 8 < left; i++) to[i] = (uint8_t)(bits >> 8 * i);
  }
}

/* Words from here on have upper 24 bits that are at least p, as f32 in [0, 1). A larger p
 * than any keeps nothing: the caller sees to that. */
uint32_t least_word(float p) { return p <= 0.0f ? 0u : (uint32_t)ceilf(p * 16777216.0f) << 8; }

int inputs_ok(const struct view *in, int64_t rows) {
  return is_dtype(&in[0], TRAINER_I32) && is_dtype(&in[1], TRAINER_I32) && in[0].rank == 1 && in[1].rank == 1 && in[0].count == rows &&
         in[1].count == rows && is_dtype(&in[2], TRAINER_I32) && is_vector(&in[2], 2) && is_scalar(&in[3], TRAINER_I32);
}

int32_t check(const struct call *call, char *text, uint64_t bytes) {
  const trainer_attr_dropout_mask *attr = (const trainer_attr_dropout_mask *)call->attr;
  const struct view *mask = &call->out[0];
  if (call->n_out != 1 || call->n_in != 4 || call->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "dropout_mask needs mask, four inputs and its attributes");
  if (!is_dtype(mask, TRAINER_U8) || mask->rank != 2 || !has_rows(mask) || attr->features < 0 || attr->features > INT32_MAX ||
      mask->shape[1] != (attr->features + 7) / 8 || !inputs_ok(call->in, mask->shape[0]))
    return refuse(text, bytes, TRAINER_INVALID, "dropout_mask needs mask u8 [T, ceil(K/8)], samples, positions i32 [T], seed i32 [2], step i32 [1]");
  return TRAINER_OK;
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
    cudaMemset2DAsync(s.mask, (size_t)s.pitch, 0, (size_t)mask->shape[1], (size_t)s.rows, call->stream);
    return launched(text, bytes);
  }
  s.least = least_word(p);
  s.whole = s.features % 32 == 0 && s.pitch % 4 == 0 && (uintptr_t)s.mask % 4 == 0;
  int64_t lines = divide_up(s.rows, ROWS);
  dim3 grid((unsigned)divide_up(divide_up(s.features, 32), THREADS), (unsigned)(lines < 65535 ? lines : 65535));
  make_mask<<<grid, THREADS, 0, call->stream>>>(s);
  return launched(text, bytes);
}

} // namespace

const struct kernel kernel_dropout_mask = {.op = TRAINER_OP_DROPOUT_MASK, .name = "dropout_mask", .check = check, .run = run};
