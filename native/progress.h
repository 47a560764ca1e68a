/* progress.h - the host's counter of completed records, of which each queue may have one. */
#ifndef TRAINER_NATIVE_PROGRESS_H
#define TRAINER_NATIVE_PROGRESS_H

#include <stdatomic.h>
#include <stdint.h>

/* Zero is a queue whose host does not count. */
struct progress {
  _Atomic uintptr_t counter;
};

static inline void progress_begin(struct progress *progress, uint64_t *counter) { atomic_store(&progress->counter, (uintptr_t)counter); }

static inline void progress_add(struct progress *progress, uint64_t records) {
  _Atomic uint64_t *counter = (_Atomic uint64_t *)atomic_load(&progress->counter);
  if (counter) atomic_fetch_add(counter, records);
}

#endif
