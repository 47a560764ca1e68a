/* timeline.h - timelines as the host sees them: created, read and waited for. The queues
 * of a backend move them. All fields are guarded by the device's one lock: waits are few. */
#ifndef TRAINER_NATIVE_TIMELINE_H
#define TRAINER_NATIVE_TIMELINE_H

#include "handle.h"
#include "thread.h"

struct job; /* queue.h */

struct timelines {
  pthread_mutex_t lock;
  pthread_cond_t moved;
};

void timelines_init(struct timelines *timelines);
void timelines_destroy(struct timelines *timelines);

/* Why work did not happen. status TRAINER_OK: it did. */
struct failure {
  int32_t status;
  uint32_t record; /* TRAINER_NO_RECORD: not known */
  uint64_t serial;
  char text[512]; /* as trainer_error's */
};

struct timeline {
  struct object object;
  uint64_t value;
  uint64_t promised; /* the highest value a submit will signal */
  int destroyed;
  struct failure failure; /* failed for good, unless its status is OK */
  struct point *enqueued; /* points that work already with the device will reach */
};

/* A timeline and a value a submit waits for or signals. */
struct point {
  struct timeline *timeline; /* referenced */
  uint64_t value;
  struct point *next;    /* in timeline->enqueued */
  const struct job *job; /* what will reach the point */
};

/* References the timelines of n points; how many it found. */
uint32_t points_take(struct device *device, struct point *points, const trainer_timeline_point *given, uint32_t n);
void points_drop(const struct point *points, uint32_t n);
/* Promises the signals' values; 0 when one is not higher than what was promised before. */
int points_promise(struct timelines *timelines, const struct point *signals, uint32_t n);
/* Announces that the job, which is with the device, will reach its signals, and wakes who waits. */
void points_announce(struct timelines *timelines, struct point *signals, uint32_t n, const struct job *job);
/* The job that will take a timeline to a value or beyond, the earliest that is announced; NULL:
 * none. With the lock held. */
const struct job *timeline_reaching(const struct timeline *timeline, uint64_t value);
/* Moves the timelines to the points' values, or fails them, and wakes who waits. */
void points_settle(struct timelines *timelines, const struct point *signals, uint32_t n, const struct failure *failure);
/* Ends a timeline for everybody who waits for it. */
void timeline_end(struct timelines *timelines, struct timeline *timeline);

int32_t timeline_create(uint64_t device, uint64_t value, uint64_t *timeline, trainer_error *error);
int32_t timeline_destroy(uint64_t device, uint64_t timeline, trainer_error *error);
int32_t timeline_read(uint64_t device, uint64_t timeline, uint64_t *value, trainer_error *error);
int32_t timeline_wait(uint64_t device, uint64_t timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error);

#endif
