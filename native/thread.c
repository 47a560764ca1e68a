/* thread.c - see thread.h. */
#include "thread.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

int thread_start(pthread_t *thread, void *(*body)(void *), void *arg) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(thread, NULL, body, arg);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

uint64_t host_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void host_cond_init(pthread_cond_t *condition) {
#if defined(__APPLE__)
  pthread_cond_init(condition, NULL);
#else
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(condition, &attributes);
  pthread_condattr_destroy(&attributes);
#endif
}

int host_cond_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t deadline) {
#if defined(__APPLE__)
  uint64_t now = host_now();
  if (now >= deadline) return ETIMEDOUT;
  uint64_t left = deadline - now;
  struct timespec wait = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
  return pthread_cond_timedwait_relative_np(condition, lock, &wait);
#else
  struct timespec until = {(time_t)(deadline / 1000000000u), (long)(deadline % 1000000000u)};
  return pthread_cond_timedwait(condition, lock, &until);
#endif
}
