/* gather.cu - GATHER rows by index, and SCATTER_ADD, its gradient. An index beyond the
 * table is treated like a negative one: nothing outside the table is touched. */
#include "strided.cuh"

#define THREADS 256

struct indexes {
  const int32_t *data;
  int64_t stride;
  int64_t n;
  int64_t limit; /* rows of the table */

  /* -1 for one that is not in the table. */
  __device__ __forceinline__ int32_t at(int64_t i) const {
    int32_t index = data[i * stride];
    return index < limit ? index : -1;
  }
};

static struct indexes indexes_of(const struct view *index, const struct view *table) {
  return {(const int32_t *)index->data, index->stride[0], index->shape[0], table->shape[0]};
}

/* ---- gather ---- */

/* Rows of `width` words, one block a row. */
template <typename T>
__global__ void __launch_bounds__(THREADS) gather_kernel(T *dst, int64_t dst_pitch, const T *src, int64_t src_pitch, int64_t width, struct indexes index) {
  for (int64_t row = blockIdx.x; row < index.n; row += gridDim.x) {
    int32_t from = index.at(row);
    for (int64_t i = threadIdx.x; i < width; i += THREADS) dst[row * dst_pitch + i] = from < 0 ? T{} : src[from * src_pitch + i];
  }
}

template <typename D, typename S>
__global__ void __launch_bounds__(THREADS) gather_cast_kernel(D *dst, int64_t dst_pitch, const S *src, int64_t src_pitch, int64_t width, struct indexes index) {
  for (int64_t row = blockIdx.x; row < index.n; row += gridDim.x) {
    int32_t from = index.at(row);
    for (int64_t i = threadIdx.x; i < width; i += THREADS) dst[row * dst_pitch + i] = from_f32<D>(from < 0 ? 0.0f : to_f32(src[from * src_pitch + i]));
  }
}

/* The rows as words of T; sizes in bytes. */
template <typename T> static void gather_as(const struct call *call, int64_t size) {
  const struct view *dst = &call->out[0], *src = &call->in[0];
  int64_t words = sizeof(T) / size;
  gather_kernel<T><<<grid_of(call->gpu, dst->shape[0], 1), THREADS, 0, call->stream>>>(
      (T *)dst->data, dst->stride[0] / words, (const T *)src->data, src->stride[0] / words, dst->shape[1] / words, indexes_of(&call->in[1], src));
}

template <typename D, typename S> static void gather_cast(const struct call *call) {
  const struct view *dst = &call->out[0], *src = &call->in[0];
  gather_cast_kernel<D, S><<<grid_of(call->gpu, dst->shape[0], 1), THREADS, 0, call->stream>>>(
      (D *)dst->data, dst->stride[0], (const S *)src->data, src->stride[0], dst->shape[1], indexes_of(&call->in[1], src));
}

static int32_t gather_run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *dst = &call->out[0], *src = &call->in[0];
  int64_t size = list_dtype_bytes(dst->dtype);
  if (dst->count == 0) return TRAINER_OK;
  int wide = is_aligned16(dst->data, src->data) && (dst->shape[1] | dst->stride[0] | src->stride[0]) * size % 16 == 0;
  if (dst->dtype != src->dtype) WITH_FLOAT(D, dst->dtype, WITH_FLOAT(S, src->dtype, (gather_cast<D, S>(call))));
  else if (wide) gather_as<uint4>(call, size);
  else if (size == 4) gather_as<uint32_t>(call, size);
  else if (size == 2) gather_as<uint16_t>(call, size);
  else gather_as<uint8_t>(call, size);
  return launched(text, bytes);
}

const struct kernel kernel_gather = {.op = TRAINER_OP_GATHER, .name = "gather", .check = check_gather, .run = gather_run};

/* ---- scatter add ---- */

#define COLUMNS 8 /* features of one thread */

/* One block is one source row and THREADS * COLUMNS features. The block of the first row
 * with an index adds all rows with that index, in ascending order; the others have
 * nothing to do. So no two blocks write one place, and the order is always the same. */
template <typename D, typename S>
__global__ void __launch_bounds__(THREADS) scatter_kernel(D *dst, int64_t dst_pitch, const S *src, int64_t src_pitch, int64_t width, struct indexes index) {
  __shared__ uint32_t matches[THREADS / WARP];
  int64_t first = blockIdx.x, column = (int64_t)blockIdx.y * THREADS * COLUMNS + threadIdx.x;
  int32_t to = index.at(first);
  if (to < 0) return;
  for (int64_t base = 0; base < first; base += THREADS) {
    int64_t i = base + threadIdx.x;
    if (__syncthreads_or(i < first && index.at(i) == to)) return; /* an earlier block does it */
  }
  float sum[COLUMNS];
#pragma unroll
  for (int k = 0; k < COLUMNS; k++) {
    int64_t at = column + k * THREADS;
    sum[k] = at < width ? to_f32(dst[to * dst_pitch + at]) : 0.0f;
  }
  for (int64_t base = first; base < index.n; base += THREADS) {
    int64_t i = base + threadIdx.x;
    uint32_t found = __ballot_sync(0xFFFFFFFFu, i < index.n && index.at(i) == to);
    __syncthreads();
    if (threadIdx.x % WARP == 0) matches[threadIdx.x / WARP] = found;
    __syncthreads();
    for (int warp = 0; warp < THREADS / WARP; warp++) {
      for (uint32_t left = matches[warp]; left; left &= left - 1) {
        const S *row = src + (base + warp * WARP + __ffs((int)left) - 1) * src_pitch;
#pragma unroll
        for (int k = 0; k < COLUMNS; k++) {
          int64_t at = column + k * THREADS;
          if (at < width) sum[k] += to_f32(row[at]);
        }
      }
    }
  }
#pragma unroll
  for (int k = 0; k < COLUMNS; k++) {
    int64_t at = column + k * THREADS;
    if (at < width) dst[to * dst_pitch + at] = from_f32<D>(sum[k]);
  }
}

template <typename D, typename S> static void scatter(const struct call *call) {
  const struct view *dst = &call->out[0], *src = &call->in[0];
  dim3 grid((unsigned)src->shape[0], (unsigned)divide_up(src->shape[1], THREADS * COLUMNS));
  scatter_kernel<D, S><<<grid, THREADS, 0, call->stream>>>((D *)dst->data, dst->stride[0], (const S *)src->data, src->stride[0], dst->shape[1],
                                                           indexes_of(&call->in[1], dst));
}

static int32_t scatter_run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *dst = &call->out[0], *src = &call->in[0];
  if (src->count == 0 || dst->count == 0) return TRAINER_OK;
  WITH_FLOAT(D, dst->dtype, WITH_FLOAT(S, src->dtype, (scatter<D, S>(call))));
  return launched(text, bytes);
}

const struct kernel kernel_scatter_add = {.op = TRAINER_OP_SCATTER_ADD, .name = "scatter_add", .check = check_scatter_add, .run = scatter_run};
