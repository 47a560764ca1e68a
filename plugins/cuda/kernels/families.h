/* families.h - every kernel of the CUDA backend, by op id. A family that is not here does
 * not exist for the host; one that is here must be claimed truthfully. */
#ifndef TRAINER_CUDA_FAMILIES_H
#define TRAINER_CUDA_FAMILIES_H

#include "../kernel.h"

/* clang-format off */
#define TRAINER_CUDA_FAMILIES(X) \
  X(kernel_copy) \
  X(kernel_fill) \
  X(kernel_cast) \
  X(kernel_unary) \
  X(kernel_binary) \
  X(kernel_select) \
  X(kernel_reduce) \
  X(kernel_gather) \
  X(kernel_scatter_add) \
  X(kernel_matmul) \
  X(kernel_random) \
  X(kernel_unpack) \
  X(kernel_pack) \
  X(kernel_iota) \
  X(kernel_quantise) \
  X(kernel_dequantise) \
  X(kernel_linear) \
  X(kernel_linear_grad_input) \
  X(kernel_linear_grad_weight) \
  X(kernel_linear_grad_adapter) \
  X(kernel_linear_cross_entropy) \
  X(kernel_rmsnorm) \
  X(kernel_rmsnorm_grad) \
  X(kernel_rope) \
  X(kernel_swiglu) \
  X(kernel_swiglu_grad) \
  X(kernel_attention) \
  X(kernel_attention_grad) \
  X(kernel_dropout_mask) \
  X(kernel_adamw) \
  X(kernel_global_norm) \
  X(kernel_guard) \
  X(kernel_scale) \
  X(kernel_scale_grad)
/* clang-format on */

#ifdef __cplusplus
#define TRAINER_CUDA_DECLARE(name) extern "C" const struct kernel name;
#else
#define TRAINER_CUDA_DECLARE(name) extern const struct kernel name;
#endif
TRAINER_CUDA_FAMILIES(TRAINER_CUDA_DECLARE)
#undef TRAINER_CUDA_DECLARE

#endif
