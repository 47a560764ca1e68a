/* crossentropy.c - the loss of a vocabulary projection and its gradients, a chunk of rows
 * at a time, so that logits never exist as a whole (as in Liger Kernel; Hsu et al. 2024).
 * Rows without a label are left out of every product. */
#include <math.h>
#include <string.h>

#include "gemm_weight.h"
#include "rowmath.h"

#define CHUNK_BYTES ((int64_t)64 << 20) /* of logits; fewer rows would spend the time packing the weight */
#define CHUNK_ROWS 336
#define CHUNK_MULTIPLE 84 /* whole register tiles of every instruction set */
#define CHUNK_ELEMENTS_MOST ((int64_t)1 << 40) /* whatever the attribute asks for */
#define LANES_OF_MAX 16

static int64_t chunk_rows(const trainer_attr_linear_cross_entropy *attr, int64_t rows) {
  int64_t chunk = attr->chunk;
  if (chunk == 0) {
    chunk = CHUNK_BYTES / (4 * attr->out_features);
    if (chunk > CHUNK_ROWS) chunk = CHUNK_ROWS;
    if (chunk > CHUNK_MULTIPLE) chunk -= chunk % CHUNK_MULTIPLE;
    if (chunk < 16) chunk = 16;
  }
  int64_t most = CHUNK_ELEMENTS_MOST / attr->out_features;
  if (chunk > most) chunk = most;
  return chunk < rows ? chunk : rows;
}

/* The workspace: indexes of the labelled rows, their losses, the chunk of logits, the
 * products' own. */
struct layout {
  uint64_t losses, logits, product, bytes;
};

static struct layout layout_of(const struct call *call) {
  const trainer_attr_linear_cross_entropy *attr = call->attr;
  int64_t rows = call->in[0].shape[0], chunk = chunk_rows(attr, rows), out = attr->out_features, in = attr->in_features;
  struct layout at;
  at.losses = gemm_align((uint64_t)rows * sizeof(int32_t));
  at.logits = at.losses + gemm_align((uint64_t)rows * sizeof(double));
  at.product = at.logits + gemm_align((uint64_t)(chunk * out) * sizeof(float));
  uint64_t most = gemm_workspace(call->isa, chunk, out, in), dh = gemm_workspace(call->isa, chunk, in, out);
  uint64_t dw = call->out[2].present ? gemm_workspace(call->isa, out, in, chunk) : 0;
  if (dh > most) most = dh;
  at.bytes = at.product + (dw > most ? dw : most);
  return at;
}

static uint64_t workspace(const struct call *call, uint32_t threads) {
  (void)threads;
  return layout_of(call).bytes;
}

/* One chunk: `rows` labelled rows from the `first`. */
struct chunk {
  const struct call *call;
  const trainer_attr_linear_cross_entropy *attr;
  const struct rowmath *math;
  const int32_t *index;
  double *losses;
  float *logits;
  void *product;
  int64_t rows;
  int want_gradient;
};

static int32_t label_of(const struct view *labels, int64_t row) { return ((const int32_t *)labels->data)[row * labels->stride[0]]; }

static float max_of(const float *x, int64_t n) {
  float lanes[LANES_OF_MAX], most = -INFINITY;
  for (int i = 0; i < LANES_OF_MAX; i++) lanes[i] = -INFINITY;
  int64_t j = 0;
  for (; j + LANES_OF_MAX <= n; j += LANES_OF_MAX)
    for (int i = 0; i < LANES_OF_MAX; i++) lanes[i] = x[j + i] > lanes[i] ? x[j + i] : lanes[i];
  for (; j < n; j++) most = x[j] > most ? x[j] : most;
  for (int i = 0; i < LANES_OF_MAX; i++) most = lanes[i] > most ? lanes[i] : most;
  return most;
}

/* The loss of one row of logits, which become their gradients. A label outside the
 * vocabulary gives NaN. */
static void softmax_row(void *arg, int64_t row, uint32_t worker) {
  const struct chunk *chunk = arg;
  float *x = chunk->logits + row * chunk->attr->out_features;
  int64_t n = chunk->attr->out_features;
  int32_t label = label_of(&chunk->call->in[1], chunk->index[row]);
  float most = max_of(x, n), scale = *(const float *)chunk->call->in[2].data;
  float logit = label < n ? x[label] : NAN;
  (void)worker;
  for (int64_t j = 0; j < n; j++) x[j] -= most;
  chunk->math->exp(x, x, n);
  double sum = chunk->math->sum(x, n);
  chunk->losses[row] = log(sum) + (double)most - (double)logit;
  if (!chunk->want_gradient) return;
  float factor = (float)((double)scale / sum);
  for (int64_t j = 0; j < n; j++) x[j] *= factor;
  if (label < n) x[label] -= scale;
}

