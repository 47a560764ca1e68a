/* timeline.c - timelines as the host sees them; queue.c moves them. */
#include <stdlib.h>

#include "backend.h"

static void timeline_release(struct object *object) { free(object); }

int32_t cpu_timeline_create(uint64_t handle, uint64_t value, uint64_t *out, trainer_error *error) {
  if (!out) return trainer_fail(error, TRAINER_INVALID, "the result of timeline_create is missing");
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct timeline *timeline = calloc(1, sizeof *timeline);
  uint64_t made = 0;
  if (timeline) {
    object_init(&timeline->object, OBJECT_TIMELINE, device, timeline_release);
    timeline->value = timeline->promised = value;
    made = handle_new(&timeline->object);
    if (made) *out = made;
    else object_release(&timeline->object);
  }
  object_release(&device->object);
  return made ? TRAINER_OK : trainer_fail(error, TRAINER_OOM, "no memory for a timeline");
}

int32_t cpu_timeline_destroy(uint64_t handle, uint64_t timeline, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct timeline *ended = (struct timeline *)handle_take(timeline, OBJECT_TIMELINE, device);
  if (ended) {
    pthread_mutex_lock(&device->timeline_lock);
    ended->destroyed = 1;
    pthread_cond_broadcast(&device->timeline_moved);
    pthread_mutex_unlock(&device->timeline_lock);
    object_release(&ended->object);
  }
  object_release(&device->object);
  return ended ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the timeline is not alive");
}

/* The state of a timeline against a value; with the lock held. BUSY: not reached yet. A
 * value once reached stays reached, whatever fails later. */
static int32_t state(const struct timeline *timeline, uint64_t value, trainer_error *error) {
  if (timeline->value >= value) return TRAINER_OK;
  if (timeline->destroyed) return trainer_fail(error, TRAINER_STALE, "the timeline was destroyed");
  if (timeline->status == TRAINER_OK) return TRAINER_BUSY;
  return trainer_fail_at(error, timeline->status, timeline->list_serial, timeline->record_index,
                         "work that was to move the timeline failed or was cancelled");
}

int32_t cpu_timeline_read(uint64_t handle, uint64_t timeline, uint64_t *value, trainer_error *error) {
  if (!value) return trainer_fail(error, TRAINER_INVALID, "the result of timeline_read is missing");
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct timeline *found = (struct timeline *)handle_get(timeline, OBJECT_TIMELINE, device);
  int32_t status = TRAINER_STALE;
  if (found) {
    pthread_mutex_lock(&device->timeline_lock);
    *value = found->value;
    status = found->status ? state(found, UINT64_MAX, error) : TRAINER_OK;
    pthread_mutex_unlock(&device->timeline_lock);
    object_release(&found->object);
  } else {
    trainer_fail(error, TRAINER_STALE, "the timeline is not alive");
  }
  object_release(&device->object);
  return status;
}

static int32_t wait_for(struct device *device, const struct timeline *timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error) {
  const uint64_t century = 3155760000ull * 1000000000ull;
  uint64_t deadline = host_now() + (timeout_ns < century ? timeout_ns : century);
  pthread_mutex_lock(&device->timeline_lock);
  int32_t status = state(timeline, value, error);
  while (status == TRAINER_BUSY) {
    int late = host_now() >= deadline;
    if (late) break;
    host_cond_wait_until(&device->timeline_moved, &device->timeline_lock, deadline);
    status = state(timeline, value, error);
  }
  pthread_mutex_unlock(&device->timeline_lock);
  if (status == TRAINER_BUSY)
    return trainer_fail(error, TRAINER_TIMEOUT, "the timeline did not reach %llu in %llu ns", (unsigned long long)value,
                        (unsigned long long)timeout_ns);
  return status;
}

int32_t cpu_timeline_wait(uint64_t handle, uint64_t timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct timeline *found = (struct timeline *)handle_get(timeline, OBJECT_TIMELINE, device);
  int32_t status = found ? wait_for(device, found, value, timeout_ns, error)
                         : trainer_fail(error, TRAINER_STALE, "the timeline is not alive");
  if (found) object_release(&found->object);
  object_release(&device->object);
  return status;
}
