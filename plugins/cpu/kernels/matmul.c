/* matmul.c - batched strided products d = alpha a b + beta d. */
#include "../../../native/half.h"
#include "gemm_weight.h"

/* Products up to this many multiplications are shared out whole, one batch item a task. */
#define SMALL_PRODUCT ((int64_t)1 << 21)

/* The sizes of one call; batch counts the leading dimensions as one. */
struct sizes {
  int64_t m, n, k, batch;
};

static struct sizes sizes_of(const struct call *call) {
  const struct view *d = &call->out[0], *a = &call->in[0];
  struct sizes s = {d->shape[d->rank - 2], d->shape[d->rank - 1], a->shape[a->rank - 1], 1};
  for (uint32_t dim = 0; dim + 2 < d->rank; dim++) s.batch *= d->shape[dim];
  return s;
}

static int shared_whole(const struct sizes *s) { return s->batch > 1 && s->m * s->n * s->k <= SMALL_PRODUCT; }

/* The workspace of one product: a and b where they may be d too, then the product's. */
struct layout {
  int copy_a, copy_b;
  uint64_t b, product, bytes;
};

static struct layout layout_of(const struct call *call, const struct sizes *s) {
  const void *d = call->out[0].data; /* all addresses are NULL, hence equal, in a check */
  struct layout at = {.copy_a = s->k == s->n && call->in[0].data == d, .copy_b = s->k == s->m && call->in[1].data == d};
  if (at.copy_a) at.b = gemm_align((uint64_t)(s->m * s->k) * sizeof(float));
  at.product = at.b;
  if (at.copy_b) at.product += gemm_align((uint64_t)(s->k * s->n) * sizeof(float));
  at.bytes = at.product + gemm_workspace(call->isa, s->m, s->n, s->k);
  return at;
}

static uint64_t workspace(const struct call *call, uint32_t threads) {
  struct sizes s = sizes_of(call);
  return layout_of(call, &s).bytes * (shared_whole(&s) ? threads : 1);
}

struct batch {
  const struct call *call;
  struct sizes sizes;
  struct layout layout;
};

/* The matrix of one batch item. */
static struct view item_of(const struct view *x, const struct view *d, int64_t item) {
  int64_t offset = 0;
  for (uint32_t dim = d->rank - 2; dim-- > 0; item /= d->shape[dim])
    if (x->shape[dim] > 1) offset += item % d->shape[dim] * x->stride[dim];
  struct view matrix = {.data = (char *)x->data + offset * dtype_bytes(x->dtype), .dtype = x->dtype, .rank = 2, .present = 1};
  for (uint32_t dim = 0; dim < 2; dim++) {
    matrix.shape[dim] = x->shape[x->rank - 2 + dim];
    matrix.stride[dim] = x->stride[x->rank - 2 + dim];
  }
  return matrix;
}

/* Moves an input that is also the output out of the way, as f32. */
static void copy(struct view *x, void *to) {
  float *dst = to;
  uint32_t size = dtype_bytes(x->dtype);
  for (int64_t i = 0; i < x->shape[0]; i++)
    for (int64_t j = 0; j < x->shape[1]; j++)
      load_f32(dst + i * x->shape[1] + j, (const char *)x->data + (i * x->stride[0] + j * x->stride[1]) * size, x->dtype, 1);
  *x = (struct view){.data = to, .dtype = TRAINER_F32, .rank = 2, .shape = {x->shape[0], x->shape[1]}, .stride = {x->shape[1], 1}, .present = 1};
}

static void multiply_item(const struct batch *batch, int64_t item, struct pool *pool, char *scratch) {
  const struct call *call = batch->call;
  const trainer_attr_matmul *attr = call->attr;
  const struct view *out = &call->out[0];
  struct view d = item_of(out, out, item), a = item_of(&call->in[0], out, item), b = item_of(&call->in[1], out, item);
  if (batch->layout.copy_a) copy(&a, scratch);
  if (batch->layout.copy_b) copy(&b, scratch + batch->layout.b);
  struct gemm_term term = {gemm_view(&a, 0, 0), gemm_view(&b, 1, 0), batch->sizes.k};
  struct gemm_job job = gemm_job_make(call->isa, attr->compute, batch->sizes.m, batch->sizes.n, &term, 1);
  job.alpha = f32_from_bits(attr->alpha_bits);
  job.beta = f32_from_bits(attr->beta_bits);
  job.c = gemm_matrix_view(&d, 0);
  gemm_run(&job, pool, scratch + batch->layout.product);
}

static void item_task(void *arg, int64_t item, uint32_t worker) {
  const struct batch *batch = arg;
  multiply_item(batch, item, NULL, (char *)batch->call->workspace + worker * batch->layout.bytes);
}

static void run(const struct call *call) {
  struct batch batch = {.call = call, .sizes = sizes_of(call)};
  batch.layout = layout_of(call, &batch.sizes);
  if (shared_whole(&batch.sizes)) {
    pool_run(call->pool, batch.sizes.batch, item_task, &batch);
    return;
  }
  for (int64_t item = 0; item < batch.sizes.batch; item++) multiply_item(&batch, item, call->pool, call->workspace);
}

const struct kernel kernel_matmul = {TRAINER_OP_MATMUL, "matmul", check_matmul, workspace, run, gemm_level};
