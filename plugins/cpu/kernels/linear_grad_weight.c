/* linear_grad_weight.c - dW_p += dy_p^T x and dbias_p += the column sums of dy_p. */
#include "linear.h"

#define BIAS_COLUMNS 64 /* of one task */

static uint64_t workspace(const struct call *call, uint32_t threads) {
  struct linear linear = linear_of(call);
  (void)threads;
  return gemm_workspace(call->isa, linear.out, linear.in, call->in[0].shape[0]);
}

struct bias_sum {
  const struct view *dy, *bias;
  int64_t col; /* of the projection in dy */
  int fresh;   /* what bias holds is not added to */
};

static void add_bias(void *arg, int64_t task, uint32_t worker) {
  const struct bias_sum *sum = arg;
  int64_t first = task * BIAS_COLUMNS, n = sum->bias->shape[0] - first;
  float total[BIAS_COLUMNS] = {0}, line[BIAS_COLUMNS];
  uint32_t size = dtype_bytes(sum->dy->dtype);
  (void)worker;
  if (n > BIAS_COLUMNS) n = BIAS_COLUMNS;
  for (int64_t t = 0; t < sum->dy->shape[0]; t++) {
    const char *at = (const char *)sum->dy->data + (t * sum->dy->stride[0] + (sum->col + first) * sum->dy->stride[1]) * size;
    if (sum->dy->stride[1] == 1) load_f32(line, at, sum->dy->dtype, n);
    else
      for (int64_t i = 0; i < n; i++) load_f32(line + i, at + i * sum->dy->stride[1] * size, sum->dy->dtype, 1);
    for (int64_t i = 0; i < n; i++) total[i] += line[i];
  }
  for (int64_t i = 0; i < n; i++) {
    char *at = (char *)sum->bias->data + (first + i) * sum->bias->stride[0] * dtype_bytes(sum->bias->dtype);
    if (!sum->fresh) {
      load_f32(line, at, sum->bias->dtype, 1);
      total[i] += line[0];
    }
    store_f32(at, sum->bias->dtype, &total[i], 1);
  }
}

static void run(const struct call *call) {
  struct linear linear = linear_of(call);
  int64_t rows = call->in[0].shape[0], col = 0;
  for (uint32_t p = 0; p < linear.n; p++) {
    const struct view *dw = &call->out[2 * p], *bias = &call->out[2 * p + 1];
    int64_t out = linear.projections[p].out_features;
    if (dw->present) {
      struct gemm_term term = {gemm_view(&call->in[0], 1, col), gemm_view(&call->in[1], 1, 0), rows};
      struct gemm_job job = gemm_job_make(call->isa, linear.attr->compute, out, linear.in, &term, 1);
      job.beta = linear.attr->fresh ? 0.0f : 1.0f;
      job.c = gemm_matrix_view(dw, 0);
      gemm_run(&job, call->pool, call->workspace);
    }
    if (bias->present) {
      struct bias_sum sum = {&call->in[0], bias, col, linear.attr->fresh != 0};
      pool_run(call->pool, (out + BIAS_COLUMNS - 1) / BIAS_COLUMNS, add_bias, &sum);
    }
    col += out;
  }
}

const struct kernel kernel_linear_grad_weight = {TRAINER_OP_LINEAR_GRAD_WEIGHT, "linear_grad_weight", check_linear_grad_weight, workspace, run, gemm_level};
