/* blend.cu - see blend.cuh. */
#include "blend.cuh"

#define THREADS 256

static __device__ __forceinline__ float load_one(const struct matrix *m, int64_t row, int64_t col) {
  int64_t at = row * m->row + col * m->col;
  if (m->dtype == TRAINER_F32) return ((const float *)m->data)[at];
  if (m->dtype == TRAINER_BF16) return to_f32(((const bf16 *)m->data)[at]);
  return to_f32(((const f16 *)m->data)[at]);
}

static __device__ __forceinline__ void store_one(const struct matrix *m, int64_t row, int64_t col, float x) {
  int64_t at = row * m->row + col * m->col;
  if (m->dtype == TRAINER_F32) ((float *)m->data)[at] = x;
  else if (m->dtype == TRAINER_BF16) ((bf16 *)m->data)[at] = from_f32<bf16>(x);
  else ((f16 *)m->data)[at] = from_f32<f16>(x);
}

template <typename T> static __device__ __forceinline__ void load_as(float *x, const T *at) {
  constexpr int n = 16 / sizeof(T);
#pragma unroll
  for (int i = 0; i < 8; i += n) {
    vec<T, n> part = load_vec<T, n>(at + i);
#pragma unroll
    for (int j = 0; j < n; j++) x[i + j] = to_f32(part.v[j]);
  }
}

template <typename T> static __device__ __forceinline__ void store_as(T *at, const float *x) {
  constexpr int n = 16 / sizeof(T);
#pragma unroll
  for (int i = 0; i < 8; i += n) {
    vec<T, n> part;
#pragma unroll
    for (int j = 0; j < n; j++) part.v[j] = from_f32<T>(x[i + j]);
    store_vec<T, n>(at + i, part);
  }
}

/* Eight columns from col on; a column stride of 0 repeats one. */
static __device__ __forceinline__ void load_eight(float *x, const struct matrix *m, int64_t row, int64_t col) {
  int64_t at = row * m->row + col;
  if (m->dtype == TRAINER_F32) load_as(x, (const float *)m->data + at);
  else if (m->dtype == TRAINER_BF16) load_as(x, (const bf16 *)m->data + at);
  else load_as(x, (const f16 *)m->data + at);
}

static __device__ __forceinline__ void store_eight(const struct matrix *m, int64_t row, int64_t col, const float *x) {
  int64_t at = row * m->row + col;
  if (m->dtype == TRAINER_F32) store_as((float *)m->data + at, x);
  else if (m->dtype == TRAINER_BF16) store_as((bf16 *)m->data + at, x);
  else store_as((f16 *)m->data + at, x);
}

static __device__ __forceinline__ int covers(const struct blend *job, int64_t col) {
  return job->src.data && col >= job->first && col < job->first + job->src.cols;
}

static __device__ void blend_eight(const struct blend *job, int64_t row, int64_t col) {
  float x[8] = {}, add[8];
  if (covers(job, col)) {
    unsigned bits = job->mask ? job->mask[row * job->mask_row + col / 8] : 0xFFu;
    load_eight(x, &job->src, row, col - job->first);
#pragma unroll
    for (int i = 0; i < 8; i++) x[i] = bits >> i & 1u ? x[i] * job->factor : 0.0f;
  }
  if (job->add.data) {
    load_eight(add, &job->add, row, col);
#pragma unroll
    for (int i = 0; i < 8; i++) x[i] += add[i];
  }
  store_eight(&job->dst, row, col, x);
}

static __device__ void blend_one(const struct blend *job, int64_t row, int64_t col) {
  float x = 0.0f;
  if (covers(job, col)) {
    unsigned bits = job->mask ? job->mask[row * job->mask_row + col / 8 * job->mask_col] : 0xFFu;
    x = bits >> col % 8 & 1u ? load_one(&job->src, row, col - job->first) * job->factor : 0.0f;
  }
  if (job->add.data) x += load_one(&job->add, row, col);
  store_one(&job->dst, row, col, x);
}

static __global__ void __launch_bounds__(THREADS) blend_kernel(const __grid_constant__ struct blends blends) {
  int at = 0;
  while (blockIdx.x >= blends.end[at]) at++;
  const struct blend *job = &blends.job[at];
  int step = blends.wide[at] ? 8 : 1;
  int64_t unit = (blockIdx.x - (at ? blends.end[at - 1] : 0)) * THREADS + threadIdx.x, units = job->dst.cols / step, row, col;
  if (unit <= UINT32_MAX && units <= UINT32_MAX) { /* a 32-bit division is several times faster */
    row = (uint32_t)unit / (uint32_t)units;
    col = (uint32_t)unit % (uint32_t)units * step;
  } else {
    row = unit / units;
    col = unit % units * step;
  }
  if (row >= job->dst.rows) return;
  if (step == 8) blend_eight(job, row, col);
  else blend_one(job, row, col);
}

/* Eight neighbouring columns lie in one or two whole 16-byte pieces. */
static int is_wide(const struct matrix *m) {
  return !m->data || (m->col == 1 && (uintptr_t)m->data % 16 == 0 && m->row * list_dtype_bytes(m->dtype) % 16 == 0);
}

static int job_is_wide(const struct blend *job) {
  int whole = job->dst.cols % 8 == 0 && job->first % 8 == 0 && (!job->src.data || job->src.cols % 8 == 0);
  return whole && (!job->mask || job->mask_col == 1) && is_wide(&job->dst) && is_wide(&job->src) && is_wide(&job->add);
}

struct blend blend_copy(struct matrix dst, struct matrix src) {
  struct blend job = {};
  job.dst = dst;
  job.src = src;
  job.factor = 1.0f;
  return job;
}

struct blend blend_drop(struct matrix dst, struct matrix src, const struct view *mask, float keep_scale) {
  struct blend job = blend_copy(dst, src);
  if (!mask->present) return job;
  job.mask = (const uint8_t *)mask->data;
  job.mask_row = mask->stride[0];
  job.mask_col = mask->stride[1];
  job.factor = keep_scale;
  return job;
}

void blends_add(struct blends *blends, struct blend job) {
  if (job.dst.rows == 0 || job.dst.cols == 0) return;
  if (blends->n == BLEND_MOST) blends_run(blends);
  int at = blends->n++;
  blends->job[at] = job;
  blends->wide[at] = job_is_wide(&job);
  int64_t units = job.dst.rows * job.dst.cols / (blends->wide[at] ? 8 : 1);
  blends->end[at] = (at ? blends->end[at - 1] : 0) + divide_up(units, THREADS);
}

void blends_run(struct blends *blends) {
  if (blends->n && !blends->dry) blend_kernel<<<(unsigned)blends->end[blends->n - 1], THREADS, 0, blends->stream>>>(*blends);
  blends->n = 0;
}
