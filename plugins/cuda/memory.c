/* memory.c - buffers: device memory, or pinned host memory that the device addresses too.
 * All begin zeroed. */
#include <stdlib.h>
#include <unistd.h>

#include "backend.h"

#define PARAMS_BLOCK 4096u

/* ---- buffers ---- */

static uint64_t host_memory(void) {
  long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
}

static cudaError_t obtain(struct buffer *buffer) {
  cudaStream_t stream = cuda_of(buffer->object.device)->stream;
  void *base = NULL;
  cudaError_t code = cudaErrorMemoryAllocation;
  if (!buffer->staging) {
    code = cudaMalloc(&base, buffer->bytes);
    if (!code) code = cudaMemsetAsync(base, 0, buffer->bytes, stream);
    if (!code) code = cudaStreamSynchronize(stream);
    if (code && base) (void)cudaFree(base);
  } else if (buffer->bytes <= host_memory()) {
    code = cudaHostAlloc(&base, buffer->bytes, cudaHostAllocPortable | cudaHostAllocMapped);
    if (!code) memset(base, 0, buffer->bytes);
  }
  buffer->base = code ? NULL : base;
  return code;
}

int32_t backend_buffer_open(struct buffer *buffer, trainer_error *error) {
  char doing[96];
  cudaError_t code = obtain(buffer);
  if (!code) return TRAINER_OK;
  snprintf(doing, sizeof doing, "allocating a buffer of %llu bytes", (unsigned long long)buffer->bytes);
  return cuda_fail(buffer->object.device, code, doing, error);
}

void backend_buffer_close(struct buffer *buffer) {
  (void)cuda_status(buffer->object.device, buffer->staging ? cudaFreeHost(buffer->base) : cudaFree(buffer->base));
}

void *backend_host_new(struct device *device, uint64_t bytes) {
  void *memory = NULL;
  return cuda_status(device, cudaMallocHost(&memory, bytes)) ? NULL : memory;
}

void backend_host_end(struct device *device, void *memory) { (void)cuda_status(device, cudaFreeHost(memory)); }

/* ---- params blocks ---- */

struct params_block *params_take(struct cuda_device *device, uint64_t bytes) {
  pthread_mutex_lock(&device->params_lock);
  struct params_block **at = &device->params_free;
  while (*at && (*at)->bytes < bytes) at = &(*at)->next;
  struct params_block *block = *at;
  if (block) *at = block->next;
  pthread_mutex_unlock(&device->params_lock);
  if (block) return block;
  block = calloc(1, sizeof *block);
  if (!block) return NULL;
  block->bytes = (bytes + PARAMS_BLOCK - 1) / PARAMS_BLOCK * PARAMS_BLOCK;
  if (!cuda_status(&device->device, cudaMalloc(&block->data, block->bytes))) return block;
  free(block);
  return NULL;
}

void params_give(struct cuda_device *device, struct params_block *block) {
  if (!block) return;
  pthread_mutex_lock(&device->params_lock);
  block->next = device->params_free;
  device->params_free = block;
  pthread_mutex_unlock(&device->params_lock);
}

void params_free_all(struct cuda_device *device) {
  struct params_block *block;
  while ((block = device->params_free)) {
    device->params_free = block->next;
    (void)cudaFree(block->data);
    free(block);
  }
}
