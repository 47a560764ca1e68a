/* thread.h - threads, conditions with deadlines, and the clock they use. */
#ifndef TRAINER_NATIVE_THREAD_H
#define TRAINER_NATIVE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* pthread_create of a thread that blocks all signals, so that the host's handlers
 * never run on it. Returns 0 or an errno. */
int thread_start(pthread_t *thread, void *(*body)(void *), void *arg);

uint64_t host_now(void); /* ns, monotonic */
void host_cond_init(pthread_cond_t *condition);
/* Waits on a condition made by host_cond_init until host_now() >= deadline; 0 if signalled. */
int host_cond_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t deadline);

#endif
