/* strided.cuh - elementwise work over strided, broadcast views of one shape. A functor gets
 * each element's offsets; where all views lie without gaps, vectors are used instead. */
#ifndef TRAINER_CUDA_STRIDED_CUH
#define TRAINER_CUDA_STRIDED_CUH

#include "device.cuh"

#define STRIDED_VIEWS 4
#define STRIDED_THREADS 256

/* Views of one shape, with as few dimensions as they allow. */
struct strided {
  uint32_t rank; /* >= 1 */
  uint32_t n;
  int64_t count;
  int64_t shape[TRAINER_MAX_RANK];
  int64_t stride[STRIDED_VIEWS][TRAINER_MAX_RANK];
};

/* All views have the shape of views[0]. */
static inline struct strided strided_of(const struct view *const *views, uint32_t n) {
  struct strided s = {};
  s.n = n;
  s.count = views[0]->count;
  for (uint32_t dim = 0; dim < views[0]->rank; dim++) {
    int64_t size = views[0]->shape[dim];
    int merge = s.rank > 0;
    if (size == 1) continue;
    for (uint32_t k = 0; k < n; k++) merge = merge && s.stride[k][s.rank - 1] == views[k]->stride[dim] * size;
    if (!merge) s.shape[s.rank++] = 1;
    s.shape[s.rank - 1] *= size;
    for (uint32_t k = 0; k < n; k++) s.stride[k][s.rank - 1] = views[k]->stride[dim];
  }
  if (s.rank > 0) return s;
  s.rank = 1; /* one element */
  s.shape[0] = 1;
  for (uint32_t k = 0; k < n; k++) s.stride[k][0] = 1;
  return s;
}

/* Every view is one run without gaps. */
static inline int strided_is_flat(const struct strided *s) {
  for (uint32_t k = 0; k < s->n; k++)
    if (s->stride[k][0] != 1) return 0;
  return s->rank == 1;
}

/* fn(index, offset) for every element in row-major order of index; offset[k] is its place
 * in view k. Index is uint32_t where all offsets fit, for its faster division. */
template <typename Index, typename F> __global__ void __launch_bounds__(STRIDED_THREADS) strided_kernel(const struct strided s, F fn) {
  Index step = (Index)gridDim.x * STRIDED_THREADS;
  for (Index i = (Index)blockIdx.x * STRIDED_THREADS + threadIdx.x; i < (Index)s.count; i += step) {
    int64_t offset[STRIDED_VIEWS] = {};
    Index rest = i;
#pragma unroll
    for (int dim = TRAINER_MAX_RANK - 1; dim >= 0; dim--) {
      if (dim >= (int)s.rank) continue;
      Index size = (Index)s.shape[dim], at = dim == 0 ? rest : rest % size;
      rest /= size;
#pragma unroll
      for (int k = 0; k < STRIDED_VIEWS; k++) offset[k] += (int64_t)at * s.stride[k][dim];
    }
    fn((int64_t)i, offset);
  }
}

/* The step of a grid-stride loop must not wrap around either. */
#define STRIDED_SMALL ((int64_t)1 << 31)

template <typename F> static void strided_launch(const struct call *call, const struct strided &s, F fn) {
  if (s.count == 0) return;
  unsigned grid = grid_of(call->gpu, s.count, STRIDED_THREADS);
  if (s.count < STRIDED_SMALL) strided_kernel<uint32_t><<<grid, STRIDED_THREADS, 0, call->stream>>>(s, fn);
  else strided_kernel<uint64_t><<<grid, STRIDED_THREADS, 0, call->stream>>>(s, fn);
}

/* fn(first, width) for runs of N elements; the last one may be shorter. */
template <int N, typename F> __global__ void __launch_bounds__(STRIDED_THREADS) flat_kernel(int64_t count, F fn) {
  int64_t step = (int64_t)gridDim.x * STRIDED_THREADS * N;
  for (int64_t i = ((int64_t)blockIdx.x * STRIDED_THREADS + threadIdx.x) * N; i < count; i += step) fn(i, count - i);
}

template <int N, typename F> static void flat_launch(const struct call *call, int64_t count, F fn) {
  if (count > 0) flat_kernel<N><<<grid_of(call->gpu, count, STRIDED_THREADS * N), STRIDED_THREADS, 0, call->stream>>>(count, fn);
}

/* ---- elements whose dtype is only known at run time ---- */

__device__ __forceinline__ float load_float(const void *data, uint32_t dtype, int64_t at) {
  if (dtype == TRAINER_F32) return ((const float *)data)[at];
  if (dtype == TRAINER_BF16) return to_f32(((const bf16 *)data)[at]);
  return to_f32(((const f16 *)data)[at]);
}

__device__ __forceinline__ void store_float(void *data, uint32_t dtype, int64_t at, float x) {
  if (dtype == TRAINER_F32) ((float *)data)[at] = x;
  else if (dtype == TRAINER_BF16) ((bf16 *)data)[at] = from_f32<bf16>(x);
  else ((f16 *)data)[at] = from_f32<f16>(x);
}

__device__ __forceinline__ int32_t load_int(const void *data, uint32_t dtype, int64_t at) {
  return dtype == TRAINER_I32 ? ((const int32_t *)data)[at] : ((const uint8_t *)data)[at];
}

/* i32 to u8 keeps the low 8 bits. */
__device__ __forceinline__ void store_int(void *data, uint32_t dtype, int64_t at, int32_t x) {
  if (dtype == TRAINER_I32) ((int32_t *)data)[at] = x;
  else ((uint8_t *)data)[at] = (uint8_t)x;
}

__host__ __device__ __forceinline__ int is_float_dtype(uint32_t dtype) {
  return dtype == TRAINER_F32 || dtype == TRAINER_BF16 || dtype == TRAINER_F16;
}

#endif
