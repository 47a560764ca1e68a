/* quantise.cuh - between the op QUANTISE and the two kinds of formats. Nothing waits: the
 * launches may be under capture into a graph. */
#ifndef TRAINER_CUDA_QUANTISE_CUH
#define TRAINER_CUDA_QUANTISE_CUH

#include "../../../native/quantise.h"
#include "device.cuh"

#define QUANTISE_THREADS 256

/* NF4 and FP4: the nearest number of a table. */
uint64_t tabled_workspace(const trainer_quant_format *f, int64_t n);
void quantise_tabled(const struct call *call, const trainer_quant_format *f);

/* AFFINE, BIASED and INT8: codes at even steps. */
uint64_t spread_workspace(const trainer_quant_format *f, int64_t n);
void quantise_spread(const struct call *call, const trainer_quant_format *f);

/* The largest of a warp's numbers; NaN wins. */
static __device__ __forceinline__ float warp_largest(float x) {
  for (int lane = WARP / 2; lane > 0; lane /= 2) x = quant_larger(x, __shfl_xor_sync(0xFFFFFFFFu, x, lane));
  return x;
}

#endif
