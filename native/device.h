/* device.h - an open device as every backend has it, and the entries that need no more. */
#ifndef TRAINER_NATIVE_DEVICE_H
#define TRAINER_NATIVE_DEVICE_H

#include "handle.h"
#include "meter.h"
#include "timeline.h"

struct device {
  struct object object;
  struct meter meter;
  struct timelines timelines;
  uint32_t alignment; /* of workspaces, in bytes */
  int unified;        /* staging memory is the device's own: it counts */
};

/* release frees the backend's struct, after device_destroy. */
void device_init(struct device *device, uint64_t memory_limit, void (*release)(struct object *));
void device_destroy(struct device *device);

/* The open device behind a handle, referenced and entered; NULL with STALE in error. A lost
 * device still gives back what it holds. */
struct device *device_get(uint64_t handle, trainer_error *error);
/* As device_get, but NULL for a lost device too; *status says which. */
struct device *device_get_alive(uint64_t handle, int32_t *status, trainer_error *error);

/* Entries of the border. */
int32_t device_close(uint64_t device, trainer_error *error);
int32_t device_stats(uint64_t device, trainer_device_stats *stats, trainer_error *error);
int32_t devices_shutdown(trainer_error *error);
int32_t query_ops(uint64_t device, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error);

/* Ends the handle of an object of the device; STALE where there is none. `what` names it. */
int32_t device_drop(uint64_t device, uint64_t handle, enum object_kind kind, const char *what, trainer_error *error);

#endif
