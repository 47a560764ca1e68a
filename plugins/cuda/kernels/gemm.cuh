/* gemm.cuh - products of strided matrices: by cuBLASLt where it is there and serves them,
 * else by a plain tiled kernel. Both inputs are rounded to `compute`, sums are f32. */
#ifndef TRAINER_CUDA_GEMM_CUH
#define TRAINER_CUDA_GEMM_CUH

#include <string.h>

#include "../blas.h"
#include "matrix.cuh"

#define GEMM_BATCH_RANK 4

/* Leading dimensions of a batch with each operand's strides, in elements. rank 0: one. */
struct gemm_batch {
  uint32_t rank;
  int64_t shape[GEMM_BATCH_RANK];
  int64_t a[GEMM_BATCH_RANK], b[GEMM_BATCH_RANK], c[GEMM_BATCH_RANK], d[GEMM_BATCH_RANK];
};

/* d [m,n] = alpha a [m,k] b [k,n] + beta c [m,n]. Only shapes, strides and dtypes matter
 * until it runs. c is read where beta is not 0; it may be d. */
struct gemm {
  struct matrix a, b, c, d;
  struct gemm_batch batch;
  uint32_t compute; /* TRAINER_F32, BF16, F16 */
  float alpha, beta;
};

/* What is made once for a product. All zero: nothing, the plain kernel runs it. */
struct gemm_plan {
  struct blas *blas;
  struct blas_plan *plan;
};

/* d = a b in a compute dtype, not batched. */
struct gemm gemm_of(uint32_t compute, struct matrix a, struct matrix b, struct matrix d);
/* The same, on top of c. */
struct gemm gemm_onto(uint32_t compute, struct matrix a, struct matrix b, struct matrix c, struct matrix d);

struct gemm_plan gemm_prepare(const struct gpu *gpu, const struct gemm *gemm);
void gemm_discard(struct gemm_plan *plan);
uint64_t gemm_workspace(const struct gemm_plan *plan);
/* Launches; TRAINER_OK or a status with text. */
int32_t gemm_run(const struct call *call, const struct gemm_plan *plan, const struct gemm *gemm, void *workspace, char *text, uint64_t text_bytes);

/* 1 if the library could read x as a side of a product in this dtype, and write d. What
 * it cannot write is made in f32 and stored afterwards. */
int gemm_reads(const struct matrix *x, uint32_t compute);
int gemm_writes(const struct matrix *d, uint32_t compute);

/* TRAINER_F32 for the attribute's 0. */
static inline uint32_t compute_of(uint32_t attr_compute) { return attr_compute ? attr_compute : TRAINER_F32; }

static inline float f32_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

#endif
