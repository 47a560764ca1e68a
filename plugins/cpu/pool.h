/* pool.h - the threads of a device. kernel.h says what a kernel sees of it. */
#ifndef TRAINER_CPU_POOL_H
#define TRAINER_CPU_POOL_H

#include "kernel.h"

/* Starts a pool of `threads` threads, of which the caller of pool_run is one: 1 starts
 * none. NULL when memory or threads cannot be had. */
struct pool *pool_create(uint32_t threads);

/* Ends the threads; no run may be in progress. NULL is allowed. */
void pool_destroy(struct pool *pool);

#endif
