/* crossentropy.cu - the loss of a vocabulary projection and its gradients, a chunk of rows
 * at a time, so that logits never exist as a whole (as in Liger Kernel; Hsu et al. 2024).
 * Logits are f32; their gradients take their place in the compute dtype. */
#include <math.h>

#include "gemm.cuh"
#include "pass.cuh"
#include "weight.cuh"

#define CHUNK_BYTES ((int64_t)128 << 20) /* of logits */
#define CHUNK_ROWS 1024                  /* whole waves of tiles: more rows gain nothing */
#define CHUNK_MULTIPLE 128
#define CHUNK_ELEMENTS_MOST ((int64_t)1 << 40) /* whatever the attribute asks for */
#define THREADS 1024                           /* two rows at work on a multiprocessor: they stay in the L2 cache */
#define EACH 4                                 /* logits of a thread at once */

static int64_t chunk_rows(const trainer_attr_linear_cross_entropy *attr, int64_t rows) {
  int64_t chunk = attr->chunk, out = padded(attr->out_features);
  if (chunk == 0) {
    chunk = CHUNK_BYTES / (4 * out);
    if (chunk > CHUNK_ROWS) chunk = CHUNK_ROWS;
    if (chunk > CHUNK_MULTIPLE) chunk -= chunk % CHUNK_MULTIPLE;
  }
  if (chunk > CHUNK_ELEMENTS_MOST / out) chunk = CHUNK_ELEMENTS_MOST / out;
  if (chunk < 16) chunk = 16;
  return chunk < rows ? chunk : rows;
}

/* ---- softmax ---- */

/* A maximum, and the sum of exp(x - maximum). */
struct tally {
  float most, sum;
};

static __device__ __forceinline__ struct tally both(struct tally a, struct tally b) {
  float most = fmaxf(a.most, b.most);
  if (most == -INFINITY) return (struct tally){most, a.sum + b.sum};
  return (struct tally){most, a.sum * expf(a.most - most) + b.sum * expf(b.most - most)};
}

static __device__ __forceinline__ struct tally warp_tally(struct tally t) {
#pragma unroll
  for (int lane = WARP / 2; lane > 0; lane /= 2) {
    struct tally other = {__shfl_xor_sync(0xFFFFFFFFu, t.most, lane), __shfl_xor_sync(0xFFFFFFFFu, t.sum, lane)};
    t = both(t, other);
  }
  return t;
}

/* One tally a thread becomes that of the block. */
static __device__ struct tally block_tally(struct tally t) {
  __shared__ struct tally shared[THREADS / WARP];
  t = warp_tally(t);
  if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = t;
  __syncthreads();
  return warp_tally(shared[threadIdx.x % WARP]);
}

static __device__ struct tally tally_row(const float *x, int64_t n) {
  struct tally t = {-INFINITY, 0.0f};
  for (int64_t at = (int64_t)threadIdx.x * EACH; at < n; at += THREADS * EACH) {
    vec<float, EACH> part = load_vec<float, EACH>(x + at); /* lines are padded to whole vectors */
    float most = t.most;
#pragma unroll
    for (int i = 0; i < EACH; i++)
      if (at + i < n) most = fmaxf(most, part.v[i]);
    if (most > t.most) {
      t.sum *= expf(t.most - most);
      t.most = most;
    }
#pragma unroll
    for (int i = 0; i < EACH; i++)
      if (at + i < n) t.sum += expf(part.v[i] - t.most);
  }
  return t;
}

/* Gradients replace logits in ascending order, never before all threads have read what
 * they cover: an element of theirs is no larger. */
template <typename T> static __device__ void replace_row(float *x, int64_t n, struct tally t, float scale, int64_t label) {
  float factor = scale / t.sum;
  T *g = (T *)x;
  for (int64_t first = 0; first < n; first += THREADS * EACH) {
    int64_t at = first + threadIdx.x * EACH;
    vec<float, EACH> part = {};
    if (at < n) part = load_vec<float, EACH>(x + at);
    __syncthreads();
    if (at >= n) continue;
    vec<T, EACH> gradient;
#pragma unroll
    for (int i = 0; i < EACH; i++) gradient.v[i] = from_f32<T>(expf(part.v[i] - t.most) * factor - (at + i == label ? scale : 0.0f));
    store_vec<T, EACH>(g + at, gradient);
  }
}

template <typename T> static __device__ void clear_row(float *x, int64_t n) {
  vec<T, EACH> zeros = {};
  for (int64_t at = (int64_t)threadIdx.x * EACH; at < n; at += THREADS * EACH) store_vec<T, EACH>((T *)x + at, zeros);
}

/* The loss of a row of logits, and where wanted their gradients in their place. A label
 * outside the vocabulary gives NaN. */
template <typename T>
static __global__ void __launch_bounds__(THREADS) softmax_kernel(double *losses, float *logits, int64_t pitch, int64_t n, const int32_t *labels, int64_t step,
                                                                 const float *scale, int want_gradient) {
  float *x = logits + blockIdx.x * pitch;
  int64_t label = labels[blockIdx.x * step];
  if (label < 0) {
    if (threadIdx.x == 0) losses[blockIdx.x] = 0.0;
    if (want_gradient) clear_row<T>(x, n);
    return;
  }
  float logit = label < n ? x[label] : NAN;
  struct tally t = block_tally(tally_row(x, n));
  if (threadIdx.x == 0) losses[blockIdx.x] = log((double)t.sum) + (double)t.most - (double)logit;
  __syncthreads();
  if (want_gradient) replace_row<T>(x, n, t, *scale, label);
}

