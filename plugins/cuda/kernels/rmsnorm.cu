/* rmsnorm.cu - RMSNORM and its gradient (Zhang & Sennrich 2019), with the residual sum.
 *
 * One block normalises one row. Where the operands allow, a thread keeps its part of the
 * row in registers as vectors of 16 bytes, so that each element is read once. */
#include "../../../native/half.h"
#include "layout.cuh"

namespace {

constexpr int ITEMS = 4; /* the most vectors of a row that one thread keeps */
constexpr int THREADS_MOST = 512; /* leaves 128 registers */
constexpr int PLAIN_THREADS = 256;
constexpr int RESIDENT = 1024; /* threads of the gradient that a multiprocessor holds, at 64 registers */

/* The weight is shared by all rows and comes from a cache. */
template <typename W, int N> __device__ __forceinline__ void load_weight(float (&w)[N], const W *at) {
  constexpr int WIDTH = N * sizeof(W) > 16 ? 16 / sizeof(W) : N;
#pragma unroll
  for (int part = 0; part < N; part += WIDTH) {
    vec<W, WIDTH> x = load_vec<W, WIDTH>(at + part);
#pragma unroll
    for (int e = 0; e < WIDTH; e++) w[part + e] = to_f32(x.v[e]);
  }
}

/* Threads for a row of so many vectors, n a thread. */
unsigned threads_for(int64_t vectors, int n) {
  int64_t threads = divide_up(divide_up(vectors, n), WARP) * WARP;
  return (unsigned)(threads > WARP ? threads : WARP);
}

/* ---- forward ---- */

enum { Y, H, X, RESIDUAL, ROWS };

struct forward {
  layout<ROWS> at; /* of the rows; absent operands stand as x */
  void *data[ROWS];
  uint32_t dtype[ROWS];
  const void *w;
  uint32_t w_dtype;
  float *rstd;
  int64_t width;
  float eps;
};

/* rstd of a row from its sum of squares. */
__device__ __forceinline__ float finish_rstd(const forward &f, int64_t row, float sum) {
  float rstd = 1.0f / sqrtf(sum / (float)f.width + f.eps);
  if (threadIdx.x == 0) f.rstd[row] = rstd;
  return rstd;
}

template <typename T, typename W> __global__ void __launch_bounds__(THREADS_MOST) normalise(forward f) {
  constexpr int WIDTH = 16 / sizeof(T);
  __shared__ float shared[WARP];
  int64_t row = blockIdx.x;
  int vectors = (int)(f.width / WIDTH);
  const T *x = (const T *)f.data[X] + f.at.offset(X, row);
  const T *residual = f.data[RESIDUAL] ? (const T *)f.data[RESIDUAL] + f.at.offset(RESIDUAL, row) : nullptr;
  T *h = (T *)f.data[H] + f.at.offset(H, row), *y = (T *)f.data[Y] + f.at.offset(Y, row);
  vec<T, WIDTH> kept[ITEMS], plus[ITEMS]; /* all on their way before the first is used */
  float sum = 0;
#pragma unroll
  for (int k = 0; k < ITEMS; k++) {
    int i = threadIdx.x + k * blockDim.x;
    if (i < vectors) kept[k] = load_vec<T, WIDTH>(x + i * WIDTH);
    if (i < vectors && residual) plus[k] = load_vec<T, WIDTH>(residual + i * WIDTH);
  }
#pragma unroll
  for (int k = 0; k < ITEMS; k++) {
    int i = threadIdx.x + k * blockDim.x;
    if (i >= vectors) continue;
    if (residual) {
#pragma unroll
      for (int e = 0; e < WIDTH; e++) kept[k].v[e] = from_f32<T>(to_f32(kept[k].v[e]) + to_f32(plus[k].v[e]));
      store_vec<T, WIDTH>(h + i * WIDTH, kept[k]);
    }
#pragma unroll
    for (int e = 0; e < WIDTH; e++) sum += to_f32(kept[k].v[e]) * to_f32(kept[k].v[e]);
  }
  float rstd = finish_rstd(f, row, block_sum(sum, shared));
#pragma unroll
  for (int k = 0; k < ITEMS; k++) {
    int i = threadIdx.x + k * blockDim.x;
    if (i >= vectors) continue;
    float w[WIDTH];
    load_weight<W, WIDTH>(w, (const W *)f.w + i * WIDTH);
#pragma unroll
    for (int e = 0; e < WIDTH; e++) kept[k].v[e] = from_f32<T>(to_f32(kept[k].v[e]) * rstd * w[e]);
    store_vec<T, WIDTH>(y + i * WIDTH, kept[k]);
  }
}

/* Any width and dtypes. */
__global__ void __launch_bounds__(PLAIN_THREADS) normalise_plain(forward f) {
  __shared__ float shared[WARP];
  int64_t row = blockIdx.x;
  int64_t offset[ROWS];
  for (int k = 0; k < ROWS; k++) offset[k] = f.at.offset(k, row);
  int from = f.data[RESIDUAL] ? H : X; /* where h lies */
  float sum = 0;
  for (int64_t i = threadIdx.x; i < f.width; i += PLAIN_THREADS) {
    if (f.data[RESIDUAL])
      store_value(f.data[H], f.dtype[H], offset[H] + i,
                  load_value(f.data[X], f.dtype[X], offset[X] + i) + load_value(f.data[RESIDUAL], f.dtype[RESIDUAL], offset[RESIDUAL] + i));
    float h = load_value(f.data[from], f.dtype[from], offset[from] + i);
    sum += h * h;
  }
  float rstd = finish_rstd(f, row, block_sum(sum, shared));
  for (int64_t i = threadIdx.x; i < f.width; i += PLAIN_THREADS)
    store_value(f.data[Y], f.dtype[Y], offset[Y] + i, load_value(f.data[from], f.dtype[from], offset[from] + i) * rstd * load_value(f.w, f.w_dtype, i));
}

/* ---- gradient ---- *
 * A block takes every gridDim.x-th row and sums dw of its rows in its own part of the
 * workspace, [blocks][width]; the parts are added in order. */

enum { DX, DY, GRAD_H, GRAD_RESIDUAL, GRAD_ROWS };

struct backward {
  layout<GRAD_ROWS> at;
  void *data[GRAD_ROWS];
  uint32_t dtype[GRAD_ROWS];
  const void *w;
  uint32_t w_dtype;
  const float *rstd;
  float *parts; /* of dw; NULL = not wanted */
  int64_t rows, width;
};

/* A thread's vectors of the three rows of an operand set, on their way through shared memory:
 * while one row is computed, the next arrives. */
template <typename T, int N> struct arriving {
  static constexpr int WIDTH = 16 / sizeof(T);
  const backward &b;
  vec<T, WIDTH> *slots; /* every blockDim.x-th is this thread's */
  int vectors;

  __device__ __forceinline__ vec<T, WIDTH> &slot(int which, int k) { return slots[(which * N + k) * blockDim.x + threadIdx.x]; }

  __device__ __forceinline__ void fetch(int64_t row) {
    if (row >= b.rows) return;
#pragma unroll
    for (int which = DY; which <= GRAD_RESIDUAL; which++) {
      const T *from = (const T *)b.data[which] + b.at.offset(which, row);
#pragma unroll
      for (int k = 0; k < N; k++) {
        int i = threadIdx.x + k * blockDim.x;
        if (b.data[which] && i < vectors) copy_async(&slot(which - DY, k), from + i * WIDTH);
      }
    }
  }
};

/* A thread keeps N vectors of each operand. */
template <typename T, typename W, int N> __global__ void __launch_bounds__(THREADS_MOST) differentiate(backward b) {
  constexpr int WIDTH = 16 / sizeof(T);
  extern __shared__ uint4 slots[]; /* [3][N][blockDim.x] */
  __shared__ float shared[WARP];
  int vectors = (int)(b.width / WIDTH);
  arriving<T, N> next = {b, (vec<T, WIDTH> *)slots, vectors};
  float dw[N][WIDTH] = {};
  next.fetch(blockIdx.x);
  for (int64_t row = blockIdx.x; row < b.rows; row += gridDim.x) {
    T *dx = (T *)b.data[DX] + b.at.offset(DX, row);
    float rstd = b.rstd[row], sum = 0;
    vec<T, WIDTH> dy[N], h[N], plus[N] = {};
    wait_copies();
#pragma unroll
    for (int k = 0; k < N; k++) {
      dy[k] = next.slot(0, k);
      h[k] = next.slot(1, k);
      if (b.data[GRAD_RESIDUAL]) plus[k] = next.slot(2, k);
    }
    next.fetch(row + gridDim.x);
#pragma unroll
    for (int k = 0; k < N; k++) {
      int i = threadIdx.x + k * blockDim.x;
      if (i >= vectors) continue;
      float w[WIDTH];
      load_weight<W, WIDTH>(w, (const W *)b.w + i * WIDTH);
#pragma unroll
      for (int e = 0; e < WIDTH; e++) {
        float product = to_f32(dy[k].v[e]) * to_f32(h[k].v[e]);
        sum += product * w[e];
        dw[k][e] += product * rstd;
      }
    }
    float factor = rstd * rstd * (block_sum(sum, shared) / (float)b.width);
#pragma unroll
    for (int k = 0; k < N; k++) {
      int i = threadIdx.x + k * blockDim.x;
      if (i >= vectors) continue;
      float w[WIDTH];
      load_weight<W, WIDTH>(w, (const W *)b.w + i * WIDTH);
#pragma unroll
      for (int e = 0; e < WIDTH; e++) {
        float g = to_f32(dy[k].v[e]) * w[e], d = rstd * (g - to_f32(h[k].v[e]) * factor);
        plus[k].v[e] = from_f32<T>(d + to_f32(plus[k].v[e]));
      }
      store_vec<T, WIDTH>(dx + i * WIDTH, plus[k]);
    }
  }
  if (!b.parts) return;
#pragma unroll
  for (int k = 0; k < N; k++) {
    int i = threadIdx.x + k * blockDim.x;
    if (i >= vectors) continue;
#pragma unroll
    for (int e = 0; e < WIDTH; e++) b.parts[(int64_t)blockIdx.x * b.width + i * WIDTH + e] = dw[k][e];
  }
}

/* Any width and dtypes. A thread owns the columns it sums, so parts need no atomics. */
__global__ void __launch_bounds__(PLAIN_THREADS) differentiate_plain(backward b) {
  __shared__ float shared[WARP];
  float *dw = b.parts ? b.parts + (int64_t)blockIdx.x * b.width : nullptr;
  for (int64_t i = threadIdx.x; dw && i < b.width; i += PLAIN_THREADS) dw[i] = 0;
  for (int64_t row = blockIdx.x; row < b.rows; row += gridDim.x) {
    int64_t offset[GRAD_ROWS];
    for (int k = 0; k < GRAD_ROWS; k++) offset[k] = b.at.offset(k, row);
    float rstd = b.rstd[row], sum = 0;
    for (int64_t i = threadIdx.x; i < b.width; i += PLAIN_THREADS) {
      float product = load_value(b.data[DY], b.dtype[DY], offset[DY] + i) * load_value(b.data[GRAD_H], b.dtype[GRAD_H], offset[GRAD_H] + i);
      sum += product * load_value(b.w, b.w_dtype, i);
      if (dw) dw[i] += product * rstd;
    }
    float factor = rstd * rstd * (block_sum(sum, shared) / (float)b.width);
    for (int64_t i = threadIdx.x; i < b.width; i += PLAIN_THREADS) {
      float g = load_value(b.data[DY], b.dtype[DY], offset[DY] + i) * load_value(b.w, b.w_dtype, i);
      float d = rstd * (g - load_value(b.data[GRAD_H], b.dtype[GRAD_H], offset[GRAD_H] + i) * factor);
      if (b.data[GRAD_RESIDUAL]) d += load_value(b.data[GRAD_RESIDUAL], b.dtype[GRAD_RESIDUAL], offset[GRAD_RESIDUAL] + i);
      store_value(b.data[DX], b.dtype[DX], offset[DX] + i, d);
    }
  }
}

constexpr int SLICES = 8;

/* dw += the sum of n parts: a block adds WARP columns, in SLICES slices of the parts. */
__global__ void __launch_bounds__(WARP *SLICES) add_parts(const float *parts, int64_t n, int64_t width, void *dw, uint32_t dtype) {
  __shared__ float shared[SLICES][WARP];
  int lane = threadIdx.x % WARP, slice = threadIdx.x / WARP;
  int64_t column = (int64_t)blockIdx.x * WARP + lane;
  float sum = 0;
  if (column < width)
    for (int64_t part = slice; part < n; part += SLICES) sum += parts[part * width + column];
  shared[slice][lane] = sum;
  __syncthreads();
  if (slice > 0 || column >= width) return;
  for (int other = 1; other < SLICES; other++) sum += shared[other][lane];
  store_value(dw, dtype, column, load_value(dw, dtype, column) + sum);
}

/* ---- host side ---- */

int64_t rows_of(const struct view *view) { return last_dim(view) ? view->count / last_dim(view) : 0; }

/* The rows of N views, absent ones standing as `stand_in`; fills data and dtype. */
template <int N> layout<N> rows_layout(const struct view *const (&views)[N], const struct view *stand_in, void *(&data)[N], uint32_t (&dtype)[N]) {
  const struct view *filled[N];
  for (int k = 0; k < N; k++) {
    filled[k] = views[k]->present ? views[k] : stand_in;
    data[k] = views[k]->present ? views[k]->data : nullptr;
    dtype[k] = filled[k]->dtype;
  }
  return layout_of<N>(filled, stand_in->rank - 1);
}

/* Whether rows can be kept in registers as vectors: one dtype, aligned, not too wide. */
template <int N> int fits_vectors(const layout<N> &at, void *const (&data)[N], const uint32_t (&dtype)[N], const struct view *w, int64_t width) {
  int64_t lanes = 16 / float_bytes(dtype[0]);
  if (width % lanes != 0 || width / lanes > ITEMS * THREADS_MOST || !is_aligned16(w->data)) return 0;
  if (w->dtype != dtype[0] && w->dtype != TRAINER_F32) return 0;
  for (int k = 0; k < N; k++) {
    if (dtype[k] != dtype[0] || !is_aligned16(data[k])) return 0;
    for (int dim = 0; dim < at.rank; dim++)
      if (at.stride[k][dim] % lanes != 0 && at.shape[dim] > 1) return 0;
  }
  return 1;
}

int32_t forward_check(const struct record *record, char *text, uint64_t bytes) {
  int32_t status = check_rmsnorm(record, text, bytes);
  if (status || rows_of(&record->in[0]) <= INT32_MAX) return status;
  return refuse(text, bytes, TRAINER_UNSUPPORTED, "rmsnorm has too many rows");
}

int32_t forward_run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *x = &call->in[0], *w = &call->in[2];
  const struct view *const views[ROWS] = {&call->out[0], &call->out[1], x, &call->in[1]};
  unsigned rows = (unsigned)rows_of(x);
  forward f;
  f.at = rows_layout<ROWS>(views, x, f.data, f.dtype);
  f.w = w->data;
  f.w_dtype = w->dtype;
  f.rstd = (float *)call->out[2].data;
  f.width = last_dim(x);
  f.eps = f32_from_bits(((const trainer_attr_rmsnorm *)call->attr)->eps_bits);
  if (rows == 0) return TRAINER_OK;
  if (!fits_vectors(f.at, f.data, f.dtype, w, f.width)) {
    normalise_plain<<<rows, PLAIN_THREADS, 0, call->stream>>>(f);
    return launched(text, bytes);
  }
  unsigned threads = threads_for(f.width * float_bytes(x->dtype) / 16, ITEMS);
  if (w->dtype == TRAINER_F32) WITH_FLOAT(T, x->dtype, (normalise<T, float><<<rows, threads, 0, call->stream>>>(f)));
  else WITH_FLOAT(T, x->dtype, (normalise<T, T><<<rows, threads, 0, call->stream>>>(f)));
  return launched(text, bytes);
}

