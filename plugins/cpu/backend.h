/* backend.h - the CPU backend's device and programs, and what its files ask of each other. */
#ifndef TRAINER_CPU_BACKEND_H
#define TRAINER_CPU_BACKEND_H

#include <stdint.h>

#include "../../native/backend.h"
#include "../../native/entry.h"
#include "kernel.h"
#include "pool.h"

#define WORKSPACE_ALIGNMENT 64u

struct cpu_device {
  struct device device;
  enum isa isa;
  struct pool *pool;        /* compute queues */
  struct pool *inline_pool; /* transfer queues: one thread, the queue's own */
};

/* device.c */
int32_t cpu_device_count(uint32_t *count, trainer_error *error);
int32_t cpu_device_info(uint32_t index, trainer_device_info *info, trainer_error *error);
int32_t cpu_device_open(uint32_t index, const trainer_device_options *options, uint64_t *device, trainer_error *error);

/* host.c: what the machine is. */
void host_cpu_name(char *name, uint64_t bytes);
uint64_t host_memory_total(void); /* bytes, never above the control group's limit */
uint64_t host_memory_free(void);
uint32_t host_threads(void); /* processors this process may run on */
enum isa host_isa(void);
/* The instruction set to use, TRAINER_CPU_ISA applied; 0 if that names none we have. */
int host_choose_isa(enum isa *isa);
const char *isa_name(enum isa isa);

/* query.c */
const struct kernel *kernel_of(uint32_t op); /* NULL if there is none */

/* program.c */
void program_run(struct program *program, const void *params, struct pool *pool, struct progress *progress);

#endif
