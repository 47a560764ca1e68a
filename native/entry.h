/* entry.h - what every backend needs at its entry points: structs read and written by
 * their struct_size, and error texts. */
#ifndef TRAINER_NATIVE_ENTRY_H
#define TRAINER_NATIVE_ENTRY_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../core/abi/trainer_backend.h"

#define TRAINER_NO_RECORD 0xFFFFFFFFu

/* struct_size of a struct of the border, which may lie at any address; 0 for NULL. */
static inline uint32_t trainer_struct_size(const void *given) {
  uint32_t size = 0;
  if (given) memcpy(&size, given, sizeof size);
  return size;
}

/* Reads a struct the caller may know in a longer or shorter version: the fields it does
 * not give are zero. 0 when the pointer or its struct_size is unusable. */
static inline int trainer_read_struct(void *own, uint32_t own_size, const void *given) {
  uint32_t size = trainer_struct_size(given);
  if (size < 2 * sizeof(uint32_t)) return 0;
  memset(own, 0, own_size);
  memcpy(own, given, size < own_size ? size : own_size);
  return 1;
}

/* Writes a struct back: as much as the caller has room for, its struct_size left alone. */
static inline void trainer_write_struct(void *given, const void *own, uint32_t own_size) {
  uint32_t size = trainer_struct_size(given);
  if (size > own_size) size = own_size;
  if (size <= sizeof size) return;
  memcpy((char *)given + sizeof size, (const char *)own + sizeof size, size - sizeof size);
}

#define TRAINER_READ(own, given) trainer_read_struct(&(own), (uint32_t)sizeof(own), given)
#define TRAINER_WRITE(given, own) trainer_write_struct(given, &(own), (uint32_t)sizeof(own))

/* Fills the caller's error, if there is one, and returns status. */
static inline int32_t trainer_fail_at(trainer_error *error, int32_t status, uint64_t serial, uint32_t record, const char *text) {
  trainer_error own = {.status = status, .list_serial = serial, .record_index = record};
  uint32_t size = trainer_struct_size(error);
  uint32_t head = (uint32_t)offsetof(trainer_error, text);
  snprintf(own.text, sizeof own.text, "%s", text);
  /* A caller with less room for text still gets it NUL-terminated. */
  if (size > head && size < sizeof own) own.text[size - head - 1] = 0;
  TRAINER_WRITE(error, own);
  return status;
}

__attribute__((format(printf, 3, 4)))
static inline int32_t trainer_fail(trainer_error *error, int32_t status, const char *format, ...) {
  char text[sizeof((trainer_error *)0)->text];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return trainer_fail_at(error, status, 0, TRAINER_NO_RECORD, text);
}

/* The whole of trainer_backend_query_v1 but for the table: agrees on a version and
 * fills the reply. */
static inline int32_t trainer_answer_query(const trainer_host_info *given, trainer_reply *reply, const trainer_backend_table *table) {
  trainer_host_info host;
  trainer_reply own = {.abi_major = TRAINER_ABI_MAJOR, .abi_minor = TRAINER_ABI_MINOR};
  own.error.struct_size = sizeof own.error;
  int32_t status = TRAINER_OK;
  if (trainer_struct_size(reply) < offsetof(trainer_reply, error)) return TRAINER_INVALID;
  if (!TRAINER_READ(host, given)) {
    status = trainer_fail(&own.error, TRAINER_INVALID, "host_info is missing or its struct_size is too small");
  } else if (host.abi_major != TRAINER_ABI_MAJOR) {
    status = trainer_fail(&own.error, TRAINER_UNSUPPORTED, "the host speaks ABI %u, this backend ABI %u",
                          (unsigned)host.abi_major, (unsigned)TRAINER_ABI_MAJOR);
  } else {
    if (host.abi_minor < own.abi_minor) own.abi_minor = host.abi_minor;
    own.table = table;
  }
  TRAINER_WRITE(reply, own);
  return status;
}

#endif
