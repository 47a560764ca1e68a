/* attention_body.cuh - attention and its gradient (Dao et al. 2022; Dao 2023) over tiles,
 * so that the scores never exist as a matrix. Nothing is summed by atomics: one block sums
 * all that goes into its rows of o, dq, dk or dv, in a fixed order. */
#ifndef TRAINER_CUDA_ATTENTION_BODY_CUH
#define TRAINER_CUDA_ATTENTION_BODY_CUH

#include "attention_tile.cuh"

namespace {

constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;

/* A tensor [B, positions, heads, D]. */
struct heads {
  void *data; /* NULL = absent */
  uint32_t dtype;
  int64_t batch, position, head, feature; /* strides */
  int vectors;

  __device__ rows of(int b, int h) const {
    return {(const char *)data + (b * batch + h * head) * (dtype == TRAINER_F32 ? 4 : 2), dtype, position, feature, vectors};
  }
};

struct attention {
  heads q, k, v, o, grad_o, dq, dk, dv;
  float *lse; /* [B,H,S] */
  int64_t lse_batch, lse_head, lse_position;
  float *delta; /* [B,H,S] without gaps: rowsum(grad_o * o) */
  const int32_t *lengths, *segments, *offset;
  int64_t length_stride, segment_batch, segment_position;
  int batch, queries, keys, heads_n, groups, width;
  float scale;
  int causal;
  int64_t window; /* 0 = none */
};

/* ---- who sees whom ---- */

/* Keys (low, high] are what a query may see, segments aside. */
struct reach {
  int low, high;
};

__device__ __forceinline__ int clamp_position(int64_t x) { return (int)(x < -1 ? -1 : x > INT32_MAX - 1 ? INT32_MAX - 1 : x); }

__device__ __forceinline__ int keys_of(const attention &a, int b) {
  if (!a.lengths) return a.keys;
  int n = a.lengths[b * a.length_stride];
  return n < 0 ? 0 : n < a.keys ? n : a.keys;
}

__device__ __forceinline__ reach reach_of(const attention &a, int limit, int64_t offset, int query) {
  int64_t at = query + offset;
  reach r = {-1, limit - 1};
  if (a.causal && at < r.high) r.high = clamp_position(at);
  if (a.window) r.low = clamp_position(at - a.window);
  return r;
}

__device__ __forceinline__ int64_t offset_of(const attention &a) { return a.offset ? *a.offset : 0; }

__device__ __forceinline__ int segment_of(const attention &a, int b, int position, int limit) {
  return a.segments && position < limit ? a.segments[b * a.segment_batch + position * a.segment_position] : 0;
}

/* Widens a range in shared memory to those of all threads; whole numbers, so in any order. */
__device__ __forceinline__ void widen(int &low, int &high, int first, int last) {
  first = __reduce_min_sync(0xFFFFFFFFu, first);
  last = __reduce_max_sync(0xFFFFFFFFu, last);
  if (threadIdx.x % WARP == 0) {
    atomicMin(&low, first);
    atomicMax(&high, last);
  }
}

/* Positions of the other side whose segments a block can meet, as [begin, end) cut down to
 * the first and the last that lie between the least and the greatest of its own: the samples
 * of packed rows, whose segments ascend. All threads of the block call it. */
__device__ void meet_segments(const attention &a, int b, int own, int own_end, int tile, int &begin, int &end) {
  __shared__ int least, greatest, from, to;
  if (!a.segments || begin >= end) return;
  if (threadIdx.x == 0) least = from = INT32_MAX, greatest = to = INT32_MIN;
  __syncthreads();
  int first = INT32_MAX, last = INT32_MIN;
  for (int i = own + threadIdx.x; i < own_end; i += blockDim.x) {
    int segment = segment_of(a, b, i, own_end);
    first = min(first, segment);
    last = max(last, segment);
  }
  widen(least, greatest, first, last);
  __syncthreads();
  first = INT32_MAX, last = INT32_MIN;
  for (int i = begin + threadIdx.x; i < end; i += blockDim.x) {
    int segment = segment_of(a, b, i, end);
    if (segment < least || segment > greatest) continue;
    first = min(first, i);
    last = max(last, i);
  }
  widen(from, to, first, last);
  __syncthreads();
  begin = from < end ? from / tile * tile : end;
  end = to < end ? to + 1 : end;
}

/* The segments of a tile of N positions, into shared memory. */
template <int N, int THREADS> __device__ __forceinline__ void load_segments(int *tile, const attention &a, int b, int first, int limit) {
  for (int i = threadIdx.x; i < N; i += THREADS) tile[i] = segment_of(a, b, first + i, limit);
}

/* ---- storing ---- */

/* Rows of a warp, acc times factor, to positions [first, first + 16) below limit. */
template <int C> __device__ void store_rows(const heads &to, int b, int h, int first, int limit, int column, int width, const float (&acc)[C / 8][4], const float (&factor)[2]) {
  rows out = to.of(b, h);
  int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int position = first + g + 8 * half;
    if (position >= limit) continue;
#pragma unroll
    for (int n = 0; n < C / 8; n++) {
      int c = column + 8 * n + 2 * t;
      float x0 = acc[n][2 * half] * factor[half], x1 = acc[n][2 * half + 1] * factor[half];
      int64_t at = position * out.row + c * out.step;
      if (out.vectors && out.dtype != TRAINER_F32 && c + 1 < width) {
        uint32_t pair = out.dtype == TRAINER_BF16 ? pack(x0, x1, bf16()) : pack(x0, x1, f16());
        *(uint32_t *)((uint16_t *)out.data + at) = pair;
        continue;
      }
      if (c < width) store_value((void *)out.data, out.dtype, at, x0);
      if (c + 1 < width) store_value((void *)out.data, out.dtype, at + out.step, x1);
    }
  }
}

