/* norm.cu - GLOBAL_NORM: the sum of squares of any number of gradients; GUARD: what follows
 * from it for the step. */
#include "../../../native/half.h"
#include "layout.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int PIECE = 32768;  /* elements one block sums */
constexpr int BATCH = 96;     /* gradients of one launch: their table is a kernel argument */
constexpr int FINAL_THREADS = 1024;

/* ---- global norm ---- *
 * Each piece of a gradient is summed by one block into its own f64 of the workspace; one
 * block adds these up. The order is that of the pieces, so the sum is the same each time. */

struct gradients {
  const void *data[BATCH];
  int64_t count[BATCH];
  uint32_t dtype[BATCH];
  uint32_t first[BATCH]; /* piece of the launch where a gradient begins */
  uint32_t n;
};
static_assert(sizeof(struct gradients) <= 4000, "a kernel's arguments hold 4 KiB");

int64_t pieces_of(const struct view *view) { return divide_up(view->count, PIECE); }

/* Sum over the block in f64; thread 0 gets the result. */
template <int N> __device__ double block_sum_f64(double x) {
  __shared__ double shared[N / WARP];
  for (int lane = WARP / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, lane);
  if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = x;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0)
    for (int warp = 0; warp < N / WARP; warp++) sum += shared[warp];
  return sum;
}

/* A vector's squares are added in f32, vectors in f64. */
template <typename T> __device__ double sum_piece(const T *data, int64_t n) {
  constexpr int WIDTH = 16 / sizeof(T);
  double sum = 0;
  int64_t vectors = (uintptr_t)data % 16 == 0 ? n / WIDTH : 0;
  for (int64_t i = threadIdx.x; i < vectors; i += THREADS) {
    vec<T, WIDTH> x = load_vec<T, WIDTH>(data + i * WIDTH);
    float part = 0;
#pragma unroll
    for (int e = 0; e < WIDTH; e++) part += to_f32(x.v[e]) * to_f32(x.v[e]);
    sum += (double)part;
  }
  for (int64_t i = vectors * WIDTH + threadIdx.x; i < n; i += THREADS) {
    double x = (double)to_f32(data[i]);
    sum += x * x;
  }
  return sum;
}

