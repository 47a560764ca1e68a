/* gemm_weight.h - operands of the border as sides of a product: weights in any format
 * of the border, and float matrices. */
#ifndef TRAINER_CPU_GEMM_WEIGHT_H
#define TRAINER_CPU_GEMM_WEIGHT_H

#include "gemm.h"

/* The answer of every op with a weight to a query. */
uint32_t gemm_level(const trainer_op_query *query, enum isa isa);

/* The weight [out, in] as the right side B [k, n]: n runs over out features and k over in
 * features, or the other way round when k_is_out. */
struct gemm_source gemm_weight(const struct view *w, const trainer_quant_format *format, int64_t out, int64_t in, int k_is_out);
/* A matrix view with rows in dim `row` and k in the other, from column `col` on. */
struct gemm_source gemm_view(const struct view *view, uint32_t row_dim, int64_t col);
/* A matrix view whose rows are the lines of a side, also where its columns lie closer. */
struct gemm_source gemm_lines(const struct view *view, int k_major);
/* Multiplies the source's lines by a dropout mask over [lines, numbers]. */
void gemm_set_mask(struct gemm_source *source, const struct view *mask, float keep_scale);
/* A matrix view from column `col` on; absent where the view is. */
struct gemm_matrix gemm_matrix_view(const struct view *view, int64_t col);

#endif