/* ---- forward ---- */

/* Sizes of a kernel: WARPS * 16 rows of its own stay, N others pass at a time. A block
 * makes C of the D features; wider heads take several blocks. */
template <typename T, int D_, int WARPS_, int N_> struct tiling {
  static constexpr int D = D_, WARPS = WARPS_, N = N_;
  static constexpr int ROWS = WARPS * TILE_ROWS, THREADS = WARPS * WARP, C = D < 128 ? D : 128, CHUNKS = D / C;
  static constexpr int OWN = ROWS * PITCH<T, D>, OTHER = N * PITCH<T, D>; /* elements of a tile */
};

template <typename T, typename S> __global__ void __launch_bounds__(S::THREADS) attend(attention a) {
  extern __shared__ __align__(16) char memory[];
  __shared__ int key_segment[S::N];
  T *q = (T *)memory, *k = q + S::OWN, *v = k + S::OTHER;
  int blocks = gridDim.x / S::CHUNKS, chunk = blockIdx.x / blocks;
  int first = (blocks - 1 - (int)blockIdx.x % blocks) * S::ROWS; /* the longest rows of a causal mask begin first */
  int h = blockIdx.y, b = blockIdx.z, group = h / (a.heads_n / a.groups);
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, row = first + warp * TILE_ROWS + g;
  int limit = keys_of(a, b);
  int64_t offset = offset_of(a);
  int begin = (reach_of(a, limit, offset, first).low + 1) / S::N * S::N, end = reach_of(a, limit, offset, first + S::ROWS - 1).high + 1;
  reach sight[2] = {reach_of(a, limit, offset, row), reach_of(a, limit, offset, row + 8)};
  int segment[2] = {segment_of(a, b, row, a.queries), segment_of(a, b, row + 8, a.queries)};
  float scale = a.scale * LOG2E, most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  float o[S::C / 8][4] = {};
  rows keys = a.k.of(b, group), values = a.v.of(b, group);

  meet_segments(a, b, first, min(first + S::ROWS, a.queries), S::N, begin, end);
  load_tile<T, S::D, S::ROWS, S::THREADS>(q, a.q.of(b, h), first, a.queries, a.width);
  if (begin < end) load_tile<T, S::D, S::N, S::THREADS>(k, keys, begin, limit, a.width);
  load_segments<S::N, S::THREADS>(key_segment, a, b, begin, limit);
  for (int l = begin; l < end; l += S::N) {
    wait_copies();
    __syncthreads(); /* k is here, and nobody reads the last v any more */
    load_tile<T, S::D, S::N, S::THREADS>(v, values, l, limit, a.width);
    float p[S::N / 8][4] = {};
    row_product<T, S::N, S::D>::add(p, q + warp * TILE_ROWS * PITCH<T, S::D>, k);
    bool plain = !a.segments && l + S::N - 1 <= sight[0].high && l > sight[1].low;
#pragma unroll
    for (int n = 0; n < S::N / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int c = 8 * n + 2 * t + e % 2, key = l + c, half = e / 2;
        bool seen = plain || (key > sight[half].low && key <= sight[half].high && segment[half] == key_segment[c]);
        p[n][e] = seen ? p[n][e] * scale : -INFINITY;
      }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float top = most[half];
#pragma unroll
      for (int n = 0; n < S::N / 8; n++) top = fmaxf(top, fmaxf(p[n][2 * half], p[n][2 * half + 1]));
      top = quad_max(top);
      float base = top == -INFINITY ? 0.0f : top, fade = exp2f(most[half] - base);
      most[half] = top;
      sum[half] *= fade;
#pragma unroll
      for (int n = 0; n < S::N / 8; n++)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; e++) {
          p[n][e] = exp2f(p[n][e] - base);
          sum[half] += p[n][e];
        }
#pragma unroll
      for (int n = 0; n < S::C / 8; n++) {
        o[n][2 * half] *= fade;
        o[n][2 * half + 1] *= fade;
      }
    }
    wait_copies();
    __syncthreads(); /* v is here, and nobody reads this k any more */
    if (l + S::N < end) load_tile<T, S::D, S::N, S::THREADS>(k, keys, l + S::N, limit, a.width);
    load_segments<S::N, S::THREADS>(key_segment, a, b, l + S::N, limit);
    column_product<T, S::N, S::D, S::C>::add(o, p, v + chunk * S::C);
  }
  wait_copies();

  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float total = quad_sum(sum[half]);
    bool none = total == 0.0f && most[half] == -INFINITY;
    factor[half] = none ? 0.0f : 1.0f / total;
    int position = row + 8 * half;
    if (chunk == 0 && t == 0 && position < a.queries)
      a.lse[b * a.lse_batch + h * a.lse_head + position * a.lse_position] = none ? -INFINITY : (most[half] + log2f(total)) * LN2;
  }
  store_rows<S::C>(a.o, b, h, first + warp * TILE_ROWS, a.queries, chunk * S::C, a.width, o, factor);
}

