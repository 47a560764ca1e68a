/* buffer.c - see buffer.h. */
#include "buffer.h"

#include <stdlib.h>

#include "backend.h"

static void buffer_release(struct object *object) {
  struct buffer *buffer = (struct buffer *)object;
  if (buffer->base) backend_buffer_close(buffer);
  meter_remove(&object->device->meter, buffer->counted);
  free(buffer);
}

/* A referenced buffer; nothing has changed where it fails. */
static int32_t buffer_create(struct device *device, const trainer_buffer_desc *desc, struct buffer **out, trainer_error *error) {
  int staging = desc->memory == TRAINER_MEMORY_STAGING;
  uint64_t counted = staging && !device->unified ? 0 : desc->bytes;
  if (!meter_add(&device->meter, counted))
    return trainer_fail(error, TRAINER_OOM, "no room for a buffer of %llu bytes below the limit of %llu", (unsigned long long)desc->bytes,
                        (unsigned long long)device->meter.limit);
  struct buffer *buffer = calloc(1, sizeof *buffer);
  int32_t status = buffer ? TRAINER_OK : trainer_fail(error, TRAINER_OOM, "no memory for a buffer");
  if (buffer) {
    *buffer = (struct buffer){.bytes = desc->bytes, .staging = staging};
    object_init(&buffer->object, OBJECT_BUFFER, device, buffer_release);
    status = backend_buffer_open(buffer, error);
  }
  if (!status) {
    buffer->counted = counted;
    *out = buffer;
    return TRAINER_OK;
  }
  meter_cancel(&device->meter, counted);
  if (buffer) object_release(&buffer->object);
  return status;
}

static int32_t buffer_publish(struct device *device, const trainer_buffer_desc *desc, trainer_buffer *out, trainer_error *error) {
  struct buffer *buffer = NULL;
  if (desc->bytes == 0) return trainer_fail(error, TRAINER_INVALID, "a buffer needs at least one byte");
  if (desc->memory > TRAINER_MEMORY_STAGING)
    return trainer_fail(error, TRAINER_UNSUPPORTED, "there is no memory kind %u", (unsigned)desc->memory);
  int32_t status = buffer_create(device, desc, &buffer, error);
  if (status) return status;
  trainer_buffer own = {.handle = handle_new(&buffer->object), .host_pointer = buffer->staging ? buffer->base : NULL};
  if (!own.handle) {
    object_release(&buffer->object);
    return trainer_fail(error, TRAINER_OOM, "no memory for a handle");
  }
  TRAINER_WRITE(out, own);
  return TRAINER_OK;
}

int32_t buffer_alloc(uint64_t handle, const trainer_buffer_desc *given, trainer_buffer *buffer, trainer_error *error) {
  trainer_buffer_desc desc;
  int32_t status;
  if (!TRAINER_READ(desc, given) || trainer_struct_size(buffer) < sizeof *buffer)
    return trainer_fail(error, TRAINER_INVALID, "the description or the result of buffer_alloc is missing or too small");
  struct device *device = device_get_alive(handle, &status, error);
  if (!device) return status;
  status = buffer_publish(device, &desc, buffer, error);
  object_release(&device->object);
  return status;
}

int32_t buffer_free(uint64_t device, uint64_t buffer, trainer_error *error) { return device_drop(device, buffer, OBJECT_BUFFER, "buffer", error); }
