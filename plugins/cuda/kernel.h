/* kernel.h - what a kernel family of the CUDA backend sees, and how the plugin finds it.
 *
 * One family is one file kernels/FAMILY.cu with one or more `const struct kernel`
 * entries that kernels/families.h lists. A kernel never allocates and never waits: it
 * launches on the call's stream, which may be under capture into a graph. Scratch memory
 * comes from the call's workspace, whose size `workspace` states when the list is
 * checked. What depends on shapes alone (an algorithm, a library's plan) is made once by
 * `prepare` and kept with the record.
 */
#ifndef TRAINER_CUDA_KERNEL_H
#define TRAINER_CUDA_KERNEL_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "../../core/abi/trainer_backend.h"
#include "../../native/check.h" /* of a struct view, data is a device address, or that of pinned host memory */

#ifdef __cplusplus
extern "C" {
#endif

struct blas; /* cuBLASLt, opened at run time; blas.h */
struct dnn;  /* cuDNN, opened at run time; dnn.h */

/* What kernels may know of the device they run on. */
struct gpu {
  int ordinal;
  int capability;      /* 10 * major + minor */
  int multiprocessors;
  int deterministic;   /* equal runs must give equal bits */
  struct blas *blas;   /* NULL: not on this machine */
  struct dnn *dnn;     /* NULL: not on this machine */
};

struct call {
  const struct view *out;
  const struct view *in;
  uint32_t n_out;
  uint32_t n_in;
  const void *attr;
  uint32_t attr_bytes;
  const struct gpu *gpu;
  cudaStream_t stream;
  void *workspace; /* 256-byte aligned */
  uint64_t workspace_bytes;
  void *prepared; /* what prepare made; NULL without one */
};

struct kernel {
  uint32_t op;
  const char *name;
  /* Shapes, dtypes and attributes: native/check.h's, and what this kernel cannot do. Called
   * once per record by list_check; data is NULL. */
  record_check *check;
  /* Makes *prepared on the host, before the record first runs; NULL = nothing to make.
   * Called after check, on the device's context, never under capture. It may depend on
   * shapes, strides, dtypes and attributes alone: records that agree in these share one. */
  int32_t (*prepare)(const struct call *call, void **prepared, char *text, uint64_t text_bytes);
  void (*discard)(void *prepared);
  /* Scratch bytes one call needs; NULL = none. Called after prepare. */
  uint64_t (*workspace)(const struct call *call);
  /* Launches. Not OK: text says why; a failed launch is found with cudaGetLastError. */
  int32_t (*run)(const struct call *call, char *text, uint64_t text_bytes);
  /* TRAINER_LEVEL_* for a query; NULL = OK for every float dtype. */
  uint32_t (*level)(const trainer_op_query *query, const struct gpu *gpu);
};

#ifdef __cplusplus
}
#endif

#endif
