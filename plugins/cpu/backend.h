/* backend.h - the CPU backend's device, queues and programs. What it shares with others
 * (objects and handles, timelines, lists as views) is in native/. */
#ifndef TRAINER_CPU_BACKEND_H
#define TRAINER_CPU_BACKEND_H

#include <pthread.h>
#include <stdint.h>

#include "../../native/entry.h"
#include "../../native/handle.h"
#include "../../native/meter.h"
#include "../../native/progress.h"
#include "../../native/resolve.h"
#include "../../native/thread.h"
#include "../../native/timeline.h"
#include "kernel.h"
#include "pool.h"

#define LIST_BYTES_MAX ((uint64_t)1 << 30)
#define WORKSPACE_ALIGNMENT 64u

struct device {
  struct object object;
  enum isa isa;
  struct pool *pool;   /* compute queues */
  struct pool *inline_pool; /* transfer queues: one thread, the queue's own */
  struct meter meter;
  struct timelines timelines;
};

/* device.c */
int32_t cpu_device_count(uint32_t *count, trainer_error *error);
int32_t cpu_device_info(uint32_t index, trainer_device_info *info, trainer_error *error);
int32_t cpu_device_open(uint32_t index, const trainer_device_options *options, uint64_t *device, trainer_error *error);
int32_t cpu_device_close(uint64_t device, trainer_error *error);
int32_t cpu_device_stats(uint64_t device, trainer_device_stats *stats, trainer_error *error);
int32_t cpu_shutdown(trainer_error *error);

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
int32_t cpu_query_ops(uint64_t device, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error);

/* memory.c */
int32_t cpu_buffer_alloc(uint64_t device, const trainer_buffer_desc *desc, trainer_buffer *buffer, trainer_error *error);
int32_t cpu_buffer_free(uint64_t device, uint64_t buffer, trainer_error *error);

/* program.c: a checked list, resolved to kernel calls on views. A plan is a program
 * with a handle; a submitted list is one without. */
struct program_call {
  const struct kernel *kernel;
  struct call call; /* pool is set when it runs */
};
struct program {
  struct object object;
  struct resolved list;
  struct program_call *calls; /* one a record */
  void *params; /* what operands in TRAINER_SLOT_PARAMS address; filled before each run */
  uint64_t workspace_bytes; /* the most any call needs */
  uint64_t bytes;           /* of all its memory */
  uint64_t counted;         /* of bytes, those in the device's meter */
  pthread_mutex_t run_lock; /* one queue at a time may run it */
};
/* Copies, checks and resolves a list up to addresses. bad_record may be NULL. */
int32_t program_create(struct device *device, const trainer_list *list, struct program **program, uint32_t *bad_record, trainer_error *error);
/* Gives the views their addresses. */
int32_t program_bind(struct program *program, const trainer_binding *bindings, uint32_t count, const trainer_binding *workspace, trainer_error *error);
void program_run(struct program *program, const void *params, struct pool *pool, struct progress *progress);
int32_t cpu_list_check(uint64_t device, const trainer_list *list, trainer_list_report *report, trainer_error *error);
int32_t cpu_plan_create(uint64_t device, const trainer_plan_desc *desc, trainer_plan *plan, trainer_error *error);
int32_t cpu_plan_destroy(uint64_t device, uint64_t plan, trainer_error *error);

/* queue.c */
struct queue;
int32_t cpu_queue_create(uint64_t device, uint32_t kind, uint64_t *queue, trainer_error *error);
int32_t cpu_queue_destroy(uint64_t device, uint64_t queue, trainer_error *error);
int32_t cpu_queue_progress(uint64_t device, uint64_t queue, uint64_t *counter, trainer_error *error);
int32_t cpu_submit(uint64_t device, uint64_t queue, const trainer_submit *submit, trainer_error *error);
/* Cancels what has not begun, waits for what has, ends the thread. Once per queue. */
void queue_stop(struct queue *queue);

#endif
