/* device.cu - memory and a first kernel in CUDA. Managed memory is seen by host and device:
 * good for the first day. For speed give DEVICE buffers cudaMalloc, STAGING ones
 * cudaHostAlloc, a queue a stream, and let copy work between the two. */
#include "device.h"

#include <cstdio>
#include <cuda_runtime.h>

int device_present(char *text, uint64_t text_bytes) {
  int n = 0;
  cudaError_t status = cudaGetDeviceCount(&n);
  if (status == cudaSuccess && n > 0) return 1;
  snprintf(text, text_bytes, "no CUDA device: %s; install the NVIDIA driver", cudaGetErrorString(status));
  return 0;
}

void *memory_new(uint64_t bytes) {
  void *base = nullptr;
  if (cudaMallocManaged(&base, bytes) != cudaSuccess) {
    (void)cudaGetLastError(); /* or the next call reports it again */
    return nullptr;
  }
  cudaMemset(base, 0, bytes);
  cudaDeviceSynchronize();
  return base;
}

void memory_end(void *base) { cudaFree(base); }

static __global__ void fill(float *dst, int64_t n, float value) {
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) dst[i] = value;
}

int device_fill(float *dst, int64_t n, float value) {
  if (n == 0) return 1;
  fill<<<(unsigned)((n + 255) / 256), 256>>>(dst, n, value);
  return cudaGetLastError() == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess;
}
