/* quantise_tabled.cu - QUANTISE to NF4 and FP4 with one or two levels of scales. */
#include "quantise.cuh"

#define THREADS QUANTISE_THREADS

/* A book whose codes lie in the nibbles of one word. */
struct book {
  float middle[15];
  uint64_t codes;
};

static struct book book_of(uint32_t format) {
  struct quant_book from = quant_book_of(format);
  struct book book = {};
  memcpy(book.middle, from.middle, sizeof book.middle);
  for (int i = 0; i < 16; i++) book.codes |= (uint64_t)from.code[i] << 4 * i;
  return book;
}

static __device__ __forceinline__ unsigned encode(float x, const struct book *book) {
  return (unsigned)(book->codes >> 4 * quant_place(x, book->middle)) & 15u;
}

/* One block a warp, two elements a lane at a time. */
template <typename T>
static __global__ void __launch_bounds__(THREADS) encode_blocks(uint8_t *codes, float *absmax, const T *x, int64_t n, uint32_t group, int64_t blocks,
                                                                const __grid_constant__ struct book book) {
  int64_t block = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, begin = block * group;
  int lane = threadIdx.x % WARP;
  if (block >= blocks) return;
  int64_t length = n - begin < group ? n - begin : group;
  float most = 0.0f;
  for (int64_t i = lane * 2; i < length; i += WARP * 2) {
    most = quant_larger(most, fabsf(to_f32(x[begin + i])));
    if (i + 1 < length) most = quant_larger(most, fabsf(to_f32(x[begin + i + 1])));
  }
  most = warp_largest(most);
  if (lane == 0) absmax[block] = most;
  float factor = quant_block_factor(most);
  for (int64_t i = lane * 2; i < length; i += WARP * 2) {
    unsigned code = encode(to_f32(x[begin + i]) * factor, &book) << 4;
    if (i + 1 < length) code |= encode(to_f32(x[begin + i + 1]) * factor, &book);
    codes[(begin + i) / 2] = (uint8_t)code;
  }
}

/* ---- scales of scales ---- */

#define SUM_ROWS 64 /* loaded at once: the loop waits for memory */

/* The f32 mean in the order of PyTorch on AVX2, whose mean bitsandbytes takes: rows of
 * four vectors of eight lanes, carried into the next of four levels after 2^power rows.
 * One warp: each lane has its column. */
static __global__ void mean_of(float *mean, const float *x, int64_t n) {
  int64_t vectors = n / 8, rows = vectors / 4;
  int lane = threadIdx.x, power = 0;
  while (((int64_t)1 << power) < rows) power++;
  power = power / 4 > 4 ? power / 4 : 4;
  int64_t mask = ((int64_t)1 << power) - 1;
  float level[4] = {};
  for (int64_t first = 0; first < rows; first += SUM_ROWS) {
    float part[SUM_ROWS];
#pragma unroll
    for (int i = 0; i < SUM_ROWS; i++) part[i] = first + i < rows ? x[(first + i) * WARP + lane] : 0.0f;
#pragma unroll
    for (int i = 0; i < SUM_ROWS; i++) {
      int64_t done = first + i + 1;
      if (done > rows) break;
      level[0] += part[i];
      if (i % 16 != 15 || done & mask) continue; /* carries come after multiples of 16 */
      level[1] += level[0];
      level[0] = 0.0f;
      if (done >> power & mask) continue;
      level[2] += level[1];
      level[1] = 0.0f;
      if (done >> 2 * power & mask) continue;
      level[3] += level[2];
      level[2] = 0.0f;
    }
  }
  float sum = level[0] + level[1];
  sum += level[2];
  sum += level[3];
  if (lane < 8)
    for (int64_t vector = rows * 4; vector < vectors; vector++) sum += x[vector * 8 + lane];
  float second = __shfl_down_sync(0xFFFFFFFFu, sum, 8), third = __shfl_down_sync(0xFFFFFFFFu, sum, 16), fourth = __shfl_down_sync(0xFFFFFFFFu, sum, 24);
  sum = sum + second + third + fourth;
  float total = 0.0f;
  for (int64_t i = vectors * 8; i < n; i++) total += x[i];
  for (int from = 0; from < 8; from++) total += __shfl_sync(0xFFFFFFFFu, sum, from);
  if (lane == 0) *mean = __fdiv_rn(total, (float)n);
}

