/* scale.cu - SCALE and its gradient: columns times factors.
 *
 * A thread keeps to its columns and walks down rows, so that it loads their factors once and
 * sums dg in registers. Memory bounds both: each operand is moved once, 16 bytes at a time
 * where dtypes and addresses allow. */
#include "layout.cuh"

namespace {

constexpr int THREADS = 128;
constexpr int BLOCKS_PER_MULTIPROCESSOR = 16;
constexpr int ROWS_LEAST = 8; /* of a block: what its factors are loaded for */

/* Rows of data in dtype; NULL where the operand is absent. */
struct rows {
  void *data;
  uint32_t dtype;
  int64_t stride;
};

struct scale {
  rows to, dy, x; /* to is y or dx; forward reads dy alone */
  const float *g;
  float *parts; /* of dg, [gridDim.y][width]; NULL = not wanted */
  int64_t height, width;
};

/* Loads and stores WIDTH elements of one dtype, or one of any. */
template <typename T, int WIDTH> struct access {
  static constexpr int N = WIDTH;
  static __device__ __forceinline__ void load(float (&to)[N], const rows &from, int64_t row, int64_t column) {
    vec<T, N> v = load_vec<T, N>((const T *)from.data + row * from.stride + column);
#pragma unroll
    for (int e = 0; e < N; e++) to[e] = to_f32(v.v[e]);
  }
  static __device__ __forceinline__ void store(const rows &to, int64_t row, int64_t column, const float (&from)[N]) {
    vec<T, N> v;
#pragma unroll
    for (int e = 0; e < N; e++) v.v[e] = from_f32<T>(from[e]);
    store_vec<T, N>((T *)to.data + row * to.stride + column, v);
  }
};

struct plain {
  static constexpr int N = 1;
  static __device__ __forceinline__ void load(float (&to)[1], const rows &from, int64_t row, int64_t column) {
    to[0] = load_value(from.data, from.dtype, row * from.stride + column);
  }
  static __device__ __forceinline__ void store(const rows &to, int64_t row, int64_t column, const float (&from)[1]) {
    store_value(to.data, to.dtype, row * to.stride + column, from[0]);
  }
};

template <typename A, bool SUMS> __global__ void __launch_bounds__(THREADS) scale_kernel(scale s) {
  int64_t column = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * A::N;
  if (column >= s.width) return;
  float g[A::N], sum[A::N] = {};
#pragma unroll
  for (int e = 0; e < A::N; e++) g[e] = s.g[column + e];
  for (int64_t row = blockIdx.y; row < s.height; row += gridDim.y) {
    float dy[A::N];
    A::load(dy, s.dy, row, column);
    if constexpr (SUMS) {
      float x[A::N];
      A::load(x, s.x, row, column);
#pragma unroll
      for (int e = 0; e < A::N; e++) sum[e] += dy[e] * x[e];
    }
    if (!s.to.data) continue;
#pragma unroll
    for (int e = 0; e < A::N; e++) dy[e] *= g[e];
    A::store(s.to, row, column, dy);
  }
  if constexpr (SUMS) {
#pragma unroll
    for (int e = 0; e < A::N; e++) s.parts[blockIdx.y * s.width + column + e] = sum[e];
  }
}

constexpr int SLICES = 8;

/* dg = the sum of n parts, in an order that n alone decides: a block adds WARP columns, in
 * SLICES slices of the parts. */
__global__ void __launch_bounds__(WARP *SLICES) add_parts(const float *parts, int64_t n, int64_t width, float *dg) {
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
  dg[column] = sum;
}

/* ---- host side ---- */

rows rows_of(const struct view *view) { return {view->present ? view->data : nullptr, view->dtype, view->stride[0]}; }

/* Whether rows can be read 16 bytes at a time as dtype. */
int fits_vectors(const rows &r, uint32_t dtype) {
  return !r.data || (r.dtype == dtype && is_aligned16(r.data) && r.stride % (16 / float_bytes(dtype)) == 0);
}

/* How many blocks share the rows: as many as keep the device busy. */
unsigned row_blocks(const struct gpu *gpu, int64_t height, int64_t width) {
  int64_t across = divide_up(width, THREADS * 8), most = divide_up((int64_t)gpu->multiprocessors * BLOCKS_PER_MULTIPROCESSOR, across);
  int64_t blocks = divide_up(height, ROWS_LEAST);
  return (unsigned)(blocks < most ? blocks : most);
}

template <typename A> void launch(const scale &s, unsigned down, cudaStream_t stream) {
  dim3 grid((unsigned)divide_up(s.width, THREADS * A::N), down);
  if (s.parts) scale_kernel<A, true><<<grid, THREADS, 0, stream>>>(s);
  else scale_kernel<A, false><<<grid, THREADS, 0, stream>>>(s);
}

template <typename T> void launch_vectors(const scale &s, unsigned down, cudaStream_t stream) {
  launch<access<T, 16 / sizeof(T)>>(s, down, stream);
}

int32_t run(const scale &s, const struct call *call, char *text, uint64_t bytes) {
  unsigned down = row_blocks(call->gpu, s.height, s.width);
  int lanes = (int)(16 / float_bytes(s.dy.dtype));
  if (s.width % lanes == 0 && fits_vectors(s.to, s.dy.dtype) && fits_vectors(s.dy, s.dy.dtype) && fits_vectors(s.x, s.dy.dtype))
    WITH_FLOAT(T, s.dy.dtype, (launch_vectors<T>(s, down, call->stream)));
  else
    launch<plain>(s, down, call->stream);
  if (s.parts) add_parts<<<(unsigned)divide_up(s.width, WARP), WARP * SLICES, 0, call->stream>>>(s.parts, down, s.width, (float *)call->out[1].data);
  return launched(text, bytes);
}

int32_t forward_run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *x = &call->in[0];
  scale s = {rows_of(&call->out[0]), rows_of(x), {}, (const float *)call->in[1].data, nullptr, x->shape[0], x->shape[1]};
  return x->count == 0 ? TRAINER_OK : run(s, call, text, bytes);
}

enum { IN_DY, IN_X, IN_G, INPUTS };

uint64_t grad_workspace(const struct call *call) {
  const struct view *dy = &call->in[IN_DY];
  return call->out[1].present ? (uint64_t)row_blocks(call->gpu, dy->shape[0], dy->shape[1]) * (uint64_t)dy->shape[1] * sizeof(float) : 0;
}

int32_t grad_run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *in = call->in, *dg = &call->out[1];
  scale s = {rows_of(&call->out[0]), rows_of(&in[IN_DY]), rows_of(&in[IN_X]), (const float *)in[IN_G].data,
             dg->present ? (float *)call->workspace : nullptr, in[IN_DY].shape[0], in[IN_DY].shape[1]};
  if (in[IN_DY].count > 0) return run(s, call, text, bytes);
  if (dg->count > 0) cudaMemsetAsync(dg->data, 0, (size_t)dg->count * sizeof(float), call->stream);
  return launched(text, bytes);
}

} // namespace

const struct kernel kernel_scale = {.op = TRAINER_OP_SCALE, .name = "scale", .check = check_scale, .run = forward_run};
const struct kernel kernel_scale_grad = {
    .op = TRAINER_OP_SCALE_GRAD, .name = "scale_grad", .check = check_scale_grad, .workspace = grad_workspace, .run = grad_run};