/* ---- gradient ---- */

constexpr int DELTA_THREADS = 256;

/* delta = rowsum(grad_o * o); one warp a row. */
__global__ void __launch_bounds__(DELTA_THREADS) make_delta(attention a) {
  int64_t row = (int64_t)blockIdx.x * (DELTA_THREADS / WARP) + threadIdx.x / WARP, total = (int64_t)a.batch * a.heads_n * a.queries;
  if (row >= total) return;
  int s = (int)(row % a.queries), h = (int)(row / a.queries % a.heads_n), b = (int)(row / a.queries / a.heads_n);
  rows o = a.o.of(b, h), d = a.grad_o.of(b, h);
  float sum = 0;
  for (int c = threadIdx.x % WARP; c < a.width; c += WARP)
    sum += load_value(o.data, o.dtype, s * o.row + c * o.step) * load_value(d.data, d.dtype, s * d.row + c * d.step);
  sum = warp_sum(sum);
  if (threadIdx.x % WARP == 0) a.delta[row] = sum;
}

__device__ __forceinline__ float lse_at(const attention &a, int b, int h, int s) {
  return s < a.queries ? a.lse[b * a.lse_batch + h * a.lse_head + s * a.lse_position] * LOG2E : INFINITY;
}

__device__ __forceinline__ float delta_at(const attention &a, int b, int h, int s) {
  return s < a.queries ? a.delta[((int64_t)b * a.heads_n + h) * a.queries + s] : 0.0f;
}