enum { IN_DY, IN_H, IN_RSTD, IN_W, IN_RESIDUAL, INPUTS };

/* As many as run at a time, so that few parts are summed. */
int64_t grad_blocks(const struct call *call) {
  const struct view *dx = &call->out[0];
  int64_t rows = rows_of(dx), vectors = last_dim(dx) * float_bytes(dx->dtype) / 16;
  int64_t most = (int64_t)call->gpu->multiprocessors * (RESIDENT / threads_for(vectors < THREADS_MOST ? vectors : THREADS_MOST, 1));
  return rows < most ? rows : most;
}

uint64_t grad_workspace(const struct call *call) {
  return call->out[1].present ? (uint64_t)(grad_blocks(call) * last_dim(&call->out[0])) * sizeof(float) : 0;
}

template <typename T, typename W, int N> void launch_grad_of(const backward &b, unsigned blocks, unsigned threads, cudaStream_t stream) {
  auto kernel = differentiate<T, W, N>;
  size_t bytes = (size_t)(GRAD_ROWS - DY) * N * threads * 16;
  cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
  kernel<<<blocks, threads, bytes, stream>>>(b);
}

/* As few vectors a thread as the row's width allows: the more threads, the more is on its way. */
template <typename T, typename W> void launch_grad(const backward &b, unsigned blocks, cudaStream_t stream) {
  int64_t vectors = b.width * (int64_t)sizeof(T) / 16;
  if (vectors <= THREADS_MOST) launch_grad_of<T, W, 1>(b, blocks, threads_for(vectors, 1), stream);
  else if (vectors <= 2 * THREADS_MOST) launch_grad_of<T, W, 2>(b, blocks, threads_for(vectors, 2), stream);
  else launch_grad_of<T, W, ITEMS>(b, blocks, threads_for(vectors, ITEMS), stream);
}