struct dynamic {
  float map[QUANT_MAP];
  float middle[QUANT_MAP - 1];
};

/* The largest magnitude of a block of threads. */
static __device__ float block_largest(float x, float *shared) {
  x = warp_largest(x);
  if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = x;
  __syncthreads();
  x = warp_largest(threadIdx.x % WARP < THREADS / WARP ? shared[threadIdx.x % WARP] : 0.0f);
  __syncthreads();
  return x;
}

/* One group of scales a block: scales minus their mean, as codes of the dynamic map. */
static __global__ void __launch_bounds__(THREADS) encode_scales(uint8_t *codes, float *nested, float *map, const float *absmax, const float *mean, int64_t blocks,
                                                                uint32_t group, const __grid_constant__ struct dynamic dynamic) {
  __shared__ float middle[QUANT_MAP - 1], shared[WARP];
  int64_t begin = (int64_t)blockIdx.x * group, end = begin + group < blocks ? begin + group : blocks;
  for (int i = threadIdx.x; i < QUANT_MAP - 1; i += THREADS) middle[i] = dynamic.middle[i];
  if (blockIdx.x == 0)
    for (int i = threadIdx.x; i < QUANT_MAP; i += THREADS) map[i] = dynamic.map[i];
  float most = 0.0f;
  for (int64_t i = begin + threadIdx.x; i < end; i += THREADS) most = quant_larger(most, fabsf(absmax[i] - *mean));
  most = block_largest(most, shared);
  if (threadIdx.x == 0) nested[blockIdx.x] = most;
  for (int64_t i = begin + threadIdx.x; i < end; i += THREADS) codes[i] = quant_map_code(most == 0.0f ? 0.0f : __fdiv_rn(absmax[i] - *mean, most), middle);
}

static void quantise_scales(const struct call *call, const float *absmax, int64_t blocks, uint32_t group) {
  const struct view *w = call->out;
  struct dynamic dynamic;
  float *mean = (float *)w[TRAINER_WEIGHT_SCALE_ZERO].data;
  quant_map(dynamic.map);
  quant_middles(dynamic.middle, dynamic.map, QUANT_MAP);
  mean_of<<<1, WARP, 0, call->stream>>>(mean, absmax, blocks);
  encode_scales<<<(unsigned)divide_up(blocks, group), THREADS, 0, call->stream>>>((uint8_t *)w[TRAINER_WEIGHT_SCALE].data, (float *)w[TRAINER_WEIGHT_SCALE_SCALE].data,
                                                                                 (float *)w[TRAINER_WEIGHT_CODE].data, absmax, mean, blocks, group, dynamic);
}

uint64_t tabled_workspace(const trainer_quant_format *f, int64_t n) { return f->nested_group ? (uint64_t)quant_groups(f, n) * sizeof(float) : 0; }

void quantise_tabled(const struct call *call, const trainer_quant_format *f) {
  const struct view *w = call->out, *src = &call->in[0];
  int64_t blocks = quant_groups(f, src->count);
  float *absmax = (float *)(f->nested_group ? call->workspace : w[TRAINER_WEIGHT_SCALE].data);
  struct book book = book_of(f->format);
  unsigned grid = (unsigned)divide_up(blocks, THREADS / WARP);
  WITH_FLOAT(T, src->dtype, encode_blocks<T><<<grid, THREADS, 0, call->stream>>>((uint8_t *)w[TRAINER_WEIGHT_DATA].data, absmax, (const T *)src->data, src->count,
                                                                                f->group, blocks, book));
  if (f->nested_group) quantise_scales(call, absmax, blocks, f->nested_group);
}
