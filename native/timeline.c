/* timeline.c - see timeline.h. */
#include "timeline.h"

#include <stdlib.h>

#include "device.h"

void timelines_init(struct timelines *timelines) {
  pthread_mutex_init(&timelines->lock, NULL);
  host_cond_init(&timelines->moved);
}

void timelines_destroy(struct timelines *timelines) {
  pthread_mutex_destroy(&timelines->lock);
  pthread_cond_destroy(&timelines->moved);
}

/* ---- points ---- */

uint32_t points_take(struct device *device, struct point *points, const trainer_timeline_point *given, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    struct object *timeline = handle_get(given[i].timeline, OBJECT_TIMELINE, device);
    if (!timeline) return i;
    points[i] = (struct point){.timeline = (struct timeline *)timeline, .value = given[i].value};
  }
  return n;
}

void points_drop(const struct point *points, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) object_release(&points[i].timeline->object);
}

int points_promise(struct timelines *timelines, const struct point *signals, uint32_t n) {
  int ok = 1;
  pthread_mutex_lock(&timelines->lock);
  for (uint32_t i = 0; i < n; i++) ok = ok && signals[i].value > signals[i].timeline->promised;
  for (uint32_t i = 0; ok && i < n; i++) signals[i].timeline->promised = signals[i].value;
  pthread_mutex_unlock(&timelines->lock);
  return ok;
}

void points_announce(struct timelines *timelines, struct point *signals, uint32_t n, const struct job *job) {
  pthread_mutex_lock(&timelines->lock);
  for (uint32_t i = 0; i < n; i++) {
    signals[i].job = job;
    signals[i].next = signals[i].timeline->enqueued;
    signals[i].timeline->enqueued = &signals[i];
  }
  pthread_cond_broadcast(&timelines->moved);
  pthread_mutex_unlock(&timelines->lock);
}

const struct job *timeline_reaching(const struct timeline *timeline, uint64_t value) {
  const struct point *best = NULL;
  for (const struct point *at = timeline->enqueued; at; at = at->next)
    if (at->value >= value && (!best || at->value < best->value)) best = at;
  return best ? best->job : NULL;
}

/* Takes back an announcement, if there was one; with the lock held. */
static void withdraw(const struct point *signal) {
  struct point **at = &signal->timeline->enqueued;
  while (*at && *at != signal) at = &(*at)->next;
  if (*at) *at = signal->next;
}

void points_settle(struct timelines *timelines, const struct point *signals, uint32_t n, const struct failure *failure) {
  pthread_mutex_lock(&timelines->lock);
  for (uint32_t i = 0; i < n; i++) {
    struct timeline *timeline = signals[i].timeline;
    withdraw(&signals[i]);
    if (!failure->status && timeline->value < signals[i].value) timeline->value = signals[i].value;
    if (failure->status && !timeline->failure.status) timeline->failure = *failure;
  }
  pthread_cond_broadcast(&timelines->moved);
  pthread_mutex_unlock(&timelines->lock);
}

/* ---- entries ---- */

static void timeline_release(struct object *object) { free(object); }

int32_t timeline_create(uint64_t handle, uint64_t value, uint64_t *out, trainer_error *error) {
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

void timeline_end(struct timelines *timelines, struct timeline *timeline) {
  pthread_mutex_lock(&timelines->lock);
  timeline->destroyed = 1;
  pthread_cond_broadcast(&timelines->moved);
  pthread_mutex_unlock(&timelines->lock);
}

int32_t timeline_destroy(uint64_t handle, uint64_t timeline, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct timeline *ended = (struct timeline *)handle_take(timeline, OBJECT_TIMELINE, device);
  if (ended) {
    timeline_end(&device->timelines, ended);
    object_release(&ended->object);
  }
  object_release(&device->object);
  return ended ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the timeline is not alive");
}

/* The state of a timeline against a value; with the lock held. BUSY: not reached yet. A
 * value once reached stays reached, whatever fails later. */
static int32_t state(const struct timeline *timeline, uint64_t value, trainer_error *error) {
  const struct failure *failure = &timeline->failure;
  if (timeline->value >= value) return TRAINER_OK;
  if (timeline->destroyed) return trainer_fail(error, TRAINER_STALE, "the timeline was destroyed");
  if (failure->status == TRAINER_OK) return TRAINER_BUSY;
  return trainer_fail_at(error, failure->status, failure->serial, failure->record,
                         failure->text[0] ? failure->text : "work that was to move the timeline failed or was cancelled");
}

int32_t timeline_read(uint64_t handle, uint64_t timeline, uint64_t *value, trainer_error *error) {
  if (!value) return trainer_fail(error, TRAINER_INVALID, "the result of timeline_read is missing");
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct timeline *found = (struct timeline *)handle_get(timeline, OBJECT_TIMELINE, device);
  int32_t status = TRAINER_STALE;
  if (found) {
    struct timelines *timelines = &device->timelines;
    pthread_mutex_lock(&timelines->lock);
    *value = found->value;
    status = found->failure.status ? state(found, UINT64_MAX, error) : TRAINER_OK;
    pthread_mutex_unlock(&timelines->lock);
    object_release(&found->object);
  } else {
    trainer_fail(error, TRAINER_STALE, "the timeline is not alive");
  }
  object_release(&device->object);
  return status;
}

static int32_t wait_for(struct timelines *timelines, const struct timeline *timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error) {
  const uint64_t century = 3155760000ull * 1000000000ull;
  uint64_t deadline = host_now() + (timeout_ns < century ? timeout_ns : century);
  pthread_mutex_lock(&timelines->lock);
  int32_t status = state(timeline, value, error);
  while (status == TRAINER_BUSY) {
    int late = host_now() >= deadline;
    if (late) break;
    host_cond_wait_until(&timelines->moved, &timelines->lock, deadline);
    status = state(timeline, value, error);
  }
  pthread_mutex_unlock(&timelines->lock);
  if (status == TRAINER_BUSY)
    return trainer_fail(error, TRAINER_TIMEOUT, "the timeline did not reach %llu in %llu ns", (unsigned long long)value,
                        (unsigned long long)timeout_ns);
  return status;
}

int32_t timeline_wait(uint64_t handle, uint64_t timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct timeline *found = (struct timeline *)handle_get(timeline, OBJECT_TIMELINE, device);
  int32_t status = found ? wait_for(&device->timelines, found, value, timeout_ns, error)
                         : trainer_fail(error, TRAINER_STALE, "the timeline is not alive");
  if (found) object_release(&found->object);
  object_release(&device->object);
  return status;
}