int32_t grad_run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *in = call->in, *dy = &in[IN_DY], *w = &in[IN_W], *dw = &call->out[1];
  const struct view *const views[GRAD_ROWS] = {&call->out[0], dy, &in[IN_H], &in[IN_RESIDUAL]};
  unsigned blocks = (unsigned)grad_blocks(call);
  backward b;
  b.at = rows_layout<GRAD_ROWS>(views, dy, b.data, b.dtype);
  b.w = w->data;
  b.w_dtype = w->dtype;
  b.rstd = (const float *)in[IN_RSTD].data;
  b.parts = dw->present ? (float *)call->workspace : nullptr;
  b.rows = rows_of(dy);
  b.width = last_dim(dy);
  if (b.rows == 0) return TRAINER_OK;
  if (fits_vectors(b.at, b.data, b.dtype, w, b.width)) {
    if (w->dtype == TRAINER_F32) WITH_FLOAT(T, dy->dtype, (launch_grad<T, float>(b, blocks, call->stream)));
    else WITH_FLOAT(T, dy->dtype, (launch_grad<T, T>(b, blocks, call->stream)));
  } else {
    differentiate_plain<<<blocks, PLAIN_THREADS, 0, call->stream>>>(b);
  }
  if (b.parts) add_parts<<<(unsigned)divide_up(b.width, WARP), WARP * SLICES, 0, call->stream>>>(b.parts, blocks, b.width, dw->data, dw->dtype);
  return launched(text, bytes);
}

} // namespace

const struct kernel kernel_rmsnorm = {.op = TRAINER_OP_RMSNORM, .name = "rmsnorm", .check = forward_check, .run = forward_run};
const struct kernel kernel_rmsnorm_grad = {
    .op = TRAINER_OP_RMSNORM_GRAD, .name = "rmsnorm_grad", .check = check_rmsnorm_grad, .workspace = grad_workspace, .run = grad_run};