/* dq of a block of queries: over keys, dq += scale * (p (dp - delta)) k. */
template <typename T, typename S> __global__ void __launch_bounds__(S::THREADS) grad_queries(attention a) {
  extern __shared__ __align__(16) char memory[];
  __shared__ int key_segment[S::N];
  T *q = (T *)memory, *d = q + S::OWN, *k = d + S::OWN, *v = k + S::OTHER;
  int blocks = gridDim.x / S::CHUNKS, chunk = blockIdx.x / blocks;
  int first = (blocks - 1 - (int)blockIdx.x % blocks) * S::ROWS;
  int h = blockIdx.y, b = blockIdx.z, group = h / (a.heads_n / a.groups);
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, row = first + warp * TILE_ROWS + g;
  int limit = keys_of(a, b), own = warp * TILE_ROWS * PITCH<T, S::D>;
  int64_t offset = offset_of(a);
  int begin = (reach_of(a, limit, offset, first).low + 1) / S::N * S::N, end = reach_of(a, limit, offset, first + S::ROWS - 1).high + 1;
  reach sight[2] = {reach_of(a, limit, offset, row), reach_of(a, limit, offset, row + 8)};
  int segment[2] = {segment_of(a, b, row, a.queries), segment_of(a, b, row + 8, a.queries)};
  float lse[2] = {lse_at(a, b, h, row), lse_at(a, b, h, row + 8)}, delta[2] = {delta_at(a, b, h, row), delta_at(a, b, h, row + 8)};
  float scale = a.scale * LOG2E, dq[S::C / 8][4] = {};

  meet_segments(a, b, first, min(first + S::ROWS, a.queries), S::N, begin, end);
  load_tile<T, S::D, S::ROWS, S::THREADS>(q, a.q.of(b, h), first, a.queries, a.width);
  load_tile<T, S::D, S::ROWS, S::THREADS>(d, a.grad_o.of(b, h), first, a.queries, a.width);
  for (int l = begin; l < end; l += S::N) {
    __syncthreads();
    load_tile<T, S::D, S::N, S::THREADS>(k, a.k.of(b, group), l, limit, a.width);
    load_tile<T, S::D, S::N, S::THREADS>(v, a.v.of(b, group), l, limit, a.width);
    load_segments<S::N, S::THREADS>(key_segment, a, b, l, limit);
    wait_copies();
    __syncthreads();
    float p[S::N / 8][4] = {}, dp[S::N / 8][4] = {};
    row_product<T, S::N, S::D>::add(p, q + own, k);
    row_product<T, S::N, S::D>::add(dp, d + own, v);
    bool plain = !a.segments && l + S::N - 1 <= sight[0].high && l > sight[1].low;
#pragma unroll
    for (int n = 0; n < S::N / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int c = 8 * n + 2 * t + e % 2, key = l + c, half = e / 2;
        bool seen = plain || (key > sight[half].low && key <= sight[half].high && segment[half] == key_segment[c]);
        p[n][e] = seen ? exp2f(p[n][e] * scale - lse[half]) * (dp[n][e] - delta[half]) : 0.0f;
      }
    column_product<T, S::N, S::D, S::C>::add(dq, p, k + chunk * S::C);
  }
  wait_copies();
  float factor[2] = {a.scale, a.scale};
  store_rows<S::C>(a.dq, b, h, first + warp * TILE_ROWS, a.queries, chunk * S::C, a.width, dq, factor);
}

/* What the queries of a tile bring along. */
template <int N> struct columns {
  float lse[N], delta[N];
  reach sight[N];
  int segment[N];
};

/* dk and dv of a block of keys: over the queries of every head of the group, with
 * transposed scores, dv += p^T grad_o and dk += scale * (p (dp - delta))^T q. */
