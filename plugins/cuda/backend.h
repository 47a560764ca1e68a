/* backend.h - the CUDA backend's device and programs, and what its files ask of each other. */
#ifndef TRAINER_CUDA_BACKEND_H
#define TRAINER_CUDA_BACKEND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "../../native/backend.h"
#include "../../native/entry.h"
#include "kernel.h"

#define LANES 2u /* compute and copy */
#define ALIGNMENT 256u /* of operands and workspaces: what cudaMalloc gives */

struct cuda_device {
  struct device device;
  struct gpu gpu;
  cudaStream_t stream; /* for the device's own work: clearing memory */
  int step_by_step;    /* TRAINER_CUDA_SYNC=1: wait after each record, so that a fault names its record */
  _Atomic int lost;    /* the cudaError_t that ended the device; 0: alive */
  pthread_mutex_t prepared_lock;
  struct prepared *prepared; /* what kernels prepared, for all programs */
  uint32_t prepared_count;
  pthread_mutex_t params_lock;
  struct params_block *params_free;
};

static inline struct cuda_device *cuda_of(struct device *device) { return (struct cuda_device *)device; }

/* device.c */
int32_t cuda_device_count(uint32_t *count, trainer_error *error);
int32_t cuda_device_info(uint32_t index, trainer_device_info *info, trainer_error *error);
int32_t cuda_device_open(uint32_t index, const trainer_device_options *options, uint64_t *device, trainer_error *error);

/* fault.c: what CUDA's errors mean. All clear the calling thread's last error. */
/* TRAINER_OOM, TRAINER_DEVICE_LOST (for good) or TRAINER_INTERNAL. */
int32_t cuda_status(struct device *device, cudaError_t code);
int32_t cuda_fail(struct device *device, cudaError_t code, const char *doing, trainer_error *error);
/* Why the device was lost; only for a lost one. */
int32_t lost_fail(const struct cuda_device *device, trainer_error *error);

/* nvml.c: bytes free on a device, without a context on it; 0 if NVML is not there. */
uint64_t nvml_memory_free(const char *uuid);

/* query.c */
const struct kernel *kernel_of(uint32_t op); /* NULL if there is none */

/* memory.c */
/* Device memory for a params block, kept for reuse when given back. */
struct params_block {
  void *data;
  uint64_t bytes;
  struct params_block *next;
};
struct params_block *params_take(struct cuda_device *device, uint64_t bytes); /* NULL: out of memory */
void params_give(struct cuda_device *device, struct params_block *block);     /* NULL is allowed */
void params_free_all(struct cuda_device *device);

/* prepared.c: what a kernel's prepare made, shared by all records that look the same. */
struct prepared;
int32_t prepared_get(struct cuda_device *device, const struct kernel *kernel, const struct call *call, struct prepared **out, char *text, uint64_t text_bytes);
void *prepared_value(const struct prepared *prepared); /* NULL for NULL */
void prepared_release(struct cuda_device *device, struct prepared *prepared);
void prepared_free_all(struct cuda_device *device);

/* program.c */
struct program_call {
  const struct kernel *kernel;
  struct call call; /* stream and workspace are set when it runs */
  struct prepared *prepared;
};
struct cuda_program {
  struct program program;
  struct program_call *calls;  /* one a record */
  struct params_block *params; /* where program.params lies; NULL: none */
  cudaGraphExec_t graph;       /* NULL: records are launched one by one */
  cudaEvent_t ran;             /* the last run's end; NULL: it runs once */
};
/* Launches all records on a stream; params is pinned and stays until they are done. */
struct failure program_run(struct cuda_program *program, const void *params, cudaStream_t stream);
/* Launches the records one by one, in order. */
struct failure program_launch(struct cuda_program *program, cudaStream_t stream);
/* The same for one record. */
struct failure program_launch_record(struct cuda_program *program, uint32_t record, cudaStream_t stream);

/* plan.c: what a plan of the list keeps on the device, in bytes. */
uint64_t plan_bytes(const struct resolved *list);

/* lanes.c: what a program's lanes need during a capture of them on the stream, which must
 * end before they are closed. */
struct lanes;
struct lanes *lanes_open(struct cuda_program *program, cudaStream_t stream); /* NULL: something is short */
/* Launches the records, those of the copy lane beside the others, each after those it says. */
struct failure lanes_launch(struct lanes *lanes);
void lanes_close(struct lanes *lanes);

#endif
