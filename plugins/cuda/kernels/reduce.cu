/* reduce.cu - REDUCE: sums and maxima over any dimensions, in an order that follows from
 * the shape alone.
 *
 * The dimensions of src are kept (dst has them) or reduced (dst has 1). A block is a tile of
 * results times lanes that walk the reduced elements. Where the last dimension is
 * reduced, neighbouring threads are lanes of one result; where it is kept, they are
 * neighbouring results. Long reductions with few results are cut into segments whose
 * partial results a second launch joins in order. Sums are f64.
 */
#include <math.h>

#include "strided.cuh"

#define THREADS 256
#define SEGMENTS_MAX 64
#define SEGMENT_ELEMENTS 4096 /* a segment has at least as many */
#define BLOCKS_WANTED 512

/* One group of dimensions, as few as the strides allow. */
struct dims {
  uint32_t rank;
  int64_t count;
  int64_t shape[TRAINER_MAX_RANK];
  int64_t src[TRAINER_MAX_RANK];
  int64_t dst[TRAINER_MAX_RANK];
};

struct reduction {
  struct dims kept;
  struct dims reduced;
  int max;
  int lanes; /* threads of one result, a power of two */
  int lanes_inner; /* lanes are neighbouring threads */
  int64_t blocks;
  int64_t segments;
  int64_t segment_size; /* of the reduced elements */
  const void *src;
  void *dst;
  uint32_t src_dtype;
  uint32_t dst_dtype;
  double *partial; /* [segments, results], NULL with one segment */
};

/* ---- shape ---- */

static void dims_add(struct dims *dims, int64_t size, int64_t src, int64_t dst) {
  uint32_t last = dims->rank - 1;
  dims->count *= size;
  if (size == 1) return;
  if (dims->rank > 0 && dims->src[last] == src * size && dims->dst[last] == dst * size) {
    dims->shape[last] *= size;
    dims->src[last] = src;
    dims->dst[last] = dst;
    return;
  }
  dims->shape[dims->rank] = size;
  dims->src[dims->rank] = src;
  dims->dst[dims->rank++] = dst;
}

static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

static struct reduction plan(const struct call *call) {
  const struct view *src = &call->in[0], *dst = &call->out[0];
  struct reduction r = {};
  r.kept.count = r.reduced.count = 1;
  for (uint32_t dim = 0; dim < src->rank; dim++) {
    int reduce = dst->shape[dim] == 1 && src->shape[dim] != 1;
    dims_add(reduce ? &r.reduced : &r.kept, src->shape[dim], src->stride[dim], reduce ? 0 : dst->stride[dim]);
    if (src->shape[dim] != 1) r.lanes_inner = reduce;
  }
  r.max = ((const trainer_attr_reduce *)call->attr)->code == TRAINER_REDUCE_MAX;
  r.lanes = r.lanes_inner ? (r.reduced.count > 1024 ? THREADS : WARP) : r.reduced.count >= 64 ? 8 : 1;
  r.blocks = divide_up(r.kept.count, THREADS / r.lanes);
  r.segments = 1;
  if (r.blocks > 0 && r.blocks < BLOCKS_WANTED) {
    r.segments = at_most(BLOCKS_WANTED / r.blocks, divide_up(r.reduced.count, SEGMENT_ELEMENTS));
    if (!r.lanes_inner) r.segments = at_most(BLOCKS_WANTED / r.blocks, divide_up(r.reduced.count, SEGMENT_ELEMENTS / WARP));
    r.segments = at_most(r.segments < 1 ? 1 : r.segments, SEGMENTS_MAX);
  }
  r.segment_size = divide_up(r.reduced.count, r.segments);
  r.src = src->data;
  r.dst = dst->data;
  r.src_dtype = src->dtype;
  r.dst_dtype = dst->dtype;
  return r;
}

static uint64_t workspace(const struct call *call) {
  struct reduction r = plan(call);
  return r.segments > 1 ? (uint64_t)(r.segments * r.kept.count) * sizeof(double) : 0;
}

/* ---- values ---- */

