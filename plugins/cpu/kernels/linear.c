/* linear.c - y_p = x W_p^T + bias_p + scale_p * drop(x) A_p^T B_p^T, the adapter's part
 * as extra columns of k in the same tile (Hu et al. 2021; Dettmers et al. 2023). */
#include "linear.h"

#define OPERANDS_EACH (TRAINER_WEIGHT_OPERANDS + 3) /* weight, bias, A, B */

struct linear linear_of(const struct call *call) {
  const trainer_attr_linear *attr = call->attr;
  struct linear linear = {.attr = attr, .projections = (const trainer_projection *)(const void *)(attr + 1), .n = attr->n_projections};
  for (uint32_t p = 0; p < linear.n; p++) {
    linear.in = linear.projections[p].in_features;
    linear.out += linear.projections[p].out_features;
    linear.rank += linear.projections[p].rank;
  }
  return linear;
}

static uint64_t workspace(const struct call *call, uint32_t threads) {
  struct linear linear = linear_of(call);
  uint64_t most = 0;
  (void)threads;
  for (uint32_t p = 0; p < linear.n; p++) {
    const trainer_projection *at = &linear.projections[p];
    int64_t width = at->out_features > at->rank ? at->out_features : at->rank;
    uint64_t bytes = gemm_workspace(call->isa, call->in[0].shape[0], width, linear.in + at->rank);
    if (bytes > most) most = bytes;
  }
  return most;
}

/* u_p = drop(x) A_p^T, at column `col` of u. */
static void project_down(const struct call *call, const struct linear *linear, const trainer_projection *p, const struct view *a, int64_t col) {
  const struct view *drop = &call->in[1];
  int given = drop->present && is_float(drop);
  struct gemm_term term = {gemm_lines(given ? drop : &call->in[0], 0), gemm_view(a, 0, 0), linear->in};
  if (!given) gemm_set_mask(&term.a, drop, f32_from_bits(linear->attr->keep_scale_bits));
  struct gemm_job job = gemm_job_make(call->isa, linear->attr->compute, call->in[0].shape[0], p->rank, &term, 1);
  job.c = gemm_matrix_view(&call->out[1], col);
  gemm_run(&job, call->pool, call->workspace);
}

/* y_p from x and u_p, at column `col` of y; u_p at column `rank_col` of u. */
static void project(const struct call *call, const struct linear *linear, const trainer_projection *p, const struct view *w, int64_t col, int64_t rank_col) {
  const struct view *bias = w + TRAINER_WEIGHT_OPERANDS;
  struct gemm_term terms[2] = {{gemm_view(&call->in[0], 0, 0), gemm_weight(w, &p->format, p->out_features, linear->in, 0), linear->in}};
  if (p->rank) {
    terms[1] = (struct gemm_term){gemm_view(&call->out[1], 0, rank_col), gemm_view(bias + 2, 0, 0), p->rank};
    terms[1].a.factor = f32_from_bits(p->scale_bits);
  }
  struct gemm_job job = gemm_job_make(call->isa, linear->attr->compute, call->in[0].shape[0], p->out_features, terms, p->rank ? 2 : 1);
  if (bias->present) job.bias = (struct gemm_matrix){.data = bias->data, .dtype = bias->dtype, .col = bias->stride[0]};
  job.c = gemm_matrix_view(&call->out[0], col);
  gemm_run(&job, call->pool, call->workspace);
}

static void run(const struct call *call) {
  struct linear linear = linear_of(call);
  int64_t col = 0, rank_col = 0;
  for (uint32_t p = 0; p < linear.n; p++) {
    const trainer_projection *at = &linear.projections[p];
    const struct view *w = call->in + 2 + p * OPERANDS_EACH;
    if (at->rank) project_down(call, &linear, at, w + TRAINER_WEIGHT_OPERANDS + 1, rank_col);
    project(call, &linear, at, w, col, rank_col);
    col += at->out_features;
    rank_col += at->rank;
  }
}

const struct kernel kernel_linear = {TRAINER_OP_LINEAR, "linear", check_linear, workspace, run, gemm_level};
