/* lowrank.cuh - a product over few ranks whose result is dropped out as it is made. */
#ifndef TRAINER_CUDA_LOWRANK_CUH
#define TRAINER_CUDA_LOWRANK_CUH

#include "matrix.cuh"

/* dst [m,n] = (a [m,r] b [r,n]) * mask * factor + add [m,n], by tensor cores, rounded once. Bits
 * of the mask as in LINEAR. add.data NULL: nothing is added; it may be dst. */
struct lowrank {
  struct matrix a, b, dst, add;
  const struct view *mask; /* u8 [m, n/8] */
  float factor;
};

/* 1 if all of it lies as the kernel reads it: bf16 or f16 throughout, rows without gaps whose
 * pitch and number are multiples of 8 elements, at most 256 ranks. Addresses, which may not be known yet, do not
 * count. */
int lowrank_serves(const struct lowrank *job);
/* Launches. */
void lowrank_run(const struct lowrank *job, const struct gpu *gpu, cudaStream_t stream);

#endif
