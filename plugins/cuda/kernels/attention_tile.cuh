/* attention_tile.cuh - what the attention kernels are made of: tiles of rows in shared
 * memory, and the two products of a warp's 16 rows with a tile.
 *
 * A warp keeps a result [16 x 8 n] as float acc[n][4], the accumulator of mma.m16n8k16:
 * lane 4 g + t holds rows g (acc[.][0..1]) and g + 8 (acc[.][2..3]), columns 8 n + 2 t
 * and 8 n + 2 t + 1. The f32 products keep the same layout, so kernels are written once. */
#ifndef TRAINER_CUDA_ATTENTION_TILE_CUH
#define TRAINER_CUDA_ATTENTION_TILE_CUH

#include "layout.cuh"

namespace {

constexpr int TILE_ROWS = 16; /* rows of a warp */

/* Elements from one row of a tile to the next: 16 bytes more than a row, so that eight
 * rows at one column lie in different banks. */
template <typename T, int D> constexpr int PITCH = D + 16 / (int)sizeof(T);

/* ---- loading ---- */

/* The rows of one head: positions `row` elements apart, features `step` apart. */
struct rows {
  const void *data;
  uint32_t dtype;
  int64_t row, step;
  int vectors; /* stored in the dtype that is multiplied, in aligned pieces of 16 bytes */
};

/* Positions [first, first + ROWS) into a tile; what is at or behind `limit`, or a feature
 * at or behind `width`, is 0. */
template <typename T, int D, int ROWS, int THREADS> __device__ void load_tile(T *tile, const rows &from, int first, int limit, int width) {
  constexpr int LANES = 16 / sizeof(T), PIECES = D / LANES;
  if (from.vectors) {
    for (int i = threadIdx.x; i < ROWS * PIECES; i += THREADS) {
      int r = i / PIECES, c = i % PIECES * LANES;
      bool zero = first + r >= limit || c >= width;
      const T *at = (const T *)from.data + (zero ? 0 : (first + r) * from.row + c);
      copy_async(tile + r * PITCH<T, D> + c, at, zero);
    }
  } else {
    for (int i = threadIdx.x; i < ROWS * D; i += THREADS) {
      int r = i / D, c = i % D;
      bool zero = first + r >= limit || c >= width;
      tile[r * PITCH<T, D> + c] = from_f32<T>(zero ? 0.0f : load_value(from.data, from.dtype, (first + r) * from.row + c * from.step));
    }
  }
}

/* ---- tensor cores ---- */

__device__ __forceinline__ void load_matrices(uint32_t (&m)[4], const void *shared) {
  uint32_t at = (uint32_t)__cvta_generic_to_shared(shared);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(at) : "memory");
}

__device__ __forceinline__ void load_matrices_turned(uint32_t (&m)[4], const void *shared) {
  uint32_t at = (uint32_t)__cvta_generic_to_shared(shared);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(at) : "memory");
}

__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bf16) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, f16) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Two values side by side, the first in the low half. */
__device__ __forceinline__ uint32_t pack(float low, float high, bf16) {
  __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<uint32_t *>(&pair);
}

__device__ __forceinline__ uint32_t pack(float low, float high, f16) {
  __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<uint32_t *>(&pair);
}

/* ---- products ---- */

/* acc += A B^T: A the 16 rows of this warp, B a tile of N rows, over D features. */
template <typename T, int N, int D> struct row_product {
  static __device__ __forceinline__ void add(float (&acc)[N / 8][4], const T *a, const T *b) {
    int lane = threadIdx.x % WARP;
    const T *a_at = a + lane % 16 * PITCH<T, D> + lane / 16 * 8;
    const T *b_at = b + (lane / 16 * 8 + lane % 8) * PITCH<T, D> + lane / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < D; k += 16) {
      uint32_t left[4], right[4];
      load_matrices(left, a_at + k);
#pragma unroll
      for (int n = 0; n < N; n += 16) {
        load_matrices(right, b_at + n * PITCH<T, D> + k);
        mma(acc[n / 8], left, right[0], right[1], T());
        mma(acc[n / 8 + 1], left, right[2], right[3], T());
      }
    }
  }
};

template <int N, int D> struct row_product<float, N, D> {
  static __device__ __forceinline__ void add(float (&acc)[N / 8][4], const float *a, const float *b) {
    int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll 1 /* long enough as it is */
    for (int k = 0; k < D; k += 4) {
      vec<float, 4> a0 = load_vec<float, 4>(a + g * PITCH<float, D> + k), a1 = load_vec<float, 4>(a + (g + 8) * PITCH<float, D> + k);
#pragma unroll
      for (int n = 0; n < N / 8; n++) {
        const float *at = b + (8 * n + 2 * t) * PITCH<float, D> + k;
        vec<float, 4> b0 = load_vec<float, 4>(at), b1 = load_vec<float, 4>(at + PITCH<float, D>);
#pragma unroll
        for (int e = 0; e < 4; e++) {
          acc[n][0] += a0.v[e] * b0.v[e];
          acc[n][1] += a0.v[e] * b1.v[e];
          acc[n][2] += a1.v[e] * b0.v[e];
          acc[n][3] += a1.v[e] * b1.v[e];
        }
      }
    }
  }
};

/* acc += P B: P [16 x N] of this warp, rounded to T, B columns [0, C) of a tile of N rows. */
template <typename T, int N, int D, int C> struct column_product {
  static __device__ __forceinline__ void add(float (&acc)[C / 8][4], const float (&p)[N / 8][4], const T *b) {
    int lane = threadIdx.x % WARP;
    const T *b_at = b + lane % 16 * PITCH<T, D> + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < N; k += 16) {
      const float(&low)[4] = p[k / 8], (&high)[4] = p[k / 8 + 1];
      uint32_t left[4] = {pack(low[0], low[1], T()), pack(low[2], low[3], T()), pack(high[0], high[1], T()), pack(high[2], high[3], T())};
#pragma unroll
      for (int c = 0; c < C; c += 16) {
        uint32_t right[4];
        load_matrices_turned(right, b_at + k * PITCH<T, D> + c);
        mma(acc[c / 8], left, right[0], right[1], T());
        mma(acc[c / 8 + 1], left, right[2], right[3], T());
      }
    }
  }
};

template <int N, int D, int C> struct column_product<float, N, D, C> {
  static __device__ __forceinline__ void add(float (&acc)[C / 8][4], const float (&p)[N / 8][4], const float *b) {
    int lane = threadIdx.x % WARP, t = lane % 4;
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
#pragma unroll 1
      for (int s = 0; s < 4; s++) { /* the lane of this row that has columns 8 j + 2 s and its neighbour */
        float q[4];
#pragma unroll
        for (int e = 0; e < 4; e++) q[e] = __shfl_sync(0xFFFFFFFFu, p[j][e], lane - t + s);
        const float *at = b + (8 * j + 2 * s) * PITCH<float, D> + 2 * t;
#pragma unroll
        for (int c = 0; c < C / 8; c++) {
          vec<float, 2> b0 = load_vec<float, 2>(at + 8 * c), b1 = load_vec<float, 2>(at + PITCH<float, D> + 8 * c);
          acc[c][0] += q[0] * b0.v[0] + q[1] * b1.v[0];
          acc[c][1] += q[0] * b0.v[1] + q[1] * b1.v[1];
          acc[c][2] += q[2] * b0.v[0] + q[3] * b1.v[0];
          acc[c][3] += q[2] * b0.v[1] + q[3] * b1.v[1];
        }
      }
    }
  }
};

/* Over the four lanes that share rows. */
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
  return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}

__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}

} // namespace

#endif
