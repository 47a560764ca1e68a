/* linear_grad_weight.cu - dW_p += dy_p^T x and dbias_p += the column sums of dy_p,
 * or = where they are fresh. */
#include "linear.cuh"

#define COLUMNS 32 /* of one block */
#define LINES 16   /* threads that share a column */

template <typename T> static __device__ __forceinline__ float column_sum(const T *x, int64_t rows, int64_t row) {
  float sum = 0.0f;
  for (int64_t t = threadIdx.y; t < rows; t += LINES) sum += to_f32(x[t * row]);
  return sum;
}

/* The sum is f32 whatever bias is: it is added once. */
template <typename T, typename B> static __global__ void add_bias(B *bias, int64_t step, const T *dy, int64_t row, int64_t col, int64_t rows, int64_t n, int fresh) {
  __shared__ float part[LINES][COLUMNS];
  int64_t at = (int64_t)blockIdx.x * COLUMNS + threadIdx.x;
  part[threadIdx.y][threadIdx.x] = at < n ? column_sum(dy + at * col, rows, row) : 0.0f;
  __syncthreads();
  if (threadIdx.y || at >= n) return;
  float sum = fresh ? 0.0f : to_f32(bias[at * step]), more = 0.0f;
  for (int i = 0; i < LINES; i++) more += part[i][threadIdx.x];
  bias[at * step] = from_f32<B>(sum + more);
}

template <typename T> static void launch_bias(const struct view *bias, struct matrix dy, int fresh, cudaStream_t stream) {
  dim3 block(COLUMNS, LINES);
  unsigned grid = (unsigned)divide_up(dy.cols, COLUMNS);
  WITH_FLOAT(B, bias->dtype, add_bias<T, B><<<grid, block, 0, stream>>>((B *)bias->data, bias->stride[0], (const T *)dy.data, dy.row, dy.col, dy.rows, dy.cols, fresh));
}

/* dw += dy^T x, or = where it is fresh, through f32 scratch if a product cannot write dw. */
static void add_weight(struct pass *pass, uint32_t compute, struct matrix dw, struct matrix dy, struct matrix x, int fresh) {
  if (gemm_writes(&dw, compute)) {
    struct gemm product = gemm_onto(compute, matrix_transposed(dy), x, dw, dw);
    product.beta = fresh ? 0.0f : 1.0f;
    pass_gemm(pass, &product);
    return;
  }
  struct matrix made = scratch_matrix(&pass->scratch, TRAINER_F32, dw.rows, dw.cols);
  struct gemm product = gemm_of(compute, matrix_transposed(dy), x, made);
  pass_gemm(pass, &product);
  struct blends blends = pass_blends(pass);
  struct blend add = blend_copy(dw, made);
  if (!fresh) add.add = dw;
  blends_add(&blends, add);
  blends_run(&blends);
}

/* What sums over no rows are. */
static void clear(struct pass *pass, const struct linear *l) {
  struct blends blends = pass_blends(pass);
  struct matrix none = {};
  for (uint32_t p = 0; p < l->n; p++) {
    const struct view *dw = &pass->call->out[2 * p], *bias = &pass->call->out[2 * p + 1];
    struct matrix row = {bias->data, bias->dtype, 1, bias->shape[0], 0, bias->stride[0]};
    if (dw->present) blends_add(&blends, blend_copy(matrix_of(dw), none));
    if (bias->present) blends_add(&blends, blend_copy(row, none));
  }
  blends_run(&blends);
}

static void body(struct pass *pass) {
  const struct call *call = pass->call;
  struct linear l = linear_of(call);
  struct matrix dy = matrix_of(&call->in[0]), x = matrix_of(&call->in[1]), left = dy;
  int wanted = 0;
  if (dy.rows == 0) {
    if (l.attr->fresh) clear(pass, &l);
    return;
  }
  for (uint32_t p = 0; p < l.n; p++) wanted |= call->out[2 * p].present;
  if (wanted) {
    struct blends blends = pass_blends(pass);
    left = side_of(pass, &blends, dy, l.compute);
    x = side_of(pass, &blends, x, l.compute);
    blends_run(&blends);
  }
  struct slice at = {};
  for (uint32_t p = 0; p < l.n; at = slice_next(at, &l.projections[p++])) {
    const struct view *dw = &call->out[2 * p], *bias = &call->out[2 * p + 1];
    int64_t out = l.projections[p].out_features;
    if (dw->present) add_weight(pass, l.compute, matrix_of(dw), matrix_cols(left, at.out, out), x, l.attr->fresh != 0);
    if (bias->present && pass_runs(pass)) WITH_FLOAT(T, dy.dtype, launch_bias<T>(bias, matrix_cols(dy, at.out, out), l.attr->fresh != 0, call->stream));
  }
}

static int32_t prepare(const struct call *call, void **prepared, char *text, uint64_t text_bytes) {
  return pass_prepare(call, body, linear_of(call).n, prepared, text, text_bytes);
}
static uint64_t workspace(const struct call *call) { return pass_workspace(call, body); }
static int32_t run(const struct call *call, char *text, uint64_t text_bytes) { return pass_run(call, body, text, text_bytes); }

const struct kernel kernel_linear_grad_weight = {TRAINER_OP_LINEAR_GRAD_WEIGHT, "linear_grad_weight", check_linear_grad_weight, prepare, pass_discard, workspace, run, weight_level};
