/* handle.h - counted objects and the handles through which the host names them.
 *
 * Every object is counted: its handle holds one reference, submitted work others. A
 * freed buffer, plan or timeline that work still uses disappears when the work ends.
 */
#ifndef TRAINER_NATIVE_HANDLE_H
#define TRAINER_NATIVE_HANDLE_H

#include <stdatomic.h>
#include <stdint.h>

#include "entry.h"

enum object_kind { OBJECT_DEVICE = 1, OBJECT_BUFFER, OBJECT_QUEUE, OBJECT_TIMELINE, OBJECT_PROGRAM };

struct device; /* begins with its struct object */

struct object {
  enum object_kind kind;
  _Atomic uint32_t references;
  struct device *device; /* referenced; NULL for a device itself */
  void (*release)(struct object *object); /* frees the object; its last reference is gone */
};

void object_init(struct object *object, enum object_kind kind, struct device *device, void (*release)(struct object *));
void object_retain(struct object *object);
void object_release(struct object *object); /* NULL is allowed */

/* Publishes an object; the handle takes over the caller's reference. 0: out of memory. */
uint64_t handle_new(struct object *object);
/* The object with one more reference, or NULL when the handle is stale or of another
 * kind or device. */
struct object *handle_get(uint64_t handle, enum object_kind kind, const struct device *device);
/* As handle_get, and ends the handle: the caller gets its reference instead. */
struct object *handle_take(uint64_t handle, enum object_kind kind, const struct device *device);
/* Ends one handle of the device, any kind, or NULL when it has none. */
struct object *handle_take_any(const struct device *device);

#endif