template <typename T, typename S> __global__ void __launch_bounds__(S::THREADS) grad_keys(attention a) {
  extern __shared__ __align__(16) char memory[];
  __shared__ columns<S::N> column;
  T *k = (T *)memory, *v = k + S::OWN, *q = v + S::OWN, *d = q + S::OTHER;
  int blocks = gridDim.x / S::CHUNKS, chunk = blockIdx.x / blocks, first = (int)blockIdx.x % blocks * S::ROWS;
  int group = blockIdx.y, b = blockIdx.z, per_group = a.heads_n / a.groups;
  int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, row = first + warp * TILE_ROWS + g;
  int limit = keys_of(a, b), own = warp * TILE_ROWS * PITCH<T, S::D>;
  int64_t offset = offset_of(a), low = a.causal ? first - offset : 0, high = a.window ? first + S::ROWS - 1 + a.window - offset : a.queries;
  int begin = low < 0 ? 0 : low < a.queries ? (int)low / S::N * S::N : a.queries, end = high < 0 ? 0 : high < a.queries ? (int)high : a.queries;
  if (first >= limit) end = begin;
  meet_segments(a, b, first, min(first + S::ROWS, limit), S::N, begin, end);
  int segment[2] = {segment_of(a, b, row, limit), segment_of(a, b, row + 8, limit)};
  float scale = a.scale * LOG2E, dk[S::C / 8][4] = {}, dv[S::C / 8][4] = {};

  load_tile<T, S::D, S::ROWS, S::THREADS>(k, a.k.of(b, group), first, limit, a.width);
  load_tile<T, S::D, S::ROWS, S::THREADS>(v, a.v.of(b, group), first, limit, a.width);
  for (int h = group * per_group; h < (group + 1) * per_group; h++)
    for (int s = begin; s < end; s += S::N) {
      __syncthreads();
      load_tile<T, S::D, S::N, S::THREADS>(q, a.q.of(b, h), s, a.queries, a.width);
      load_tile<T, S::D, S::N, S::THREADS>(d, a.grad_o.of(b, h), s, a.queries, a.width);
      for (int i = threadIdx.x; i < S::N; i += S::THREADS) {
        column.lse[i] = lse_at(a, b, h, s + i);
        column.delta[i] = delta_at(a, b, h, s + i);
        column.sight[i] = reach_of(a, limit, offset, s + i);
        column.segment[i] = segment_of(a, b, s + i, a.queries);
      }
      wait_copies();
      __syncthreads();
      float p[S::N / 8][4] = {}, dp[S::N / 8][4] = {};
      row_product<T, S::N, S::D>::add(p, k + own, q);
      bool plain = !a.segments && row + 8 <= column.sight[0].high && row > column.sight[S::N - 1].low;
#pragma unroll
      for (int n = 0; n < S::N / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          int c = 8 * n + 2 * t + e % 2, half = e / 2, key = row + 8 * half;
          bool seen = plain || (key > column.sight[c].low && key <= column.sight[c].high && segment[half] == column.segment[c]);
          p[n][e] = seen ? exp2f(p[n][e] * scale - column.lse[c]) : 0.0f;
        }
      column_product<T, S::N, S::D, S::C>::add(dv, p, d + chunk * S::C);
      row_product<T, S::N, S::D>::add(dp, v + own, d);
#pragma unroll
      for (int n = 0; n < S::N / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) p[n][e] *= dp[n][e] - column.delta[8 * n + 2 * t + e % 2];
      column_product<T, S::N, S::D, S::C>::add(dk, p, q + chunk * S::C);
    }
  wait_copies();
  float whole[2] = {1.0f, 1.0f}, scaled[2] = {a.scale, a.scale};
  if (a.dv.data) store_rows<S::C>(a.dv, b, group, first + warp * TILE_ROWS, a.keys, chunk * S::C, a.width, dv, whole);
  if (a.dk.data) store_rows<S::C>(a.dk, b, group, first + warp * TILE_ROWS, a.keys, chunk * S::C, a.width, dk, scaled);
}

} // namespace

#endif