__global__ void __launch_bounds__(THREADS) sum_gradients(gradients g, double *sums) {
  uint32_t at = 0, end = g.n;
  while (end - at > 1) {
    uint32_t middle = (at + end) / 2;
    if (g.first[middle] <= blockIdx.x) at = middle;
    else end = middle;
  }
  int64_t begin = (int64_t)(blockIdx.x - g.first[at]) * PIECE, left = g.count[at] - begin, n = left < PIECE ? left : PIECE;
  double sum;
  if (g.dtype[at] == TRAINER_F32) sum = sum_piece((const float *)g.data[at] + begin, n);
  else if (g.dtype[at] == TRAINER_BF16) sum = sum_piece((const bf16 *)g.data[at] + begin, n);
  else sum = sum_piece((const f16 *)g.data[at] + begin, n);
  sum = block_sum_f64<THREADS>(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/* A gradient with gaps. */
__global__ void __launch_bounds__(THREADS) sum_strided(layout<1> at, const void *data, uint32_t dtype, double *sums) {
  int64_t begin = (int64_t)blockIdx.x * PIECE, end = begin + PIECE < at.count ? begin + PIECE : at.count;
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += THREADS) {
    double x = (double)load_value(data, dtype, at.offset(0, i));
    sum += x * x;
  }
  sum = block_sum_f64<THREADS>(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(FINAL_THREADS) add_sums(const double *sums, int64_t n, float *out) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += FINAL_THREADS) sum += sums[i];
  sum = block_sum_f64<FINAL_THREADS>(sum);
  if (threadIdx.x == 0) *out = (float)sum;
}

int32_t norm_check(const struct record *record, char *text, uint64_t bytes) {
  int32_t status = check_global_norm(record, text, bytes);
  for (uint32_t i = 0; !status && i < record->n_in; i++)
    if (pieces_of(&record->in[i]) > INT32_MAX / BATCH) status = refuse(text, bytes, TRAINER_UNSUPPORTED, "a gradient of global_norm is too large");
  return status;
}

uint64_t norm_workspace(const struct call *call) {
  int64_t pieces = 0;
  for (uint32_t i = 0; i < call->n_in; i++) pieces += pieces_of(&call->in[i]);
  return (uint64_t)pieces * sizeof(double);
}

/* Launches what a batch holds and empties it; returns how many sums it makes. */
int64_t flush(const struct call *call, struct gradients *batch, double *sums) {
  if (batch->n == 0) return 0;
  uint32_t last = batch->n - 1, blocks = batch->first[last] + (uint32_t)divide_up(batch->count[last], PIECE);
  sum_gradients<<<blocks, THREADS, 0, call->stream>>>(*batch, sums);
  batch->n = 0;
  return blocks;
}

void append(struct gradients *batch, const struct view *view) {
  uint32_t n = batch->n++;
  batch->data[n] = view->data;
  batch->count[n] = view->count;
  batch->dtype[n] = view->dtype;
  batch->first[n] = n ? batch->first[n - 1] + (uint32_t)divide_up(batch->count[n - 1], PIECE) : 0;
}

int32_t norm_run(const struct call *call, char *text, uint64_t bytes) {
  double *sums = (double *)call->workspace;
  int64_t done = 0;
  struct gradients batch;
  batch.n = 0;
  for (uint32_t i = 0; i < call->n_in; i++) {
    const struct view *view = &call->in[i];
    if (view->count == 0) continue;
    if (is_contiguous(view)) {
      append(&batch, view);
      if (batch.n == BATCH) done += flush(call, &batch, sums + done);
    } else {
      const struct view *const one[1] = {view};
      done += flush(call, &batch, sums + done);
      sum_strided<<<(unsigned)pieces_of(view), THREADS, 0, call->stream>>>(layout_of<1>(one, view->rank), view->data, view->dtype, sums + done);
      done += pieces_of(view);
    }
  }
  done += flush(call, &batch, sums + done);
  add_sums<<<1, FINAL_THREADS, 0, call->stream>>>(sums, done, (float *)call->out[0].data);
  return launched(text, bytes);
}

/* ---- guard ---- */

enum { OUT_CLIP, OUT_SKIP, OUT_STEPS, OUT_NORM, OUT_SCALE, OUT_GROWTH, OUTPUTS };

struct scaler {
  float *clip;
  int32_t *skip, *steps;
  float *norm, *scale;
  int32_t *growth;
};

__global__ void guard_step(struct scaler s, const float *sumsq, float max_norm, uint32_t interval) {
  float scale = *s.scale, norm = sqrtf(*sumsq) / scale, clip = 1.0f;
  int skip = !isfinite(norm);
  if (max_norm > 0.0f) clip = fminf(1.0f, max_norm / (norm + 1e-6f));
  *s.clip = skip ? 0.0f : clip / scale;
  *s.skip = skip;
  *s.steps += !skip;
  *s.norm = norm;
  if (interval == 0) return;
  int32_t growth = skip ? 0 : *s.growth + 1;
  int grows = !skip && (uint32_t)growth >= interval;
  *s.scale = skip ? scale * 0.5f : grows ? scale * 2.0f : scale;
  *s.growth = grows ? 0 : growth;
}

int32_t guard_run(const struct call *call, char *text, uint64_t bytes) {
  const trainer_attr_guard *attr = (const trainer_attr_guard *)call->attr;
  const struct view *out = call->out;
  struct scaler s = {(float *)out[OUT_CLIP].data,   (int32_t *)out[OUT_SKIP].data, (int32_t *)out[OUT_STEPS].data,
                     (float *)out[OUT_NORM].data,   (float *)out[OUT_SCALE].data,  (int32_t *)out[OUT_GROWTH].data};
  guard_step<<<1, 1, 0, call->stream>>>(s, (const float *)call->in[0].data, f32_from_bits(attr->max_norm_bits), attr->interval);
  return launched(text, bytes);
}

} // namespace

const struct kernel kernel_global_norm = {
    .op = TRAINER_OP_GLOBAL_NORM, .name = "global_norm", .check = norm_check, .workspace = norm_workspace, .run = norm_run};
const struct kernel kernel_guard = {.op = TRAINER_OP_GUARD, .name = "guard", .check = check_guard, .run = guard_run};
