/* device.cuh - what kernels share: stored floats as f32, 16-byte vectors, sums over warps
 * and blocks, dispatch on dtypes, launches. Arithmetic is f32 whatever is stored. */
#ifndef TRAINER_CUDA_DEVICE_CUH
#define TRAINER_CUDA_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include "../kernel.h"
#include "families.h" /* gives `const struct kernel kernel_FAMILY` its linkage */

typedef __nv_bfloat16 bf16;
typedef __half f16;

#define WARP 32

/* ---- stored values ---- */

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_f32(f16 x) { return __half2float(x); }

/* Rounds to nearest even. */
template <typename T> __device__ __forceinline__ T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ f16 from_f32<f16>(float x) { return __float2half_rn(x); }

/* N values that are read and written in one access of up to 16 bytes. */
template <typename T, int N> struct alignas(sizeof(T) * N) vec { T v[N]; };

template <typename T, int N> __device__ __forceinline__ vec<T, N> load_vec(const T *at) {
  return *reinterpret_cast<const vec<T, N> *>(at);
}
template <typename T, int N> __device__ __forceinline__ void store_vec(T *at, const vec<T, N> &x) {
  *reinterpret_cast<vec<T, N> *>(at) = x;
}

/* ---- copies to shared memory that a thread does not wait for ---- */

/* Copies 16 bytes, or writes 16 zero bytes. */
__device__ __forceinline__ void copy_async(void *shared, const void *global, bool zero = false) {
  uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
  int bytes = zero ? 0 : 16;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
}

/* Waits for every copy of this thread; a barrier must follow before others read. */
__device__ __forceinline__ void wait_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/* ---- sums; every lane, or every thread, gets the result; the order is fixed ---- */

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int lane = WARP / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, lane);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int lane = WARP / 2; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, lane));
  return x;
}

/* Sum over a one-dimensional block of whole warps. shared: WARP floats, free to reuse
 * after the next barrier. */
__device__ __forceinline__ float block_sum(float x, float *shared) {
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  x = warp_sum(x);
  if (warps == 1) return x;
  if (lane == 0) shared[warp] = x;
  __syncthreads();
  x = warp_sum(lane < warps ? shared[lane] : 0.0f);
  __syncthreads();
  return x;
}

/* ---- host side ---- */

static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Blocks for n pieces of work in a grid-stride loop: enough to fill the device. */
static inline unsigned grid_of(const struct gpu *gpu, int64_t n, int per_block) {
  int64_t blocks = divide_up(n, per_block), most = (int64_t)gpu->multiprocessors * 16;
  return (unsigned)(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

/* All addresses divide by 16: fit for vector accesses from the first element on. */
static inline int is_aligned16(const void *a, const void *b = nullptr, const void *c = nullptr) {
  return ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 16 == 0;
}

/* TRAINER_OK, or what the launches before it went wrong with. */
static inline int32_t launched(char *text, uint64_t bytes) {
  cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return TRAINER_OK;
  snprintf(text, bytes, "the launch failed: %s", cudaGetErrorString(error));
  return error == cudaErrorMemoryAllocation ? TRAINER_OOM : TRAINER_INTERNAL;
}

/* Runs the body with T the type of a float dtype. The body is an expression statement. */
#define WITH_FLOAT(T, dtype, ...)                                  \
  do {                                                             \
    if ((dtype) == TRAINER_F32) { typedef float T; __VA_ARGS__; }  \
    else if ((dtype) == TRAINER_BF16) { typedef bf16 T; __VA_ARGS__; } \
    else { typedef f16 T; __VA_ARGS__; }                           \
  } while (0)

#endif