/* In fixed order. */
static __global__ void __launch_bounds__(THREADS) sum_kernel(float *loss, const double *losses, int64_t n) {
  __shared__ double shared[THREADS];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += THREADS) sum += losses[i];
  shared[threadIdx.x] = sum;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *loss = (float)shared[0];
}

/* ---- the op ---- */

/* What one pass works with. */
struct loss {
  struct pass *pass;
  const trainer_attr_linear_cross_entropy *attr;
  uint32_t compute;
  struct matrix h, w, dh, dw;
  struct matrix logits; /* [chunk, N] f32 */
  double *losses;       /* [R] */
  int want_dh, want_dw;
  int dw_apart; /* dW is summed in f32 scratch first */
};

static struct loss loss_of(struct pass *pass) {
  const struct call *call = pass->call;
  struct loss l = {.pass = pass, .attr = (const trainer_attr_linear_cross_entropy *)call->attr};
  struct blends blends = pass_blends(pass);
  struct scratch *scratch = &pass->scratch;
  l.compute = compute_of(l.attr->compute);
  l.h = side_of(pass, &blends, matrix_of(&call->in[0]), l.compute);
  if (quant_is_dense(&l.attr->format)) {
    l.w = side_of(pass, &blends, matrix_of(&call->in[3]), l.compute);
  } else {
    l.w = scratch_matrix(scratch, l.compute, l.attr->out_features, l.attr->in_features);
    if (pass_runs(pass)) dequantise(l.w, call->in + 3, &l.attr->format, call->stream);
  }
  blends_run(&blends);
  l.logits = scratch_matrix(scratch, TRAINER_F32, chunk_rows(l.attr, l.h.rows), l.attr->out_features);
  l.losses = (double *)scratch_take(scratch, (uint64_t)l.h.rows * sizeof(double));
  l.want_dh = call->out[1].present;
  l.want_dw = call->out[2].present;
  if (l.want_dh) l.dh = sink_of(pass, matrix_of(&call->out[1]), l.compute);
  if (l.want_dw) {
    struct matrix own = matrix_of(&call->out[2]);
    l.dw_apart = !gemm_writes(&own, l.compute);
    l.dw = sink_of(pass, own, l.compute);
  }
  return l;
}

static void softmax(const struct loss *l, int64_t first, int64_t rows) {
  const struct call *call = l->pass->call;
  const struct view *labels = &call->in[1];
  if (!pass_runs(l->pass)) return;
  const int32_t *at = (const int32_t *)labels->data + first * labels->stride[0];
  WITH_FLOAT(T, l->compute, softmax_kernel<T><<<(unsigned)rows, THREADS, 0, call->stream>>>(l->losses + first, (float *)l->logits.data, l->logits.row,
                                                                                            l->attr->out_features, at, labels->stride[0],
                                                                                            (const float *)call->in[2].data, l->want_dh || l->want_dw));
}

/* The gradients where the logits were. */
static struct matrix gradient_of(const struct loss *l, int64_t rows) {
  struct matrix g = l->logits;
  g.rows = rows;
  g.dtype = l->compute;
  g.row = g.row * 4 / list_dtype_bytes(g.dtype);
  return g;
}

static void run_chunk(struct loss *l, int64_t first, int64_t rows) {
  struct matrix h = matrix_rows(l->h, first, rows), logits = matrix_rows(l->logits, 0, rows), gradient = gradient_of(l, rows);
  struct gemm up = gemm_of(l->compute, h, matrix_transposed(l->w), logits);
  pass_gemm(l->pass, &up);
  softmax(l, first, rows);
  if (l->want_dh) {
    struct gemm down = gemm_of(l->compute, gradient, l->w, matrix_rows(l->dh, first, rows));
    pass_gemm(l->pass, &down);
  }
  if (l->want_dw) {
    struct gemm add = gemm_onto(l->compute, matrix_transposed(gradient), h, l->dw, l->dw);
    add.beta = l->dw_apart && first == 0 ? 0.0f : 1.0f;
    pass_gemm(l->pass, &add);
  }
}

static void store(const struct loss *l) {
  const struct call *call = l->pass->call;
  struct blends blends = pass_blends(l->pass);
  if (l->want_dh) sink_store(l->pass, matrix_of(&call->out[1]), l->dh);
  if (l->dw_apart && l->h.rows) {
    struct blend add = blend_copy(matrix_of(&call->out[2]), l->dw);
    add.add = add.dst;
    blends_add(&blends, add);
  }
  blends_run(&blends);
  if (pass_runs(l->pass)) sum_kernel<<<1, THREADS, 0, call->stream>>>((float *)call->out[0].data, l->losses, l->h.rows);
}

static void body(struct pass *pass) {
  struct loss l = loss_of(pass);
  int64_t step = chunk_rows(l.attr, l.h.rows);
  for (int64_t first = 0; first < l.h.rows; first += step) run_chunk(&l, first, l.h.rows - first < step ? l.h.rows - first : step);
  store(&l);
}

static int32_t prepare(const struct call *call, void **prepared, char *text, uint64_t text_bytes) {
  int64_t rows = call->in[0].shape[0], step = chunk_rows((const trainer_attr_linear_cross_entropy *)call->attr, rows);
  return pass_prepare(call, body, step ? 3 * (uint64_t)divide_up(rows, step) : 1, prepared, text, text_bytes);
}
static uint64_t workspace(const struct call *call) { return pass_workspace(call, body); }
static int32_t run(const struct call *call, char *text, uint64_t text_bytes) { return pass_run(call, body, text, text_bytes); }

const struct kernel kernel_linear_cross_entropy = {TRAINER_OP_LINEAR_CROSS_ENTROPY, "linear_cross_entropy", check_linear_cross_entropy, prepare, pass_discard, workspace, run, weight_level};
