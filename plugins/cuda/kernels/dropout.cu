/* dropout.cu - DROPOUT_MASK: bits of Philox at (seed, site, step, sample, position,
 * feature), so a bit depends on nothing else. */
#include "../../../native/half.h"
#include "../../../native/philox.h"
#include "device.cuh"

namespace {

constexpr int THREADS = 256;

struct mask_site {
  uint8_t *mask;
  int64_t pitch; /* bytes from row to row */
  int64_t rows;
  int64_t features;
  const int32_t *samples, *positions, *seed, *step;
  int64_t sample_stride, position_stride;
  uint32_t site_lo, site_hi;
  float p;
};

/* Bits of features [at, at + 8); what is behind the last one is 0. */
__device__ uint8_t keep_bits(const mask_site &s, philox_key key, uint32_t position, uint32_t sample, uint32_t step, int64_t at) {
  uint32_t byte = 0;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    uint32_t words[4];
    philox(words, key, (uint32_t)(at / 4) + half, position, sample, step);
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (at + 4 * half + i < s.features && philox_uniform(words[i]) >= s.p) byte |= 1u << (4 * half + i);
  }
  return (uint8_t)byte;
}

/* One thread makes one byte. */
__global__ void __launch_bounds__(THREADS) make_mask(mask_site s) {
  int64_t row_bytes = (s.features + 7) / 8, total = s.rows * row_bytes;
  philox_key key = philox_key_of(s.seed, s.site_lo, s.site_hi);
  uint32_t step = (uint32_t)*s.step;
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < total; i += (int64_t)gridDim.x * THREADS) {
    int64_t row = i / row_bytes, byte = i - row * row_bytes;
    uint32_t position = (uint32_t)s.positions[row * s.position_stride], sample = (uint32_t)s.samples[row * s.sample_stride];
    s.mask[row * s.pitch + byte] = keep_bits(s, key, position, sample, step, byte * 8);
  }
}

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
  s.features = attr->features;
  s.samples = (const int32_t *)in[0].data;
  s.positions = (const int32_t *)in[1].data;
  s.seed = (const int32_t *)in[2].data;
  s.step = (const int32_t *)in[3].data;
  s.sample_stride = in[0].stride[0];
  s.position_stride = in[1].stride[0];
  s.site_lo = attr->site_lo;
  s.site_hi = attr->site_hi;
  s.p = f32_from_bits(attr->p_bits);
  make_mask<<<grid_of(call->gpu, mask->count, THREADS), THREADS, 0, call->stream>>>(s);
  return launched(text, bytes);
}

} // namespace

const struct kernel kernel_dropout_mask = {.op = TRAINER_OP_DROPOUT_MASK, .name = "dropout_mask", .check = check, .run = run};
