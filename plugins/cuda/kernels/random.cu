/* random.cu - RANDOM: Philox at (seed, site, step, sample, position, feature), so a number
 * depends on nothing else. */
#include "../../../native/philox.h"
#include "strided.cuh"

#define THREADS 256

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

const struct kernel kernel_random = {.op = TRAINER_OP_RANDOM, .name = "random", .check = check_random, .run = run};
