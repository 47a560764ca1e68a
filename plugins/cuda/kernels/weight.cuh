/* weight.cuh - weights of every format of the border made dense. */
#ifndef TRAINER_CUDA_WEIGHT_CUH
#define TRAINER_CUDA_WEIGHT_CUH

#include "../../../native/quant.h"
#include "matrix.cuh"

/* The answer of every op with a weight to a query. */
uint32_t weight_level(const trainer_op_query *query, const struct gpu *gpu);

/* Writes the quantised weight [dst.rows, dst.cols] at w to dst, whose columns lie without
 * gaps. Each value is computed in f32 and rounded once. Launches on the stream. */
void dequantise(struct matrix dst, const struct view *w, const trainer_quant_format *format, cudaStream_t stream);

#endif
