/* linear_grad_adapter.cu - dA_p += v_p^T drop(x) and dB_p += scale_p * dy_p^T u_p. All dA
 * are one product, which reads x once. */
#include "linear.cuh"

static int any_present(const struct call *call, uint32_t first) {
  for (uint32_t i = first; i < call->n_out; i += 2)
    if (call->out[i].present) return 1;
  return 0;
}

/* Adds a part of an f32 sum to a gradient. */
static void accumulate(struct blends *blends, struct matrix gradient, struct matrix sum) {
  struct blend add = blend_copy(gradient, sum);
  add.add = gradient;
  blends_add(blends, add);
}

static void add_a(struct pass *pass, const struct linear *l) {
  const struct call *call = pass->call;
  const struct view *mask = &call->in[2];
  struct blends blends = pass_blends(pass);
  struct matrix x = matrix_of(&call->in[1]), v = ranks_side(pass, &blends, l, &call->in[4]);
  if (mask->present) {
    struct matrix dropped = scratch_matrix(&pass->scratch, l->compute, x.rows, x.cols);
    blends_add(&blends, blend_drop(dropped, x, mask, f32_of_bits(l->attr->keep_scale_bits)));
    x = dropped;
  } else {
    x = side_of(pass, &blends, x, l->compute);
  }
  blends_run(&blends);
  struct matrix sum = scratch_matrix(&pass->scratch, TRAINER_F32, l->ranks, l->in);
  struct gemm product = gemm_of(l->compute, matrix_transposed(v), x, sum);
  pass_gemm(pass, &product);
  blends = pass_blends(pass);
  struct slice at = {};
  for (uint32_t p = 0; p < l->n; at = slice_next(at, &l->projections[p++])) {
    const struct view *da = &call->out[2 * p];
    if (da->present) accumulate(&blends, matrix_of(da), matrix_rows(sum, at.stacked, da->shape[0]));
  }
  blends_run(&blends);
}

static void add_b(struct pass *pass, const struct linear *l) {
  const struct call *call = pass->call;
  struct blends blends = pass_blends(pass);
  struct matrix dy = side_of(pass, &blends, matrix_of(&call->in[0]), l->compute), u = ranks_side(pass, &blends, l, &call->in[3]);
  blends_run(&blends);
  struct slice at = {};
  for (uint32_t p = 0; p < l->n; at = slice_next(at, &l->projections[p++])) {
    const trainer_projection *projection = &l->projections[p];
    const struct view *db = &call->out[2 * p + 1];
    if (!db->present) continue;
    struct matrix sum = scratch_matrix(&pass->scratch, TRAINER_F32, projection->out_features, padded(projection->rank));
    struct gemm product = gemm_of(l->compute, matrix_transposed(matrix_cols(dy, at.out, sum.rows)), matrix_cols(u, at.stacked, sum.cols), sum);
    product.alpha = f32_of_bits(projection->scale_bits);
    pass_gemm(pass, &product);
    blends = pass_blends(pass);
    accumulate(&blends, matrix_of(db), matrix_cols(sum, 0, projection->rank));
    blends_run(&blends);
  }
}

static void body(struct pass *pass) {
  struct linear l = linear_of(pass->call);
  if (pass->call->in[0].shape[0] == 0) return;
  if (any_present(pass->call, 0)) add_a(pass, &l);
  if (any_present(pass->call, 1)) add_b(pass, &l);
}

static int32_t prepare(const struct call *call, void **prepared, char *text, uint64_t text_bytes) {
  return pass_prepare(call, body, 1 + (uint64_t)linear_of(call).n, prepared, text, text_bytes);
}
static uint64_t workspace(const struct call *call) { return pass_workspace(call, body); }
static int32_t run(const struct call *call, char *text, uint64_t text_bytes) { return pass_run(call, body, text, text_bytes); }

const struct kernel kernel_linear_grad_adapter = {TRAINER_OP_LINEAR_GRAD_ADAPTER, "linear_grad_adapter", check_linear_grad_adapter, prepare, pass_discard, workspace, run, weight_level};