/* Offset of element `index` of a group in src, or in dst. */
__device__ __forceinline__ int64_t dims_offset(const struct dims &dims, const int64_t *stride, int64_t index) {
  if (dims.rank == 1) return index * stride[0];
  int64_t offset = 0;
  for (int dim = (int)dims.rank - 1; dim >= 0; dim--) {
    offset += index % dims.shape[dim] * stride[dim];
    index /= dims.shape[dim];
  }
  return offset;
}

__device__ __forceinline__ double join(const struct reduction &r, double a, double b) {
  if (!r.max) return a + b;
  return a > b || a != a ? a : b; /* NaN wins */
}

__device__ __forceinline__ double neutral(const struct reduction &r) { return r.max ? -(double)INFINITY : 0.0; }

__device__ __forceinline__ double element(const struct reduction &r, int64_t at) {
  return r.src_dtype == TRAINER_I32 ? (double)((const int32_t *)r.src)[at] : (double)load_float(r.src, r.src_dtype, at);
}

/* i32 sums wrap around; in f64 they are exact up to 2^53. */
__device__ __forceinline__ void store_result(const struct reduction &r, int64_t result, double value) {
  int64_t at = dims_offset(r.kept, r.kept.dst, result);
  if (r.dst_dtype == TRAINER_I32) ((int32_t *)r.dst)[at] = value < -0x1p62 ? INT32_MIN : (int32_t)(uint32_t)(uint64_t)(int64_t)value;
  else store_float(r.dst, r.dst_dtype, at, (float)value);
}

/* ---- launches ---- */

__global__ void __launch_bounds__(THREADS) reduce_kernel(const struct reduction r) {
  __shared__ double shared[THREADS];
  int tile = THREADS / r.lanes;
  int lane = r.lanes_inner ? threadIdx.x % r.lanes : threadIdx.x / tile;
  int column = r.lanes_inner ? threadIdx.x / r.lanes : threadIdx.x % tile;
  int64_t result = (int64_t)blockIdx.x * tile + column;
  int64_t begin = (int64_t)blockIdx.y * r.segment_size, end = min(begin + r.segment_size, r.reduced.count);
  double value = neutral(r);
  if (result < r.kept.count) {
    int64_t base = dims_offset(r.kept, r.kept.src, result);
#pragma unroll 4
    for (int64_t at = begin + lane; at < end; at += r.lanes) value = join(r, value, element(r, base + dims_offset(r.reduced, r.reduced.src, at)));
  }
  shared[threadIdx.x] = value;
  int apart = r.lanes_inner ? 1 : tile; /* of neighbouring lanes of one result */
  for (int half = r.lanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) shared[threadIdx.x] = join(r, shared[threadIdx.x], shared[threadIdx.x + half * apart]);
  }
  if (lane != 0 || result >= r.kept.count) return;
  if (r.partial) r.partial[blockIdx.y * r.kept.count + result] = shared[threadIdx.x];
  else store_result(r, result, shared[threadIdx.x]);
}

__global__ void __launch_bounds__(THREADS) join_kernel(const struct reduction r) {
  int64_t step = (int64_t)gridDim.x * THREADS;
  for (int64_t result = (int64_t)blockIdx.x * THREADS + threadIdx.x; result < r.kept.count; result += step) {
    double value = neutral(r);
    for (int64_t segment = 0; segment < r.segments; segment++) value = join(r, value, r.partial[segment * r.kept.count + result]);
    store_result(r, result, value);
  }
}

static int32_t run(const struct call *call, char *text, uint64_t bytes) {
  struct reduction r = plan(call);
  if (r.kept.count == 0) return TRAINER_OK;
  if (r.segments > 1) r.partial = (double *)call->workspace;
  dim3 grid((unsigned)r.blocks, (unsigned)r.segments);
  reduce_kernel<<<grid, THREADS, 0, call->stream>>>(r);
  if (r.partial) join_kernel<<<grid_of(call->gpu, r.kept.count, THREADS), THREADS, 0, call->stream>>>(r);
  return launched(text, bytes);
}

const struct kernel kernel_reduce = {.op = TRAINER_OP_REDUCE, .name = "reduce", .check = check_reduce, .workspace = workspace, .run = run};
