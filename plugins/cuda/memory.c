/* memory.c - buffers: device memory, or pinned host memory that the device addresses too.
 * All begin zeroed. Device memory is counted, and held against the limit. */
#include <stdlib.h>
#include <unistd.h>

#include "backend.h"

#define PARAMS_BLOCK 4096u

/* ---- buffers ---- */

static void buffer_release(struct object *object) {
  struct buffer *buffer = (struct buffer *)object;
  (void)cuda_status(object->device, buffer->host ? cudaFreeHost(buffer->base) : cudaFree(buffer->base));
  if (!buffer->host) meter_remove(&object->device->meter, buffer->bytes);
  free(buffer);
}

static uint64_t host_memory(void) {
  long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
}

static cudaError_t obtain(struct device *device, struct buffer *buffer) {
  void *base = NULL;
  cudaError_t code = cudaErrorMemoryAllocation;
  if (!buffer->host) {
    code = cudaMalloc(&base, buffer->bytes);
    if (!code) code = cudaMemsetAsync(base, 0, buffer->bytes, device->stream);
    if (!code) code = cudaStreamSynchronize(device->stream);
    if (code && base) (void)cudaFree(base);
  } else if (buffer->bytes <= host_memory()) {
    code = cudaHostAlloc(&base, buffer->bytes, cudaHostAllocPortable | cudaHostAllocMapped);
    if (!code) memset(base, 0, buffer->bytes);
  }
  buffer->base = base;
  return code;
}

/* Nothing has changed where it fails. */
static int32_t buffer_create(struct device *device, const trainer_buffer_desc *desc, struct buffer **out, trainer_error *error) {
  uint64_t bytes = desc->bytes, counted = desc->memory == TRAINER_MEMORY_STAGING ? 0 : bytes;
  if (!meter_add(&device->meter, counted))
    return trainer_fail(error, TRAINER_OOM, "no room for a buffer of %llu bytes below the limit of %llu", (unsigned long long)bytes,
                        (unsigned long long)device->meter.limit);
  struct buffer *buffer = calloc(1, sizeof *buffer);
  if (buffer) *buffer = (struct buffer){.bytes = bytes, .host = desc->memory == TRAINER_MEMORY_STAGING};
  cudaError_t code = buffer ? obtain(device, buffer) : cudaErrorMemoryAllocation;
  if (code) {
    char doing[96];
    snprintf(doing, sizeof doing, "allocating a buffer of %llu bytes", (unsigned long long)bytes);
    free(buffer);
    meter_cancel(&device->meter, counted);
    return cuda_fail(device, code, doing, error);
  }
  object_init(&buffer->object, OBJECT_BUFFER, device, buffer_release);
  *out = buffer;
  return TRAINER_OK;
}

static int32_t buffer_alloc(struct device *device, const trainer_buffer_desc *desc, trainer_buffer *out, trainer_error *error) {
  struct buffer *buffer = NULL;
  if (desc->bytes == 0) return trainer_fail(error, TRAINER_INVALID, "a buffer needs at least one byte");
  if (desc->memory > TRAINER_MEMORY_STAGING)
    return trainer_fail(error, TRAINER_UNSUPPORTED, "there is no memory kind %u", (unsigned)desc->memory);
  int32_t status = buffer_create(device, desc, &buffer, error);
  if (status) return status;
  trainer_buffer own = {.handle = handle_new(&buffer->object), .host_pointer = buffer->host ? buffer->base : NULL};
  if (!own.handle) {
    object_release(&buffer->object);
    return trainer_fail(error, TRAINER_OOM, "no memory for a handle");
  }
  TRAINER_WRITE(out, own);
  return TRAINER_OK;
}

int32_t cuda_buffer_alloc(uint64_t handle, const trainer_buffer_desc *given, trainer_buffer *buffer, trainer_error *error) {
  trainer_buffer_desc desc;
  int32_t status;
  if (!TRAINER_READ(desc, given) || trainer_struct_size(buffer) < sizeof *buffer)
    return trainer_fail(error, TRAINER_INVALID, "the description or the result of buffer_alloc is missing or too small");
  struct device *device = device_get_alive(handle, &status, error);
  if (!device) return status;
  status = buffer_alloc(device, &desc, buffer, error);
  object_release(&device->object);
  return status;
}

int32_t cuda_buffer_free(uint64_t handle, uint64_t buffer, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct object *object = handle_take(buffer, OBJECT_BUFFER, device);
  object_release(object);
  object_release(&device->object);
  return object ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the buffer is not alive");
}

/* ---- params blocks ---- */

struct params_block *params_take(struct device *device, uint64_t bytes) {
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
  if (!cuda_status(device, cudaMalloc(&block->data, block->bytes))) return block;
  free(block);
  return NULL;
}

void params_give(struct device *device, struct params_block *block) {
  if (!block) return;
  pthread_mutex_lock(&device->params_lock);
  block->next = device->params_free;
  device->params_free = block;
  pthread_mutex_unlock(&device->params_lock);
}

void params_free_all(struct device *device) {
  struct params_block *block;
  while ((block = device->params_free)) {
    device->params_free = block->next;
    (void)cudaFree(block->data);
    free(block);
  }
}