static void make_logits(const struct chunk *chunk) {
  const struct call *call = chunk->call;
  struct gemm_term term = {gemm_lines(&call->in[0], 0), gemm_weight(call->in + 3, &chunk->attr->format, chunk->attr->out_features, chunk->attr->in_features, 0), chunk->attr->in_features};
  term.a.index = chunk->index;
  struct gemm_job job = gemm_job_make(call->isa, chunk->attr->compute, chunk->rows, chunk->attr->out_features, &term, 1);
  job.c = (struct gemm_matrix){.data = chunk->logits, .dtype = TRAINER_F32, .row = chunk->attr->out_features, .col = 1};
  gemm_run(&job, call->pool, chunk->product);
}

/* dh = G W */
static void make_dh(const struct chunk *chunk) {
  const struct call *call = chunk->call;
  int64_t out = chunk->attr->out_features, in = chunk->attr->in_features;
  struct gemm_term term = {gemm_dense(chunk->logits, TRAINER_F32, out, 1), gemm_weight(call->in + 3, &chunk->attr->format, out, in, 1), out};
  struct gemm_job job = gemm_job_make(call->isa, chunk->attr->compute, chunk->rows, in, &term, 1);
  job.c = gemm_matrix_view(&call->out[1], 0);
  job.c.index = chunk->index;
  gemm_run(&job, call->pool, chunk->product);
}

/* dW += G^T h */
static void add_dw(const struct chunk *chunk) {
  const struct call *call = chunk->call;
  int64_t out = chunk->attr->out_features, in = chunk->attr->in_features;
  struct gemm_term term = {gemm_dense(chunk->logits, TRAINER_F32, 1, out), gemm_lines(&call->in[0], 1), chunk->rows};
  term.b.index = chunk->index;
  struct gemm_job job = gemm_job_make(call->isa, chunk->attr->compute, out, in, &term, 1);
  job.beta = 1.0f;
  job.c = gemm_matrix_view(&call->out[2], 0);
  gemm_run(&job, call->pool, chunk->product);
}

/* Lists the labelled rows and clears dh of the others. Returns how many are labelled. */
static int64_t list_rows(const struct call *call, int32_t *index) {
  const struct view *dh = &call->out[1];
  int64_t n = 0;
  for (int64_t row = 0; row < call->in[0].shape[0]; row++) {
    if (label_of(&call->in[1], row) >= 0) {
      index[n++] = (int32_t)row;
    } else if (dh->present) {
      uint32_t size = dtype_bytes(dh->dtype);
      char *at = (char *)dh->data + row * dh->stride[0] * size;
      if (dh->stride[1] == 1) memset(at, 0, (size_t)(dh->shape[1] * size));
      else
        for (int64_t j = 0; j < dh->shape[1]; j++) memset(at + j * dh->stride[1] * size, 0, size);
    }
  }
  return n;
}

static void run(const struct call *call) {
  struct layout at = layout_of(call);
  char *scratch = call->workspace;
  struct chunk chunk = {.call = call, .attr = call->attr, .math = rowmath_for(call->isa), .product = scratch + at.product};
  chunk.logits = (float *)(void *)(scratch + at.logits);
  int32_t *index = (int32_t *)(void *)scratch;
  double *losses = (double *)(void *)(scratch + at.losses), total = 0;
  int64_t rows = list_rows(call, index), step = chunk_rows(chunk.attr, call->in[0].shape[0]);
  chunk.want_gradient = call->out[1].present || call->out[2].present;
  for (int64_t first = 0; first < rows; first += step) {
    chunk.index = index + first;
    chunk.losses = losses + first;
    chunk.rows = rows - first < step ? rows - first : step;
    make_logits(&chunk);
    pool_run(call->pool, chunk.rows, softmax_row, &chunk);
    if (call->out[1].present) make_dh(&chunk);
    if (call->out[2].present) add_dw(&chunk);
  }
  for (int64_t i = 0; i < rows; i++) total += losses[i];
  *(float *)call->out[0].data = (float)total;
}

const struct kernel kernel_linear_cross_entropy = {TRAINER_OP_LINEAR_CROSS_ENTROPY, "linear_cross_entropy", check_linear_cross_entropy, workspace, run, gemm_level};
