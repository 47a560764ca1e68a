/* linear_grad_adapter.c - dA_p += v_p^T drop(x) and dB_p += scale_p * dy_p^T u_p. */
#include "linear.h"

static uint64_t workspace(const struct call *call, uint32_t threads) {
  struct linear linear = linear_of(call);
  int64_t most = linear.in;
  (void)threads;
  for (uint32_t p = 0; p < linear.n; p++)
    if (linear.projections[p].out_features > most) most = linear.projections[p].out_features;
  return gemm_workspace(call->isa, linear.rank, most, call->in[0].shape[0]);
}

static void add_a(const struct call *call, const struct linear *linear, const trainer_projection *p, const struct view *da, int64_t rank_col) {
  struct gemm_term term = {gemm_view(&call->in[4], 1, rank_col), gemm_lines(&call->in[1], 1), call->in[0].shape[0]};
  gemm_set_mask(&term.b, &call->in[2], f32_from_bits(linear->attr->keep_scale_bits));
  struct gemm_job job = gemm_job_make(call->isa, linear->attr->compute, p->rank, p->in_features, &term, 1);
  job.beta = 1.0f;
  job.c = gemm_matrix_view(da, 0);
  gemm_run(&job, call->pool, call->workspace);
}

/* Computed as dB^T += u^T dy: the wide side is packed in long runs. */
static void add_b(const struct call *call, const struct linear *linear, const trainer_projection *p, const struct view *db, int64_t col, int64_t rank_col) {
  struct gemm_term term = {gemm_view(&call->in[3], 1, rank_col), gemm_view(&call->in[0], 1, col), call->in[0].shape[0]};
  struct gemm_job job = gemm_job_make(call->isa, linear->attr->compute, p->rank, p->out_features, &term, 1);
  job.alpha = f32_from_bits(p->scale_bits);
  job.beta = 1.0f;
  job.c = (struct gemm_matrix){.data = db->data, .dtype = db->dtype, .row = db->stride[1], .col = db->stride[0]};
  gemm_run(&job, call->pool, call->workspace);
}

static void run(const struct call *call) {
  struct linear linear = linear_of(call);
  int64_t col = 0, rank_col = 0;
  for (uint32_t p = 0; p < linear.n; p++) {
    const trainer_projection *at = &linear.projections[p];
    const struct view *da = &call->out[2 * p], *db = &call->out[2 * p + 1];
    if (da->present) add_a(call, &linear, at, da, rank_col);
    if (db->present) add_b(call, &linear, at, db, col, rank_col);
    col += at->out_features;
    rank_col += at->rank;
  }
}

const struct kernel kernel_linear_grad_adapter = {TRAINER_OP_LINEAR_GRAD_ADAPTER, "linear_grad_adapter", check_linear_grad_adapter, workspace, run, gemm_level};
