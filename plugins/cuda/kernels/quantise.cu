/* quantise.cu - QUANTISE and DEQUANTISE: DENSE (a cast) and every quantised format, whose
 * groups run over the flattened row-major weight. Codes are those of the CPU backend. */
#include "quantise.cuh"

#include "blend.cuh"
#include "weight.cuh"

static const trainer_quant_format *format_of(const struct call *call) { return &((const trainer_attr_quant *)call->attr)->format; }

static int32_t check(const struct call *call, const struct view *weight, const struct view *dense, char *text, uint64_t bytes) {
  const trainer_attr_quant *attr = (const trainer_attr_quant *)call->attr;
  if (call->attr_bytes < sizeof *attr) return refuse(text, bytes, TRAINER_INVALID, "quantise and dequantise need their attributes");
  if (!is_float(dense) || dense->rank != 2 || dense->shape[0] != attr->rows || dense->shape[1] != attr->cols)
    return refuse(text, bytes, TRAINER_INVALID, "the dense weight is not float [rows, cols]");
  if (!quant_is_dense(&attr->format) && !is_contiguous(dense)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "the dense weight has gaps");
  return quant_check(weight, &attr->format, attr->rows, attr->cols, text, bytes);
}

static uint32_t level(const trainer_op_query *query, const struct gpu *gpu) {
  const struct view view = {.dtype = query->dtype ? query->dtype : TRAINER_F32, .present = 1};
  const struct view weight = {.dtype = query->weight_dtype ? query->weight_dtype : TRAINER_F32, .present = 1};
  (void)gpu;
  int stored = is_float(&weight) || (!quant_is_dense(&query->format) && query->weight_dtype == TRAINER_U8);
  return quant_exists(&query->format) && is_float(&view) && stored ? TRAINER_LEVEL_FAST : TRAINER_LEVEL_NONE;
}

static int32_t cast(const struct call *call, const struct view *to, const struct view *from, char *text, uint64_t bytes) {
  struct blends blends = blends_on(call->stream);
  blends_add(&blends, blend_copy(matrix_of(to), matrix_of(from)));
  blends_run(&blends);
  return launched(text, bytes);
}

static int32_t quantise_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != TRAINER_WEIGHT_OPERANDS || call->n_in != 1)
    return refuse(text, bytes, TRAINER_INVALID, "quantise needs a weight of eight outputs and src");
  return check(call, call->out, call->in, text, bytes);
}

static uint64_t quantise_workspace(const struct call *call) {
  const trainer_quant_format *f = format_of(call);
  if (quant_is_dense(f)) return 0;
  return quant_is_tabled(f->format) ? tabled_workspace(f, call->in[0].count) : spread_workspace(f, call->in[0].count);
}

static int32_t quantise_run(const struct call *call, char *text, uint64_t bytes) {
  const trainer_quant_format *f = format_of(call);
  if (quant_is_dense(f)) return cast(call, &call->out[0], &call->in[0], text, bytes);
  if (call->in[0].count == 0) return TRAINER_OK;
  if (quant_is_tabled(f->format)) quantise_tabled(call, f);
  else quantise_spread(call, f);
  return launched(text, bytes);
}

static int32_t dequantise_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != 1 || call->n_in != TRAINER_WEIGHT_OPERANDS)
    return refuse(text, bytes, TRAINER_INVALID, "dequantise needs dst and a weight of eight inputs");
  return check(call, call->in, call->out, text, bytes);
}

static int32_t dequantise_run(const struct call *call, char *text, uint64_t bytes) {
  if (quant_is_dense(format_of(call))) return cast(call, &call->out[0], &call->in[0], text, bytes);
  struct matrix dst = matrix_of(&call->out[0]);
  dst.row = dst.cols; /* contiguous, whatever a view of one row says */
  dequantise(dst, call->in, format_of(call), call->stream);
  return launched(text, bytes);
}

const struct kernel kernel_quantise = {TRAINER_OP_QUANTISE, "quantise", quantise_check, NULL, NULL, quantise_workspace, quantise_run, level};
const struct kernel kernel_dequantise = {TRAINER_OP_DEQUANTISE, "dequantise", dequantise_check, NULL, NULL, NULL, dequantise_run, level};
