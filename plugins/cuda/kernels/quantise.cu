/* quantise.cu - QUANTISE and DEQUANTISE: DENSE (a cast) and NF4 with one or two levels of
 * scales, blocks running over the flattened row-major weight. Bit for bit what the CPU
 * backend and bitsandbytes make of it. */
#include <string.h>

#include "../../../native/quantise.h"
#include "blend.cuh"
#include "weight.cuh"

#define THREADS 256
#define GROUP_MAX 4096

static const trainer_quant_format *format_of(const struct call *call) { return &((const trainer_attr_quant *)call->attr)->format; }

/* ---- checks ---- */

static int is_plain_dense(const trainer_quant_format *f) {
  return is_dense(f) && !f->bits && !f->group && !f->interleaved && !f->code_layout && !f->scale_dtype && !f->zero_dtype && !f->nested_group;
}

/* The NF4 layouts there are. A group is even, so that no byte belongs to two blocks. */
static int is_nf4(const trainer_quant_format *f) {
  int scales = f->nested_group ? f->scale_dtype == TRAINER_U8 : f->scale_dtype == TRAINER_F32;
  return f->format == TRAINER_FORMAT_NF4 && f->bits == 4 && f->group > 0 && f->group <= GROUP_MAX && f->group % 2 == 0 && f->interleaved == 0 &&
         f->code_layout == 0 && f->zero_dtype == 0 && scales && f->nested_group <= INT32_MAX;
}

static int is_array(const struct view *view, uint32_t dtype, int64_t n) { return is_dtype(view, dtype) && is_vector(view, n); }

static int nf4_operands_ok(const struct view *weight, const trainer_quant_format *f, int64_t n) {
  int64_t blocks = divide_up(n, f->group);
  int extra = weight[TRAINER_WEIGHT_ZERO].present || weight[TRAINER_WEIGHT_ZERO_SCALE].present || weight[TRAINER_WEIGHT_ZERO_ZERO].present;
  if (extra || !is_array(&weight[TRAINER_WEIGHT_DATA], TRAINER_U8, divide_up(n, 2)) || !is_array(&weight[TRAINER_WEIGHT_SCALE], f->scale_dtype, blocks)) return 0;
  if (!f->nested_group) return !weight[TRAINER_WEIGHT_SCALE_SCALE].present && !weight[TRAINER_WEIGHT_SCALE_ZERO].present && !weight[TRAINER_WEIGHT_CODE].present;
  return is_array(&weight[TRAINER_WEIGHT_SCALE_SCALE], TRAINER_F32, divide_up(blocks, f->nested_group)) &&
         is_array(&weight[TRAINER_WEIGHT_SCALE_ZERO], TRAINER_F32, 1) && is_array(&weight[TRAINER_WEIGHT_CODE], TRAINER_F32, QUANT_MAP);
}

static int only_data(const struct view *weight) {
  for (uint32_t i = 1; i < TRAINER_WEIGHT_OPERANDS; i++)
    if (weight[i].present) return 0;
  return 1;
}

static int32_t check(const struct call *call, const struct view *weight, const struct view *dense, char *text, uint64_t bytes) {
  const trainer_attr_quant *attr = (const trainer_attr_quant *)call->attr;
  if (call->attr_bytes < sizeof *attr) return refuse(text, bytes, TRAINER_INVALID, "quantise and dequantise need their attributes");
  if (!is_plain_dense(&attr->format) && !is_nf4(&attr->format)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "this weight format is not known here");
  if (!is_float(dense) || dense->rank != 2 || dense->shape[0] != attr->rows || dense->shape[1] != attr->cols)
    return refuse(text, bytes, TRAINER_INVALID, "the dense weight is not float [rows, cols]");
  if (is_dense(&attr->format)) {
    if (is_float(&weight[0]) && same_shape(&weight[0], dense) && only_data(weight)) return TRAINER_OK;
    return refuse(text, bytes, TRAINER_INVALID, "a DENSE weight is one float operand of the dense shape");
  }
  if (!is_contiguous(dense)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "the dense weight has gaps");
  if (nf4_operands_ok(weight, &attr->format, dense->count)) return TRAINER_OK;
  return refuse(text, bytes, TRAINER_INVALID, "operands of the NF4 weight do not fit its format");
}

static uint32_t level(const trainer_op_query *query, const struct gpu *gpu) {
  const struct view view = {.dtype = query->dtype ? query->dtype : TRAINER_F32, .present = 1};
  const struct view weight = {.dtype = query->weight_dtype ? query->weight_dtype : TRAINER_F32, .present = 1};
  (void)gpu;
  int known = is_plain_dense(&query->format) || is_nf4(&query->format);
  int stored = is_float(&weight) || (query->format.format == TRAINER_FORMAT_NF4 && query->weight_dtype == TRAINER_U8);
  return known && is_float(&view) && stored ? TRAINER_LEVEL_FAST : TRAINER_LEVEL_NONE;
}

static int32_t cast(const struct call *call, const struct view *to, const struct view *from, char *text, uint64_t bytes) {
  struct blends blends = blends_on(call->stream);
  blends_add(&blends, blend_copy(matrix_of(to), matrix_of(from)));
  blends_run(&blends);
  return launched(text, bytes);
}

/* ---- codes and their scales ---- */

struct middles {
  float nf4[15];
};

/* The larger magnitude; NaN wins. */
static __device__ __forceinline__ float larger(float a, float b) { return b > a || b != b ? b : a; }

