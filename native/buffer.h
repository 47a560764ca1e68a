/* buffer.h - memory that the host names by a handle. */
#ifndef TRAINER_NATIVE_BUFFER_H
#define TRAINER_NATIVE_BUFFER_H

#include "device.h"

/* Memory of a device, or of the host as the device addresses it. */
struct buffer {
  struct object object;
  uint8_t *base;
  uint64_t bytes;
  uint64_t counted; /* of bytes, those in the device's meter: all or none */
  int staging;      /* the host uses it too */
};

int32_t buffer_alloc(uint64_t device, const trainer_buffer_desc *desc, trainer_buffer *buffer, trainer_error *error);
int32_t buffer_free(uint64_t device, uint64_t buffer, trainer_error *error);

#endif
