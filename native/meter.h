/* meter.h - how much memory a device has given out, and no more than it may. */
#ifndef TRAINER_NATIVE_METER_H
#define TRAINER_NATIVE_METER_H

#include <pthread.h>
#include <stdint.h>

struct meter {
  pthread_mutex_t lock;
  uint64_t limit; /* bytes; UINT64_MAX: none */
  uint64_t used;
  uint64_t peak;
};

/* limit 0: none. */
static inline void meter_init(struct meter *meter, uint64_t limit) {
  *meter = (struct meter){.limit = limit ? limit : UINT64_MAX};
  pthread_mutex_init(&meter->lock, NULL);
}

/* Counts bytes against the limit; 0 if they do not fit. */
static inline int meter_add(struct meter *meter, uint64_t bytes) {
  pthread_mutex_lock(&meter->lock);
  int fits = bytes <= meter->limit && meter->used <= meter->limit - bytes;
  if (fits) meter->used += bytes;
  pthread_mutex_unlock(&meter->lock);
  return fits;
}

/* Takes back a meter_add whose memory could not be had: the peak never sees it. */
static inline void meter_cancel(struct meter *meter, uint64_t bytes) {
  pthread_mutex_lock(&meter->lock);
  meter->used -= bytes;
  pthread_mutex_unlock(&meter->lock);
}

/* With the lock held, before `used` falls or is looked at. */
static inline void meter_note_peak(struct meter *meter) {
  if (meter->used > meter->peak) meter->peak = meter->used;
}

static inline void meter_remove(struct meter *meter, uint64_t bytes) {
  pthread_mutex_lock(&meter->lock);
  meter_note_peak(meter);
  meter->used -= bytes;
  pthread_mutex_unlock(&meter->lock);
}

static inline void meter_read(struct meter *meter, uint64_t *used, uint64_t *peak) {
  pthread_mutex_lock(&meter->lock);
  meter_note_peak(meter);
  *used = meter->used;
  *peak = meter->peak;
  pthread_mutex_unlock(&meter->lock);
}

#endif
