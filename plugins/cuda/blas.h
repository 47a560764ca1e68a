/* blas.h - matrix products by cuBLASLt, opened at run time. A machine without it has no
 * struct blas; kernels/gemm.cuh then computes products itself. */
#ifndef TRAINER_CUDA_BLAS_H
#define TRAINER_CUDA_BLAS_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct blas;
struct blas_plan;

/* One matrix of a product, row-major with `pitch` elements between its lines. A
 * transposed one lies in memory as its transpose. step: elements between the matrices of
 * a batch, 0 to repeat one. */
struct blas_matrix {
  uint32_t dtype; /* TRAINER_F32, BF16 or F16 */
  int transposed;
  int64_t pitch;
  int64_t step;
};

/* d [m,n] = alpha a [m,k] b [k,n] + beta c [m,n], `batch` times. a and b share a dtype,
 * so do c and d, which are not transposed. c may be d. Sums are f32, never TF32. */
struct blas_product {
  int64_t m, n, k, batch;
  struct blas_matrix a, b, c, d;
};

/* Addresses given to blas_run divide by this. */
#define BLAS_ALIGNMENT 16
/* Scratch that a plan may ask for. NVIDIA recommends 32 MiB on Hopper. */
#define BLAS_WORKSPACE ((uint64_t)32 << 20)

/* The version of the cuBLASLt that blas_open would take, as it numbers itself, without a
 * device; 0 if there is none. */
uint64_t blas_version(void);

/* Opens cuBLASLt for the current device. NULL: text says in one sentence what was sought
 * and where. */
struct blas *blas_open(char *text, uint64_t text_bytes);
void blas_close(struct blas *blas);
/* What was opened: the file and its version, for people. */
const char *blas_name(const struct blas *blas);

/* Chooses an algorithm by the library's heuristic, which depends on nothing but the
 * product, the device and the library. NULL: the library does not serve this product. */
struct blas_plan *blas_plan_create(struct blas *blas, const struct blas_product *product);
void blas_plan_destroy(struct blas *blas, struct blas_plan *plan);
/* Scratch bytes that blas_run needs, 256-byte aligned. */
uint64_t blas_plan_workspace(const struct blas_plan *plan);
/* Launches. Returns 0, or cuBLAS's status. */
int blas_run(struct blas *blas, const struct blas_plan *plan, float alpha, const void *a, const void *b, float beta, const void *c, void *d,
             void *workspace, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
