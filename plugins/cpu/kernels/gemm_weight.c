/* gemm_weight.c - see gemm_weight.h. */
#include "gemm_weight.h"

uint32_t gemm_level(const trainer_op_query *query, enum isa isa) {
  (void)isa;
  return asks_product(query) ? TRAINER_LEVEL_FAST : TRAINER_LEVEL_NONE;
}

struct gemm_source gemm_weight(const struct view *w, const trainer_quant_format *format, int64_t out, int64_t in, int k_is_out) {
  const struct view *data = &w[TRAINER_WEIGHT_DATA];
  if (quant_is_dense(format)) return gemm_view(data, k_is_out ? 1 : 0, 0);
  return (struct gemm_source){.data = data->data, .dtype = TRAINER_U8, .k_major = k_is_out, .line = in, .step = 1, .factor = 1.0f, .keep_scale = 1.0f,
                              .quant = quant_of(w, format, out * in)};
}

struct gemm_source gemm_view(const struct view *view, uint32_t row_dim, int64_t col) {
  const char *data = (const char *)view->data + col * view->stride[1] * dtype_bytes(view->dtype);
  return gemm_dense(data, view->dtype, view->stride[row_dim], view->stride[1 - row_dim]);
}

struct gemm_source gemm_lines(const struct view *view, int k_major) {
  return (struct gemm_source){
      .data = view->data, .dtype = view->dtype, .k_major = k_major, .line = view->stride[0], .step = view->stride[1], .factor = 1.0f, .keep_scale = 1.0f};
}

void gemm_set_mask(struct gemm_source *source, const struct view *mask, float keep_scale) {
  if (!mask->present) return;
  source->mask = mask->data;
  source->mask_line = mask->stride[0];
  source->mask_step = mask->stride[1];
  source->keep_scale = keep_scale;
}

struct gemm_matrix gemm_matrix_view(const struct view *view, int64_t col) {
  if (!view->present) return (struct gemm_matrix){0};
  char *data = (char *)view->data + col * view->stride[1] * dtype_bytes(view->dtype);
  return (struct gemm_matrix){.data = data, .dtype = view->dtype, .row = view->stride[0], .col = view->stride[1]};
}
