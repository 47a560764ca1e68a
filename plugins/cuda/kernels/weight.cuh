/* weight.cuh - checks of matrix operands, and weights of every format of the border made
 * dense. */
#ifndef TRAINER_CUDA_WEIGHT_CUH
#define TRAINER_CUDA_WEIGHT_CUH

#include "../../../native/quant.h"
#include "matrix.cuh"

/* 1 if the view is a present float matrix [rows, cols], both below 2^31. */
int is_matrix(const struct view *view, int64_t rows, int64_t cols);
/* 1 if the view is a present float vector [n]. */
int is_float_vector(const struct view *view, int64_t n);
/* 1 if the view is absent or a mask u8 [rows, ceil(cols/8)]. */
int is_mask(const struct view *view, int64_t rows, int64_t cols);

/* TRAINER_OK if compute names an arithmetic of a product. */
int32_t check_compute(uint32_t compute, char *text, uint64_t text_bytes);
/* The answer of every op with a weight to a query. */
uint32_t weight_level(const trainer_op_query *query, const struct gpu *gpu);

/* Writes the quantised weight [dst.rows, dst.cols] at w to dst, whose columns lie without
 * gaps. Each value is computed in f32 and rounded once. Launches on the stream. */
void dequantise(struct matrix dst, const struct view *w, const trainer_quant_format *format, cudaStream_t stream);

#endif
