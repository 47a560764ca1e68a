/* kernel.h - what a kernel family of the CPU backend sees, and how the plugin finds it.
 *
 * One family is one file kernels/FAMILY.c with one or more `const struct kernel`
 * entries that kernels/families.h lists. A kernel never allocates: scratch
 * memory comes from the call's workspace, whose size `workspace` states when the list
 * is checked. Work is split by problem size alone, never by the number of threads, so
 * results are bit-identical for any pool.
 */
#ifndef TRAINER_CPU_KERNEL_H
#define TRAINER_CPU_KERNEL_H

#include <stdint.h>

#include "../../core/abi/trainer_backend.h"
#include "../../native/check.h"

/* Instruction sets, chosen at device_open; TRAINER_CPU_ISA = scalar|avx2|avx512|avx512bf16|neon lowers it. */
enum isa { ISA_SCALAR = 0, ISA_AVX2, ISA_AVX512, ISA_AVX512BF16, ISA_NEON };

struct pool; /* the device's threads */

struct call {
  const struct view *out;
  const struct view *in;
  uint32_t n_out;
  uint32_t n_in;
  const void *attr;
  uint32_t attr_bytes;
  enum isa isa;
  struct pool *pool;
  void *workspace; /* 64-byte aligned */
  uint64_t workspace_bytes;
};

struct kernel {
  uint32_t op;
  const char *name;
  /* Shapes, dtypes and attributes: native/check.h's, and what this kernel cannot do. Called
   * once per record by list_check; data is NULL. */
  record_check *check;
  /* Scratch bytes one call needs; NULL = none. Called after check. */
  uint64_t (*workspace)(const struct call *call, uint32_t threads);
  void (*run)(const struct call *call);
  /* TRAINER_LEVEL_* for a query; NULL = OK for every float dtype. */
  uint32_t (*level)(const trainer_op_query *query, enum isa isa);
};

/* Runs fn(arg, task, worker) for task = 0 .. tasks-1 on the pool and returns when all are
 * done. worker < pool_threads(pool) names the scratch slice a task may use; which
 * worker runs which task is not determined, so tasks must not depend on it. */
void pool_run(struct pool *pool, int64_t tasks, void (*fn)(void *arg, int64_t task, uint32_t worker), void *arg);
uint32_t pool_threads(const struct pool *pool);

/* Row-wise conversion between stored floats (f32, bf16, f16) and f32; n elements. */
void load_f32(float *dst, const void *src, uint32_t dtype, int64_t n);
void store_f32(void *dst, uint32_t dtype, const float *src, int64_t n);
uint32_t dtype_bytes(uint32_t dtype);

#endif
