/* linear_grad_input.c - v_p = scale_p * dy_p B_p and dx = residual + sum_p dy_p W_p +
 * drop(sum_p v_p A_p): all projections in one pass over dx. */
#include "linear.h"

#define OPERANDS_EACH (TRAINER_WEIGHT_OPERANDS + 2) /* weight, A, B */

/* The workspace: the terms of dx, then v where the call does not want it, then the product's. */
struct layout {
  uint64_t v, product;
};

static struct layout layout_of(const struct call *call, const struct linear *linear) {
  struct layout at;
  at.v = gemm_align(2 * (uint64_t)linear->n * sizeof(struct gemm_term));
  uint64_t own_v = call->out[1].present ? 0 : (uint64_t)(call->in[0].shape[0] * linear->rank) * sizeof(float);
  at.product = at.v + gemm_align(own_v);
  return at;
}

static uint64_t workspace(const struct call *call, uint32_t threads) {
  struct linear linear = linear_of(call);
  int64_t width = linear.in > linear.rank ? linear.in : linear.rank;
  (void)threads;
  return layout_of(call, &linear).product + gemm_workspace(call->isa, call->in[0].shape[0], width, linear.out + linear.rank);
}

/* v, in the output or in the workspace. */
static struct view v_of(const struct call *call, const struct linear *linear, const struct layout *at) {
  if (call->out[1].present) return call->out[1];
  int64_t rows = call->in[0].shape[0];
  return (struct view){
      .data = (char *)call->workspace + at->v,
      .dtype = TRAINER_F32,
      .rank = 2,
      .shape = {rows, linear->rank},
      .stride = {linear->rank, 1},
      .count = rows * linear->rank,
      .present = 1,
  };
}

static void make_v(const struct call *call, const struct linear *linear, const struct view *v, void *scratch) {
  int64_t col = 0, rank_col = 0;
  for (uint32_t p = 0; p < linear->n; p++) {
    const trainer_projection *at = &linear->projections[p];
    const struct view *b = call->in + 3 + p * OPERANDS_EACH + TRAINER_WEIGHT_OPERANDS + 1;
    if (at->rank) {
      struct gemm_term term = {gemm_view(&call->in[0], 0, col), gemm_view(b, 1, 0), at->out_features};
      struct gemm_job job = gemm_job_make(call->isa, linear->attr->compute, call->in[0].shape[0], at->rank, &term, 1);
      job.alpha = f32_from_bits(at->scale_bits);
      job.c = gemm_matrix_view(v, rank_col);
      gemm_run(&job, call->pool, scratch);
    }
    col += at->out_features;
    rank_col += at->rank;
  }
}

/* The adapters' terms first: the mask multiplies their sum alone. */
static uint32_t make_terms(const struct call *call, const struct linear *linear, const struct view *v, struct gemm_term *terms, uint32_t *adapters) {
  uint32_t n = 0;
  int64_t col = 0;
  for (uint32_t p = 0; p < linear->n; p++) {
    const trainer_projection *at = &linear->projections[p];
    const struct view *a = call->in + 3 + p * OPERANDS_EACH + TRAINER_WEIGHT_OPERANDS;
    if (at->rank) terms[n++] = (struct gemm_term){gemm_view(v, 0, col), gemm_view(a, 1, 0), at->rank};
    col += at->rank;
  }
  *adapters = n;
  col = 0;
  for (uint32_t p = 0; p < linear->n; p++) {
    const trainer_projection *at = &linear->projections[p];
    const struct view *w = call->in + 3 + p * OPERANDS_EACH;
    terms[n++] = (struct gemm_term){gemm_view(&call->in[0], 0, col), gemm_weight(w, &at->format, at->out_features, linear->in, 1), at->out_features};
    col += at->out_features;
  }
  return n;
}

static void run(const struct call *call) {
  struct linear linear = linear_of(call);
  struct layout at = layout_of(call, &linear);
  struct view v = v_of(call, &linear, &at);
  const struct view *mask = &call->in[1];
  void *scratch = (char *)call->workspace + at.product;
  if (linear.rank) make_v(call, &linear, &v, scratch);
  if (!call->out[0].present) return;
  struct gemm_term *terms = call->workspace;
  uint32_t adapters, n = make_terms(call, &linear, &v, terms, &adapters);
  struct gemm_job job = gemm_job_make(call->isa, linear.attr->compute, call->in[0].shape[0], linear.in, terms, n);
  if (mask->present && adapters) {
    job.n_masked = adapters;
    job.mask = mask->data;
    job.mask_line = mask->stride[0];
    job.mask_step = mask->stride[1];
    job.keep_scale = f32_from_bits(linear.attr->keep_scale_bits);
  }
  job.residual = gemm_matrix_view(&call->in[2], 0);
  job.c = gemm_matrix_view(&call->out[0], 0);
  gemm_run(&job, call->pool, scratch);
}

const struct kernel kernel_linear_grad_input = {TRAINER_OP_LINEAR_GRAD_INPUT, "linear_grad_input", check_linear_grad_input, workspace, run, gemm_level};
