/* layout.cuh - views of one shape with as few dimensions as they allow, and where their
 * elements lie. */
#ifndef TRAINER_CUDA_LAYOUT_CUH
#define TRAINER_CUDA_LAYOUT_CUH

#include "device.cuh"

/* N views of one shape, row-major. rank >= 1; strides in elements. */
template <int N> struct layout {
  int rank;
  int64_t count;
  int64_t shape[TRAINER_MAX_RANK];
  int64_t stride[N][TRAINER_MAX_RANK];

  /* Where element `index` of view k lies. */
  __host__ __device__ int64_t offset(int k, int64_t index) const {
    int64_t at = 0;
    for (int dim = rank - 1; dim > 0; dim--) {
      at += index % shape[dim] * stride[k][dim];
      index /= shape[dim];
    }
    return at + index * stride[k][0];
  }
};

/* Whether dimension dim of every view continues the last one of the layout. */
template <int N> static int continues(const layout<N> &l, const struct view *const (&views)[N], uint32_t dim) {
  if (l.rank == 0) return 0;
  for (int k = 0; k < N; k++)
    if (l.stride[k][l.rank - 1] != views[k]->stride[dim] * views[k]->shape[dim]) return 0;
  return 1;
}

/* The first `ranks` dimensions of views that agree in them. */
template <int N> static layout<N> layout_of(const struct view *const (&views)[N], uint32_t ranks) {
  layout<N> l = {};
  l.count = 1;
  for (uint32_t dim = 0; dim < ranks; dim++) {
    int64_t extent = views[0]->shape[dim];
    l.count *= extent;
    if (extent == 1) continue;
    int merged = continues(l, views, dim);
    if (merged) l.shape[l.rank - 1] *= extent;
    else l.shape[l.rank++] = extent;
    for (int k = 0; k < N; k++) l.stride[k][l.rank - 1] = views[k]->stride[dim];
  }
  if (l.rank > 0) return l;
  l.rank = 1;
  l.shape[0] = l.count;
  for (int k = 0; k < N; k++) l.stride[k][0] = 1;
  return l;
}

/* Whether every view is rows that can be read `width` elements at a time: at most two
 * dimensions, the last without gaps. Addresses are the caller's to check. */
template <int N> static int has_vectors(const layout<N> &l, int width) {
  if (l.rank > 2 || l.shape[l.rank - 1] % width != 0) return 0;
  for (int k = 0; k < N; k++)
    if (l.stride[k][l.rank - 1] != 1 || (l.rank == 2 && l.stride[k][0] % width != 0)) return 0;
  return 1;
}

/* ---- values whose dtype is known at run time ---- */

__device__ __forceinline__ float load_value(const void *data, uint32_t dtype, int64_t at) {
  if (dtype == TRAINER_F32) return ((const float *)data)[at];
  if (dtype == TRAINER_BF16) return to_f32(((const bf16 *)data)[at]);
  return to_f32(((const f16 *)data)[at]);
}

__device__ __forceinline__ void store_value(void *data, uint32_t dtype, int64_t at, float x) {
  if (dtype == TRAINER_F32) ((float *)data)[at] = x;
  else if (dtype == TRAINER_BF16) ((bf16 *)data)[at] = from_f32<bf16>(x);
  else ((f16 *)data)[at] = from_f32<f16>(x);
}

static inline int64_t float_bytes(uint32_t dtype) { return dtype == TRAINER_F32 ? 4 : 2; }

#endif
