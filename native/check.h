/* check.h - whether the operands and attributes of a record are what its op wants, as
 * trainer_backend.h defines it: TRAINER_OK, or TRAINER_INVALID or TRAINER_UNSUPPORTED with
 * one sentence in text. A backend adds what only its own kernels cannot do. Views have no
 * addresses yet. C and C++. */
#ifndef TRAINER_NATIVE_CHECK_H
#define TRAINER_NATIVE_CHECK_H

#include "record.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t record_check(const struct record *record, char *text, uint64_t text_bytes);

/* check.c: the mandatory ops. */
record_check check_copy, check_fill, check_iota, check_cast, check_unary, check_binary, check_select, check_reduce, check_gather,
    check_scatter_add, check_matmul, check_random, check_unpack, check_pack;

/* check_fused.c: the others. */
record_check check_linear, check_linear_grad_input, check_linear_grad_weight, check_linear_grad_adapter, check_linear_cross_entropy,
    check_quantise, check_dequantise, check_attention, check_attention_grad, check_rmsnorm, check_rmsnorm_grad, check_rope, check_swiglu,
    check_swiglu_grad, check_scale, check_scale_grad, check_dropout_mask, check_global_norm, check_guard, check_adamw;

/* What both files ask. */
int is_matrix(const struct view *view, int64_t rows, int64_t cols); /* floats [rows, cols], both below 2^31 */
/* samples, positions i32 [rows], seed i32 [2], step i32 [1] at in. */
int has_random_site(const struct view *in, int64_t rows);
/* UNSUPPORTED where no product is computed in this dtype; 0 is f32. */
int32_t check_compute(uint32_t compute, char *text, uint64_t text_bytes);

/* What a query asks about, for kernels that claim all of it. Dtypes of 0 are not asked about. */
int asks_stored(const trainer_op_query *query);    /* dtypes that backends must store; a float weight */
int asks_product(const trainer_op_query *query);   /* floats, and a weight in a format of the border */
int asks_quantised(const trainer_op_query *query); /* a float and its codes, in a format of the border */

#ifdef __cplusplus
}
#endif

#endif
