/* backend.h - the CUDA backend's device, queues and programs. What it shares with others
 * (objects and handles, timelines, lists as views) is in native/. */
#ifndef TRAINER_CUDA_BACKEND_H
#define TRAINER_CUDA_BACKEND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "../../native/entry.h"
#include "../../native/handle.h"
#include "../../native/meter.h"
#include "../../native/progress.h"
#include "../../native/resolve.h"
#include "../../native/thread.h"
#include "../../native/timeline.h"
#include "kernel.h"

#define LIST_BYTES_MAX ((uint64_t)1 << 30)
#define LANES 2u /* compute and copy */
#define ALIGNMENT 256u /* of operands and workspaces: what cudaMalloc gives */

struct device {
  struct object object;
  struct gpu gpu;
  struct meter meter;
  struct timelines timelines;
  cudaStream_t stream; /* for the device's own work: clearing memory */
  int step_by_step;    /* TRAINER_CUDA_SYNC=1: wait after each record, so that a fault names its record */
  _Atomic int lost;    /* the cudaError_t that ended the device; 0: alive */
  pthread_mutex_t prepared_lock;
  struct prepared *prepared; /* what kernels prepared, for all programs */
  uint32_t prepared_count;
  pthread_mutex_t params_lock;
  struct params_block *params_free;
};

/* device.c */
int32_t cuda_device_count(uint32_t *count, trainer_error *error);
int32_t cuda_device_info(uint32_t index, trainer_device_info *info, trainer_error *error);
int32_t cuda_device_open(uint32_t index, const trainer_device_options *options, uint64_t *device, trainer_error *error);
int32_t cuda_device_close(uint64_t device, trainer_error *error);
int32_t cuda_device_stats(uint64_t device, trainer_device_stats *stats, trainer_error *error);
int32_t cuda_shutdown(trainer_error *error);
/* As device_get, but NULL with DEVICE_LOST in error, and in *status, for a lost device. */
struct device *device_get_alive(uint64_t handle, int32_t *status, trainer_error *error);

/* fault.c: what CUDA's errors mean. All clear the calling thread's last error. */
/* TRAINER_OOM, TRAINER_DEVICE_LOST (for good) or TRAINER_INTERNAL. */
int32_t cuda_status(struct device *device, cudaError_t code);
int32_t cuda_fail(struct device *device, cudaError_t code, const char *doing, trainer_error *error);
/* Why the device was lost; only for a lost one. */
int32_t lost_fail(const struct device *device, trainer_error *error);

/* nvml.c: bytes free on a device, without a context on it; 0 if NVML is not there. */
uint64_t nvml_memory_free(const char *uuid);

/* query.c */
const struct kernel *kernel_of(uint32_t op); /* NULL if there is none */
int32_t cuda_query_ops(uint64_t device, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error);

/* memory.c */
int32_t cuda_buffer_alloc(uint64_t device, const trainer_buffer_desc *desc, trainer_buffer *buffer, trainer_error *error);
int32_t cuda_buffer_free(uint64_t device, uint64_t buffer, trainer_error *error);
/* Device memory for a params block, kept for reuse when given back. */
struct params_block {
  void *data;
  uint64_t bytes;
  struct params_block *next;
};
struct params_block *params_take(struct device *device, uint64_t bytes); /* NULL: out of memory */
void params_give(struct device *device, struct params_block *block);     /* NULL is allowed */
void params_free_all(struct device *device);

/* prepared.c: what a kernel's prepare made, shared by all records that look the same. */
struct prepared;
int32_t prepared_get(struct device *device, const struct kernel *kernel, const struct call *call, struct prepared **out, char *text, uint64_t text_bytes);
void *prepared_value(const struct prepared *prepared); /* NULL for NULL */
void prepared_release(struct device *device, struct prepared *prepared);
void prepared_free_all(struct device *device);

/* program.c: a checked list, resolved to kernel calls on views. A plan is a program with a
 * handle and, where it could be captured, a graph. */
struct program_call {
  const struct kernel *kernel;
  struct call call; /* stream is set when it runs */
  struct prepared *prepared;
};
struct program {
  struct object object;
  struct resolved list;
  struct program_call *calls; /* one a record */
  uint64_t workspace_bytes;   /* the most any call needs */
  struct params_block *params; /* what operands in TRAINER_SLOT_PARAMS address; NULL: none */
  uint64_t counted;            /* bytes in the device's meter */
  cudaGraphExec_t graph;       /* NULL: records are launched one by one */
  pthread_mutex_t run_lock;
  cudaEvent_t ran; /* the last run's end; NULL: it runs once */
};
/* Copies, checks and resolves a list up to addresses. bad_record may be NULL. */
int32_t program_create(struct device *device, const trainer_list *list, struct program **program, uint32_t *bad_record, trainer_error *error);
/* Gives the views their addresses. */
int32_t program_bind(struct program *program, const trainer_binding *bindings, uint32_t count, const trainer_binding *workspace, trainer_error *error);
/* What a plan of the list keeps on the device, in bytes. */
uint64_t program_plan_bytes(const struct program *program);
/* Launches all records on a stream; params is pinned and stays until they are done. */
struct failure program_run(struct program *program, const void *params, cudaStream_t stream);
int32_t cuda_list_check(uint64_t device, const trainer_list *list, trainer_list_report *report, trainer_error *error);
int32_t cuda_plan_create(uint64_t device, const trainer_plan_desc *desc, trainer_plan *plan, trainer_error *error);
int32_t cuda_plan_destroy(uint64_t device, uint64_t plan, trainer_error *error);
/* Launches the records one by one, in order. */
struct failure program_launch(struct program *program, cudaStream_t stream);
/* The same for one record. */
struct failure program_launch_record(struct program *program, uint32_t record, cudaStream_t stream);

/* lanes.c: what a program's lanes need during a capture of them on the stream, which must
 * end before they are closed. */
struct lanes;
struct lanes *lanes_open(struct program *program, cudaStream_t stream); /* NULL: something is short */
/* Launches the records, those of the copy lane beside the others, each after those it says. */
struct failure lanes_launch(struct lanes *lanes);
void lanes_close(struct lanes *lanes);

/* queue.c */
struct queue;
int32_t cuda_queue_create(uint64_t device, uint32_t kind, uint64_t *queue, trainer_error *error);
int32_t cuda_queue_destroy(uint64_t device, uint64_t queue, trainer_error *error);
int32_t cuda_queue_progress(uint64_t device, uint64_t queue, uint64_t *counter, trainer_error *error);
int32_t cuda_submit(uint64_t device, uint64_t queue, const trainer_submit *submit, trainer_error *error);
/* Cancels what has not begun, waits for what has, ends the threads. Once per queue. */
void queue_stop(struct queue *queue);

#endif
