/* matmul.cu - batched strided products d = alpha a b + beta d. */
#include <stdlib.h>

#include "blend.cuh"
#include "gemm.cuh"
#include "weight.cuh"

static struct matrix last_two(const struct view *x) {
  uint32_t rank = x->rank;
  struct matrix m = {x->data, x->dtype, x->shape[rank - 2], x->shape[rank - 1], x->stride[rank - 2], x->stride[rank - 1]};
  return m;
}

/* Strides of the leading dimensions; those an input repeats are 0. */
static void batch_strides(int64_t *stride, const struct view *x) {
  for (uint32_t dim = 0; dim + 2 < x->rank; dim++) stride[dim] = x->shape[dim] == 1 ? 0 : x->stride[dim];
}

/* An input that may be the very view of the output, as all addresses are equal in a check. */
static int may_alias(const struct view *x, const struct view *d) { return x->data == d->data && same_shape(x, d); }

static struct gemm product_of(const struct call *call) {
  const trainer_attr_matmul *attr = (const trainer_attr_matmul *)call->attr;
  const struct view *d = &call->out[0];
  struct gemm g = gemm_of(compute_of(attr->compute), last_two(&call->in[0]), last_two(&call->in[1]), last_two(d));
  g.alpha = f32_of_bits(attr->alpha_bits);
  g.beta = f32_of_bits(attr->beta_bits);
  g.batch.rank = d->rank - 2;
  for (uint32_t dim = 0; dim < g.batch.rank; dim++) g.batch.shape[dim] = d->shape[dim];
  batch_strides(g.batch.a, &call->in[0]);
  batch_strides(g.batch.b, &call->in[1]);
  batch_strides(g.batch.c, d);
  batch_strides(g.batch.d, d);
  return g;
}

static int64_t items_of(const struct call *call) {
  const struct view *d = &call->out[0];
  return d->count ? d->count / (d->shape[d->rank - 1] * d->shape[d->rank - 2]) : 0;
}

/* Lets the result go to scratch, matrix after matrix. */
static void redirect(const struct call *call, struct gemm *g, struct scratch *scratch) {
  int64_t rows = g->d.rows, step = rows * padded(g->d.cols);
  g->d = scratch_matrix(scratch, g->d.dtype, rows * items_of(call), g->d.cols);
  g->d.rows = rows;
  for (uint32_t dim = g->batch.rank; dim-- > 0; step *= g->batch.shape[dim]) g->batch.d[dim] = step;
}

static int32_t prepare(const struct call *call, void **prepared, char *text, uint64_t text_bytes) {
  struct gemm g = product_of(call);
  struct gemm_plan *plan = (struct gemm_plan *)calloc(1, sizeof *plan);
  if (!plan) return refuse(text, text_bytes, TRAINER_OOM, "no memory for the plan of a product");
  *plan = gemm_prepare(call->gpu, &g);
  *prepared = plan;
  return TRAINER_OK;
}

static void discard(void *prepared) {
  gemm_discard((struct gemm_plan *)prepared);
  free(prepared);
}

/* For the library, or for a result that must not go where an input lies. */
static uint64_t workspace(const struct call *call) {
  struct scratch scratch = {};
  uint64_t bytes = gemm_workspace((const struct gemm_plan *)call->prepared);
  struct gemm g = product_of(call);
  if (may_alias(&call->in[0], &call->out[0]) || may_alias(&call->in[1], &call->out[0])) redirect(call, &g, &scratch);
  return scratch.bytes > bytes ? scratch.bytes : bytes;
}

/* Brings every matrix of the batch from scratch to the output. */
static void copy_out(const struct call *call, const struct gemm *g) {
  struct blends blends = blends_on(call->stream);
  const struct view *d = &call->out[0];
  for (int64_t item = 0; item < items_of(call); item++) {
    struct matrix from = g->d, to = last_two(d);
    int64_t left = item, offset = 0;
    for (uint32_t dim = g->batch.rank; dim-- > 0; left /= d->shape[dim]) offset += left % d->shape[dim] * d->stride[dim];
    from.data = (char *)from.data + item * from.rows * from.row * list_dtype_bytes(from.dtype);
    to.data = (char *)to.data + offset * list_dtype_bytes(to.dtype);
    blends_add(&blends, blend_copy(to, from));
  }
  blends_run(&blends);
}

/* The plan is that of separate operands; one over the other takes the plain kernel. */
static int32_t run(const struct call *call, char *text, uint64_t text_bytes) {
  if (call->out[0].count == 0) return TRAINER_OK;
  struct gemm g = product_of(call);
  if (!may_alias(&call->in[0], &call->out[0]) && !may_alias(&call->in[1], &call->out[0]))
    return gemm_run(call, (const struct gemm_plan *)call->prepared, &g, call->workspace, text, text_bytes);
  struct scratch scratch = {(char *)call->workspace, 0};
  struct gemm_plan none = {};
  redirect(call, &g, &scratch);
  int32_t status = gemm_run(call, &none, &g, NULL, text, text_bytes);
  if (status) return status;
  copy_out(call, &g);
  return launched(text, text_bytes);
}

const struct kernel kernel_matmul = {TRAINER_OP_MATMUL, "matmul", check_matmul, prepare, discard, workspace, run, weight_level};
