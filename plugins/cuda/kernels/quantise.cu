/* quantise.cu - QUANTISE and DEQUANTISE: DENSE (a cast) and every quantised format, whose
 * groups run over the flattened row-major weight. Codes are those of the CPU backend. */
#include "quantise.cuh"

#include "blend.cuh"
#include "weight.cuh"

static const trainer_quant_format *format_of(const struct call *call) { return &((const trainer_attr_quant *)call->attr)->format; }

static uint32_t level(const trainer_op_query *query, const struct gpu *gpu) {
  (void)gpu;
  return asks_quantised(query) ? TRAINER_LEVEL_FAST : TRAINER_LEVEL_NONE;
}

static int32_t cast(const struct call *call, const struct view *to, const struct view *from, char *text, uint64_t bytes) {
  struct blends blends = blends_on(call->stream);
  blends_add(&blends, blend_copy(matrix_of(to), matrix_of(from)));
  blends_run(&blends);
  return launched(text, bytes);
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

static int32_t dequantise_run(const struct call *call, char *text, uint64_t bytes) {
  if (quant_is_dense(format_of(call))) return cast(call, &call->out[0], &call->in[0], text, bytes);
  struct matrix dst = matrix_of(&call->out[0]);
  dst.row = dst.cols; /* contiguous, whatever a view of one row says */
  dequantise(dst, call->in, format_of(call), call->stream);
  return launched(text, bytes);
}

const struct kernel kernel_quantise = {TRAINER_OP_QUANTISE, "quantise", check_quantise, NULL, NULL, quantise_workspace, quantise_run, level};
const struct kernel kernel_dequantise = {TRAINER_OP_DEQUANTISE, "dequantise", check_dequantise, NULL, NULL, NULL, dequantise_run, level};
