/* backend.h - the objects behind the handles of the CPU backend and who owns them.
 *
 * Every object is counted: its handle holds one reference, submitted work others. A
 * freed buffer, plan or timeline that work still uses disappears when the work ends.
 */
#ifndef TRAINER_CPU_BACKEND_H
#define TRAINER_CPU_BACKEND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "../../native/entry.h"
#include "kernel.h"
#include "pool.h"

#define LIST_BYTES_MAX ((uint64_t)1 << 30)
#define WORKSPACE_ALIGNMENT 64u

enum object_kind { OBJECT_DEVICE = 1, OBJECT_BUFFER, OBJECT_QUEUE, OBJECT_TIMELINE, OBJECT_PROGRAM };

struct device;

struct object {
  enum object_kind kind;
  _Atomic uint32_t references;
  struct device *device; /* referenced; NULL for a device itself */
  void (*release)(struct object *object); /* frees the object; its last reference is gone */
};

/* handle.c: handles. A handle is a table slot and the slot's generation. */
void object_init(struct object *object, enum object_kind kind, struct device *device, void (*release)(struct object *));
void object_retain(struct object *object);
void object_release(struct object *object); /* NULL is allowed */
/* Publishes an object; the handle takes over the caller's reference. 0: out of memory. */
uint64_t handle_new(struct object *object);
/* The object with one more reference, or NULL when the handle is stale or of another
 * kind or device. */
struct object *handle_get(uint64_t handle, enum object_kind kind, const struct device *device);
/* As handle_get, and ends the handle: the caller gets its reference instead. */
struct object *handle_take(uint64_t handle, enum object_kind kind, const struct device *device);
/* Ends one handle of the device, any kind, or NULL when it has none. */
struct object *handle_take_any(const struct device *device);

struct device {
  struct object object;
  enum isa isa;
  struct pool *pool;   /* compute queues */
  struct pool *inline_pool; /* transfer queues: one thread, the queue's own */
  pthread_mutex_t memory_lock;
  uint64_t memory_limit; /* UINT64_MAX: none */
  uint64_t memory_used;
  uint64_t memory_peak;
  /* One lock and one condition for all timelines of the device: waits are few. */
  pthread_mutex_t timeline_lock;
  pthread_cond_t timeline_moved;
};

/* device.c */
int32_t cpu_device_count(uint32_t *count, trainer_error *error);
int32_t cpu_device_info(uint32_t index, trainer_device_info *info, trainer_error *error);
int32_t cpu_device_open(uint32_t index, const trainer_device_options *options, uint64_t *device, trainer_error *error);
int32_t cpu_device_close(uint64_t device, trainer_error *error);
int32_t cpu_device_stats(uint64_t device, trainer_device_stats *stats, trainer_error *error);
int32_t cpu_shutdown(trainer_error *error);
/* The open device behind a handle, referenced; NULL with STALE in error. */
struct device *device_get(uint64_t handle, trainer_error *error);

/* host.c: what the machine is. */
void host_cpu_name(char *name, uint64_t bytes);
uint64_t host_memory_total(void); /* bytes, never above the control group's limit */
uint64_t host_memory_free(void);
uint32_t host_threads(void); /* processors this process may run on */
enum isa host_isa(void);
/* The instruction set to use, TRAINER_CPU_ISA applied; 0 if that names none we have. */
int host_choose_isa(enum isa *isa);
const char *isa_name(enum isa isa);
uint64_t host_now(void); /* ns, monotonic */
/* Waits on a condition made by host_cond_init until host_now() >= deadline; 0 if signalled. */
int host_cond_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t deadline);
void host_cond_init(pthread_cond_t *condition);

/* query.c */
const struct kernel *kernel_of(uint32_t op); /* NULL if there is none */
int32_t cpu_query_ops(uint64_t device, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error);

/* memory.c */
struct buffer {
  struct object object;
  uint8_t *base; /* 4096-aligned */
  uint64_t bytes;
};
/* Counts bytes against the limit; 0 if they do not fit. */
int memory_count(struct device *device, uint64_t bytes);
void memory_uncount(struct device *device, uint64_t bytes);
int32_t cpu_buffer_alloc(uint64_t device, const trainer_buffer_desc *desc, trainer_buffer *buffer, trainer_error *error);
int32_t cpu_buffer_free(uint64_t device, uint64_t buffer, trainer_error *error);

/* timeline.c. All fields under device->timeline_lock. */
struct timeline {
  struct object object;
  uint64_t value;
  uint64_t promised; /* the highest value a submit will signal */
  int destroyed;
  int32_t status; /* not OK: failed for good */
  uint64_t list_serial;
  uint32_t record_index;
};
struct point {
  struct timeline *timeline; /* referenced */
  uint64_t value;
};
int32_t cpu_timeline_create(uint64_t device, uint64_t value, uint64_t *timeline, trainer_error *error);
int32_t cpu_timeline_destroy(uint64_t device, uint64_t timeline, trainer_error *error);
int32_t cpu_timeline_read(uint64_t device, uint64_t timeline, uint64_t *value, trainer_error *error);
int32_t cpu_timeline_wait(uint64_t device, uint64_t timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error);

/* program.c: a checked list, resolved to kernel calls on views. A plan is a program
 * with a handle; a submitted list is one without. */
struct bound {
  struct view *view;
  const struct view *by;
  uint32_t dim;
  int64_t limit; /* the shape the list states */
};
struct program_call {
  const struct kernel *kernel;
  struct call call; /* pool is set when it runs */
  struct bound *bounds;
  uint32_t n_bounds;
};
struct program {
  struct object object;
  uint64_t serial;
  uint32_t call_count;
  uint32_t slot_count;
  struct program_call *calls;
  void *params; /* what operands in TRAINER_SLOT_PARAMS address; filled before each run */
  uint64_t params_bytes;
  uint64_t workspace_bytes; /* the most any call needs */
  uint64_t bytes;           /* of all memory below */
  uint64_t counted;         /* of bytes, those in device->memory_used */
  trainer_list *list;       /* own copy */
  struct view *views;
  struct bound *bounds;
  struct buffer **buffers; /* referenced; slot_count of them, then the workspace's */
  pthread_mutex_t run_lock; /* one queue at a time may run it */
};
/* Copies, checks and resolves a list up to addresses. bad_record may be NULL. */
int32_t program_create(struct device *device, const trainer_list *list, struct program **program, uint32_t *bad_record, trainer_error *error);
/* Gives the views their addresses. */
int32_t program_bind(struct program *program, const trainer_binding *bindings, uint32_t count, const trainer_binding *workspace, trainer_error *error);
void program_run(struct program *program, const void *params, struct pool *pool);
int32_t cpu_list_check(uint64_t device, const trainer_list *list, trainer_list_report *report, trainer_error *error);
int32_t cpu_plan_create(uint64_t device, const trainer_plan_desc *desc, trainer_plan *plan, trainer_error *error);
int32_t cpu_plan_destroy(uint64_t device, uint64_t plan, trainer_error *error);

/* queue.c */
struct queue;
int32_t cpu_queue_create(uint64_t device, uint32_t kind, uint64_t *queue, trainer_error *error);
int32_t cpu_queue_destroy(uint64_t device, uint64_t queue, trainer_error *error);
int32_t cpu_submit(uint64_t device, uint64_t queue, const trainer_submit *submit, trainer_error *error);
/* Cancels what has not begun, waits for what has, ends the thread. Once per queue. */
void queue_stop(struct queue *queue);

#endif