static __device__ __forceinline__ float warp_largest(float x) {
  for (int lane = WARP / 2; lane > 0; lane /= 2) x = larger(x, __shfl_xor_sync(0xFFFFFFFFu, x, lane));
  return x;
}

static __device__ __forceinline__ unsigned encode(float x, const struct middles *middles) {
  unsigned code = 0;
#pragma unroll
  for (int i = 0; i < 15; i++) code += x > middles->nf4[i];
  return code;
}

/* One block a warp, two elements a lane at a time. */
template <typename T>
static __global__ void __launch_bounds__(THREADS) encode_blocks(uint8_t *codes, float *absmax, const T *x, int64_t n, uint32_t group, int64_t blocks,
                                                                const __grid_constant__ struct middles middles) {
  int64_t block = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, begin = block * group;
  int lane = threadIdx.x % WARP;
  if (block >= blocks) return;
  int length = n - begin < group ? (int)(n - begin) : (int)group;
  float most = 0.0f;
  for (int i = lane * 2; i < length; i += WARP * 2) {
    most = larger(most, fabsf(to_f32(x[begin + i])));
    if (i + 1 < length) most = larger(most, fabsf(to_f32(x[begin + i + 1])));
  }
  most = warp_largest(most);
  if (lane == 0) absmax[block] = most;
  float factor = quant_block_factor(most);
  for (int i = lane * 2; i < length; i += WARP * 2) {
    unsigned code = encode(to_f32(x[begin + i]) * factor, &middles) << 4;
    if (i + 1 < length) code |= encode(to_f32(x[begin + i + 1]) * factor, &middles);
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
  for (int64_t i = begin + threadIdx.x; i < end; i += THREADS) most = larger(most, fabsf(absmax[i] - *mean));
  most = block_largest(most, shared);
  if (threadIdx.x == 0) nested[blockIdx.x] = most;
  for (int64_t i = begin + threadIdx.x; i < end; i += THREADS) codes[i] = quant_map_code(most == 0.0f ? 0.0f : __fdiv_rn(absmax[i] - *mean, most), middle);
}

/* ---- the ops ---- */

static int32_t quantise_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != TRAINER_WEIGHT_OPERANDS || call->n_in != 1)
    return refuse(text, bytes, TRAINER_INVALID, "quantise needs a weight of eight outputs and src");
  return check(call, call->out, call->in, text, bytes);
}

static uint64_t quantise_workspace(const struct call *call) {
  const trainer_quant_format *f = format_of(call);
  return f->nested_group ? (uint64_t)divide_up(call->in[0].count, f->group) * sizeof(float) : 0;
}

static void quantise_scales(const struct call *call, const float *absmax, int64_t blocks) {
  const struct view *w = call->out;
  struct dynamic dynamic;
  uint32_t group = format_of(call)->nested_group;
  float *mean = (float *)w[TRAINER_WEIGHT_SCALE_ZERO].data;
  quant_map(dynamic.map);
  quant_middles(dynamic.middle, dynamic.map, QUANT_MAP);
  mean_of<<<1, WARP, 0, call->stream>>>(mean, absmax, blocks);
  encode_scales<<<(unsigned)divide_up(blocks, group), THREADS, 0, call->stream>>>((uint8_t *)w[TRAINER_WEIGHT_SCALE].data, (float *)w[TRAINER_WEIGHT_SCALE_SCALE].data,
                                                                                 (float *)w[TRAINER_WEIGHT_CODE].data, absmax, mean, blocks, group, dynamic);
}

static int32_t quantise_run(const struct call *call, char *text, uint64_t bytes) {
  const trainer_quant_format *f = format_of(call);
  const struct view *w = call->out, *src = &call->in[0];
  if (is_dense(f)) return cast(call, &w[0], src, text, bytes);
  int64_t blocks = divide_up(src->count, f->group);
  if (blocks == 0) return TRAINER_OK;
  float *absmax = (float *)(f->nested_group ? call->workspace : w[TRAINER_WEIGHT_SCALE].data);
  struct middles middles;
  quant_middles(middles.nf4, quant_nf4, 16);
  unsigned grid = (unsigned)divide_up(blocks, THREADS / WARP);
  WITH_FLOAT(T, src->dtype, encode_blocks<T><<<grid, THREADS, 0, call->stream>>>((uint8_t *)w[TRAINER_WEIGHT_DATA].data, absmax, (const T *)src->data, src->count,
                                                                                f->group, blocks, middles));
  if (f->nested_group) quantise_scales(call, absmax, blocks);
  return launched(text, bytes);
}

static int32_t dequantise_check(const struct call *call, char *text, uint64_t bytes) {
  if (call->n_out != 1 || call->n_in != TRAINER_WEIGHT_OPERANDS)
    return refuse(text, bytes, TRAINER_INVALID, "dequantise needs dst and a weight of eight inputs");
  return check(call, call->in, call->out, text, bytes);
}

static int32_t dequantise_run(const struct call *call, char *text, uint64_t bytes) {
  if (is_dense(format_of(call))) return cast(call, &call->out[0], &call->in[0], text, bytes);
  struct matrix dst = matrix_of(&call->out[0]);
  dst.row = dst.cols; /* contiguous, whatever a view of one row says */
  dequantise(dst, call->in, format_of(call), call->stream);
  return launched(text, bytes);
}

const struct kernel kernel_quantise = {TRAINER_OP_QUANTISE, "quantise", quantise_check, NULL, NULL, quantise_workspace, quantise_run, level};
const struct kernel kernel_dequantise = {TRAINER_OP_DEQUANTISE, "dequantise", dequantise_check, NULL, NULL, NULL, dequantise_run, level};
