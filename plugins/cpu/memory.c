/* memory.c - buffers: anonymous pages, zeroed by the kernel, counted against the limit. */
#include <stdlib.h>
#include <sys/mman.h>

#include "backend.h"

#define HUGE_PAGE ((uint64_t)2 << 20)

static void buffer_release(struct object *object) {
  struct buffer *buffer = (struct buffer *)object;
  munmap(buffer->base, buffer->bytes);
  meter_remove(&object->device->meter, buffer->bytes);
  free(buffer);
}

/* A referenced buffer, or NULL: then nothing has changed. */
static struct buffer *buffer_create(struct device *device, uint64_t bytes) {
  if (!meter_add(&device->meter, bytes)) return NULL;
  struct buffer *buffer = calloc(1, sizeof *buffer);
  void *base = buffer ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
  if (base == MAP_FAILED) {
    free(buffer);
    meter_cancel(&device->meter, bytes);
    return NULL;
  }
#if defined(MADV_HUGEPAGE)
  /* Fewer TLB misses; a kernel without huge pages refuses and nothing is lost. */
  if (bytes >= HUGE_PAGE) (void)madvise(base, bytes, MADV_HUGEPAGE);
#endif
  buffer->base = base;
  buffer->bytes = bytes;
  buffer->host = 1;
  object_init(&buffer->object, OBJECT_BUFFER, device, buffer_release);
  return buffer;
}

static int32_t buffer_alloc(struct device *device, const trainer_buffer_desc *desc, trainer_buffer *out, trainer_error *error) {
  if (desc->bytes == 0) return trainer_fail(error, TRAINER_INVALID, "a buffer needs at least one byte");
  if (desc->memory > TRAINER_MEMORY_STAGING)
    return trainer_fail(error, TRAINER_UNSUPPORTED, "there is no memory kind %u", (unsigned)desc->memory);
  uint64_t total = host_memory_total();
  struct buffer *buffer = desc->bytes <= total ? buffer_create(device, desc->bytes) : NULL;
  uint64_t handle = buffer ? handle_new(&buffer->object) : 0;
  if (!handle) {
    if (buffer) object_release(&buffer->object);
    return trainer_fail(error, TRAINER_OOM, "no room for a buffer of %llu bytes below the limit of %llu",
                        (unsigned long long)desc->bytes, (unsigned long long)(device->meter.limit < total ? device->meter.limit : total));
  }
  trainer_buffer own = {.handle = handle};
  if (desc->memory == TRAINER_MEMORY_STAGING) own.host_pointer = buffer->base;
  TRAINER_WRITE(out, own);
  return TRAINER_OK;
}

int32_t cpu_buffer_alloc(uint64_t handle, const trainer_buffer_desc *given, trainer_buffer *buffer, trainer_error *error) {
  trainer_buffer_desc desc;
  if (!TRAINER_READ(desc, given) || trainer_struct_size(buffer) < sizeof *buffer)
    return trainer_fail(error, TRAINER_INVALID, "the description or the result of buffer_alloc is missing or too small");
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  int32_t status = buffer_alloc(device, &desc, buffer, error);
  object_release(&device->object);
  return status;
}

int32_t cpu_buffer_free(uint64_t handle, uint64_t buffer, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct object *object = handle_take(buffer, OBJECT_BUFFER, device);
  object_release(object);
  object_release(&device->object);
  return object ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the buffer is not alive");
}
