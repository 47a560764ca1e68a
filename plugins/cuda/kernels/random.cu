/* random.cu - RANDOM: Philox at (seed, site, step, sample, position, feature), so a number
 * depends on nothing else. */
#include "../../../native/philox.h"
#include "strided.cuh"

#define THREADS 256

static int inputs_ok(const struct call *call, int64_t rows) {
  const struct view *in = call->in;
  return is_dtype(&in[0], TRAINER_I32) && is_dtype(&in[1], TRAINER_I32) && in[0].rank == 1 && in[1].rank == 1 &&
         in[0].count == rows && in[1].count == rows && is_dtype(&in[2], TRAINER_I32) && is_vector(&in[2], 2) &&
         is_scalar(&in[3], TRAINER_I32);
}

static int32_t check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != 1 || call->n_in != 4 || call->attr_bytes < sizeof(trainer_attr_random))
    return refuse(text, bytes, TRAINER_INVALID, "random needs dst, four inputs and its attributes");
  if (!is_dtype(&call->out[0], TRAINER_F32) || call->out[0].rank != 2 || !has_rows(&call->out[0]) || !inputs_ok(call, call->out[0].shape[0]))
    return refuse(text, bytes, TRAINER_INVALID, "random needs dst f32 [r, f], samples, positions i32 [r], seed i32 [2], step i32 [1]");
  return TRAINER_OK;
}

struct draws {
  float *dst;
  int64_t pitch;
  int64_t rows;
  int64_t features;
  const int32_t *samples, *positions, *seed, *step;
  int64_t sample_stride, position_stride;
  uint32_t site_lo, site_hi;
};

/* One thread draws four neighbouring features. */
__global__ void __launch_bounds__(THREADS) random_kernel(const struct draws d) {
  struct philox_key key = philox_key_of(d.seed, d.site_lo, d.site_hi);
  int64_t groups = (d.features + 3) / 4, step = (int64_t)gridDim.x * THREADS;
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < d.rows * groups; i += step) {
    int64_t row = i / groups, group = i % groups;
    uint32_t words[4];
    philox(words, key, (uint32_t)group, (uint32_t)d.positions[row * d.position_stride], (uint32_t)d.samples[row * d.sample_stride], (uint32_t)*d.step);
    float *dst = d.dst + row * d.pitch + group * 4;
#pragma unroll
    for (int k = 0; k < 4; k++)
      if (group * 4 + k < d.features) dst[k] = philox_uniform(words[k]);
  }
}

static int32_t run(const struct call *call, char *text, uint64_t bytes) {
  const trainer_attr_random *attr = (const trainer_attr_random *)call->attr;
  const struct view *dst = &call->out[0], *in = call->in;
  struct draws d = {(float *)dst->data, dst->stride[0], dst->shape[0], dst->shape[1],
                    (const int32_t *)in[0].data, (const int32_t *)in[1].data, (const int32_t *)in[2].data, (const int32_t *)in[3].data,
                    in[0].stride[0], in[1].stride[0], attr->site_lo, attr->site_hi};
  if (dst->count == 0) return TRAINER_OK;
  random_kernel<<<grid_of(call->gpu, divide_up(dst->shape[1], 4) * dst->shape[0], THREADS), THREADS, 0, call->stream>>>(d);
  return launched(text, bytes);
}

const struct kernel kernel_random = {.op = TRAINER_OP_RANDOM, .name = "random", .check = check, .run = run};
