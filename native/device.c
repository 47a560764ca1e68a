/* device.c - see device.h. */
#include "device.h"

#include "backend.h"

void device_init(struct device *device, uint64_t memory_limit, void (*release)(struct object *)) {
  object_init(&device->object, OBJECT_DEVICE, NULL, release);
  meter_init(&device->meter, memory_limit);
  timelines_init(&device->timelines);
}

void device_destroy(struct device *device) {
  timelines_destroy(&device->timelines);
  pthread_mutex_destroy(&device->meter.lock);
}

struct device *device_get(uint64_t handle, trainer_error *error) {
  struct device *device = (struct device *)handle_get(handle, OBJECT_DEVICE, NULL);
  if (!device) trainer_fail(error, TRAINER_STALE, "the device is not open");
  else (void)backend_enter(device, NULL);
  return device;
}

struct device *device_get_alive(uint64_t handle, int32_t *status, trainer_error *error) {
  struct device *device = (struct device *)handle_get(handle, OBJECT_DEVICE, NULL);
  *status = device ? backend_enter(device, error) : trainer_fail(error, TRAINER_STALE, "the device is not open");
  if (!*status) return device;
  if (device) object_release(&device->object);
  return NULL;
}

/* ---- entries ---- */

/* Ends everything the device still owns, then the device. */
static void device_end(struct device *device) {
  struct object *object;
  (void)backend_enter(device, NULL);
  while ((object = handle_take_any(device))) {
    if (object->kind == OBJECT_QUEUE) queue_stop((struct queue *)object);
    if (object->kind == OBJECT_TIMELINE) timeline_end(&device->timelines, (struct timeline *)object);
    object_release(object);
  }
  object_release(&device->object);
}

int32_t device_close(uint64_t handle, trainer_error *error) {
  struct device *device = (struct device *)handle_take(handle, OBJECT_DEVICE, NULL);
  if (!device) return trainer_fail(error, TRAINER_STALE, "the device is not open");
  device_end(device);
  return TRAINER_OK;
}

int32_t devices_shutdown(trainer_error *error) {
  (void)error;
  struct object *device;
  while ((device = handle_take_any(NULL))) device_end((struct device *)device);
  return TRAINER_OK;
}

int32_t device_stats(uint64_t handle, trainer_device_stats *stats, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  trainer_device_stats own = {0};
  meter_read(&device->meter, &own.memory_used, &own.memory_peak);
  object_release(&device->object);
  TRAINER_WRITE(stats, own);
  return TRAINER_OK;
}

/* Elements of the two arrays lie struct_size of their first one apart. */
static int32_t answer_all(const struct device *device, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error) {
  uint32_t asked = trainer_struct_size(queries), answered = trainer_struct_size(answers);
  if (count == 0) return TRAINER_OK;
  if (asked < 2 * sizeof(uint32_t) || answered < 2 * sizeof(uint32_t))
    return trainer_fail(error, TRAINER_INVALID, "the queries or the answers are missing or too small");
  for (uint32_t i = 0; i < count; i++) {
    trainer_op_query query;
    const char *at = (const char *)queries + (size_t)i * asked;
    char *to = (char *)answers + (size_t)i * answered;
    if (trainer_struct_size(at) != asked || trainer_struct_size(to) != answered)
      return trainer_fail(error, TRAINER_INVALID, "query or answer %u has another struct_size than the first", (unsigned)i);
    TRAINER_READ(query, at);
    trainer_op_answer own = backend_answer(device, &query);
    TRAINER_WRITE(to, own);
  }
  return TRAINER_OK;
}

int32_t query_ops(uint64_t handle, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  int32_t status = answer_all(device, queries, count, answers, error);
  object_release(&device->object);
  return status;
}

int32_t device_drop(uint64_t handle, uint64_t dropped, enum object_kind kind, const char *what, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct object *object = handle_take(dropped, kind, device);
  object_release(object);
  object_release(&device->object);
  return object ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the %s is not alive", what);
}
