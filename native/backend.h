/* backend.h - what a backend adds to what all share. It defines these functions and the
 * entries that describe and open a device; the rest of the border is device.c, buffer.c,
 * program.c, queue.c and timeline.c.
 *
 * A backend extends a device, a program or a queue by a struct of its own that begins with
 * it. `open` fills that struct; `close` frees what is in it, not the struct, also where open
 * failed half way or was not reached. */
#ifndef TRAINER_NATIVE_BACKEND_H
#define TRAINER_NATIVE_BACKEND_H

#include "buffer.h"
#include "device.h"
#include "program.h"
#include "queue.h"

/* Prepares the calling thread for the device. Not OK: the device is lost, and why. */
int32_t backend_enter(struct device *device, trainer_error *error);
trainer_op_answer backend_answer(const struct device *device, const trainer_op_query *query);

/* Gives the buffer its base: zeroed memory of its bytes, of its kind. */
int32_t backend_buffer_open(struct buffer *buffer, trainer_error *error);
void backend_buffer_close(struct buffer *buffer); /* only one that has a base */

/* Zeroed memory of the backend's struct; NULL: there is none. */
struct program *backend_program_new(void);
/* Allocates what its records need to run and sets bytes; 0: no memory. */
int backend_program_open(struct program *program);
/* Finds what runs a record, names the record, checks its operands, which have no addresses
 * yet, and raises workspace_bytes. Not OK: one sentence in text. */
int32_t backend_record_open(struct program *program, uint32_t record, char *text, uint64_t text_bytes);
/* Memory for params_bytes > 0, as the device addresses it; NULL: there is none. */
void *backend_params_new(struct program *program);
/* The rest of what makes a bound program a plan. */
int32_t backend_plan_open(struct program *program, trainer_error *error);
void backend_program_close(struct program *program);

struct queue *backend_queue_new(void);
/* Adds one or two stages. */
int32_t backend_queue_open(struct queue *queue, uint32_t kind, trainer_error *error);
void backend_queue_close(struct queue *queue);
/* Host memory from which a job's params go to the device; NULL: there is none. */
void *backend_host_new(struct device *device, uint64_t bytes);
void backend_host_end(struct device *device, void *memory);

/* The entries of the border that all share, in an initialiser of a trainer_backend_table. */
#define BACKEND_ENTRIES                                                                                                    \
  .shutdown = devices_shutdown, .device_close = device_close, .device_stats = device_stats, .query_ops = query_ops,        \
  .buffer_alloc = buffer_alloc, .buffer_free = buffer_free, .list_check = list_check, .plan_create = plan_create,          \
  .plan_destroy = plan_destroy, .queue_create = queue_create, .queue_destroy = queue_destroy,                              \
  .queue_progress = queue_progress, .submit = queue_submit, .timeline_create = timeline_create,                            \
  .timeline_destroy = timeline_destroy, .timeline_read = timeline_read, .timeline_wait = timeline_wait

#endif
