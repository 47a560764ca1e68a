/* weight.cu - see weight.cuh. */
#include "weight.cuh"

#include <string.h>

#include "../../../native/quant.h"

/* ---- checks ---- */

static int is_float_dtype(uint32_t dtype) { return dtype == TRAINER_F32 || dtype == TRAINER_BF16 || dtype == TRAINER_F16; }

int is_matrix(const struct view *view, int64_t rows, int64_t cols) {
  if (rows > INT32_MAX || cols > INT32_MAX) return 0;
  return is_float(view) && view->rank == 2 && view->shape[0] == rows && view->shape[1] == cols;
}

int is_float_vector(const struct view *view, int64_t n) { return is_float(view) && view->rank == 1 && view->shape[0] == n; }

int is_mask(const struct view *view, int64_t rows, int64_t cols) {
  if (!view->present) return 1;
  return view->dtype == TRAINER_U8 && view->rank == 2 && view->shape[0] == rows && view->shape[1] == (cols + 7) / 8;
}

/* 1 if the view is present, has at least n elements and they lie back to back. */
static int is_packed(const struct view *view, uint32_t dtype, int64_t n) { return is_dtype(view, dtype) && view->count >= n && is_contiguous(view); }

static int has_format(const trainer_quant_format *f) {
  if (is_dense(f)) return 1;
  if (f->format != TRAINER_FORMAT_NF4 || f->bits != 4 || f->group == 0 || f->code_layout != 0) return 0;
  return f->nested_group ? f->scale_dtype == TRAINER_U8 : f->scale_dtype == TRAINER_F32;
}

static int is_nf4(const struct view *w, const trainer_quant_format *f, int64_t n) {
  int64_t blocks = divide_up(n, f->group);
  if (!is_packed(&w[TRAINER_WEIGHT_DATA], TRAINER_U8, (n + 1) / 2)) return 0;
  if (!f->nested_group) return is_packed(&w[TRAINER_WEIGHT_SCALE], TRAINER_F32, blocks);
  return is_packed(&w[TRAINER_WEIGHT_SCALE], TRAINER_U8, blocks) &&
         is_packed(&w[TRAINER_WEIGHT_SCALE_SCALE], TRAINER_F32, divide_up(blocks, f->nested_group)) &&
         is_packed(&w[TRAINER_WEIGHT_SCALE_ZERO], TRAINER_F32, 1) && is_packed(&w[TRAINER_WEIGHT_CODE], TRAINER_F32, 256);
}

int32_t check_weight(const struct view *w, const trainer_quant_format *format, int64_t out, int64_t in, char *text, uint64_t text_bytes) {
  if (!has_format(format)) return refuse(text, text_bytes, TRAINER_UNSUPPORTED, "products are computed with dense and NF4 weights only");
  if (is_dense(format)) {
    if (is_matrix(&w[TRAINER_WEIGHT_DATA], out, in)) return TRAINER_OK;
    return refuse(text, text_bytes, TRAINER_INVALID, "a dense weight is not a float matrix [out, in]");
  }
  int64_t n;
  if (__builtin_mul_overflow(out, in, &n) || !is_nf4(w, format, n))
    return refuse(text, text_bytes, TRAINER_INVALID, "the operands of an NF4 weight are absent, too small or not contiguous");
  return TRAINER_OK;
}

int32_t check_compute(uint32_t compute, char *text, uint64_t text_bytes) {
  if (compute == 0 || is_float_dtype(compute)) return TRAINER_OK;
  return refuse(text, text_bytes, TRAINER_UNSUPPORTED, "products are computed in f32, bf16 or f16");
}

static int float_or_unasked(uint32_t dtype) { return dtype == 0 || is_float_dtype(dtype); }

uint32_t weight_level(const trainer_op_query *query, const struct gpu *gpu) {
  if (!float_or_unasked(query->dtype) || !float_or_unasked(query->compute)) return TRAINER_LEVEL_NONE;
  if (!has_format(&query->format) || !float_or_unasked(query->weight_dtype)) return TRAINER_LEVEL_NONE;
  return gpu->blas ? TRAINER_LEVEL_FAST : TRAINER_LEVEL_OK;
}

/* ---- NF4 made dense ---- */

/* Where the operands of an NF4 weight lie. */
struct nf4 {
  const uint8_t *codes;
  const void *scales; /* f32, or u8 codes of `map` when nested_group is not 0 */
  const float *map, *scale_scale, *scale_zero;
  uint32_t group, nested_group;
  float value[16]; /* of each code */
};

/* absmax of a block; two roundings, as bitsandbytes has it. */
static __device__ __forceinline__ float absmax_of(const struct nf4 *w, int64_t block) {
  if (!w->nested_group) return __ldg((const float *)w->scales + block);
  float outer = __ldg(w->scale_scale + (block <= UINT32_MAX ? (uint32_t)block / w->nested_group : block / w->nested_group));
  return __fadd_rn(__fmul_rn(__ldg(w->map + __ldg((const uint8_t *)w->scales + block)), outer), __ldg(w->scale_zero));
}

#define THREADS 128
#define UNITS 4 /* of eight elements, a thread: each access of a warp is one unbroken line */

/* Eight codes of one word; the high nibble of the lowest byte comes first. Sixteen
 * entries lie in sixteen banks, so lookups of a warp never collide. */
template <typename T> static __device__ __forceinline__ void decode_eight(T *dst, uint32_t codes, float absmax, const float *table) {
  constexpr int n = 16 / sizeof(T);
#pragma unroll
  for (int i = 0; i < 8; i += n) {
    vec<T, n> part;
#pragma unroll
    for (int j = 0; j < n; j++) {
      int at = i + j, shift = at / 2 * 8 + (at % 2 ? 0 : 4);
      part.v[j] = from_f32<T>(table[codes >> shift & 15u] * absmax);
    }
    store_vec<T, n>(dst + i, part);
  }
}

/* A row is blockIdx.x; `units` of eight elements a row. */
template <typename T>
static __global__ void __launch_bounds__(THREADS) dequantise_wide(T *dst, int64_t pitch, const __grid_constant__ struct nf4 w, uint32_t units, uint32_t group_units) {
  __shared__ float table[16];
  uint32_t first = blockIdx.y * (THREADS * UNITS) + threadIdx.x, codes[UNITS];
  int64_t base = (int64_t)blockIdx.x * units;
  float absmax[UNITS];
#pragma unroll
  for (int i = 0; i < UNITS; i++) {
    uint32_t unit = first + i * THREADS;
    if (unit >= units) continue;
    int64_t at = base + unit;
    codes[i] = __ldg((const uint32_t *)w.codes + at);
    absmax[i] = absmax_of(&w, at <= UINT32_MAX ? (uint32_t)at / group_units : at / group_units);
  }
  if (threadIdx.x < 16) table[threadIdx.x] = w.value[threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < UNITS; i++) {
    uint32_t unit = first + i * THREADS;
    if (unit < units) decode_eight<T>(dst + blockIdx.x * pitch + (int64_t)unit * 8, codes[i], absmax[i], table);
  }
}

/* Any group, any number of columns: one element a thread. */
template <typename T>
static __global__ void __launch_bounds__(THREADS) dequantise_one(T *dst, int64_t pitch, const __grid_constant__ struct nf4 w, int64_t rows, int64_t cols) {
  int64_t n = rows * cols;
  for (int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x; at < n; at += (int64_t)gridDim.x * THREADS) {
    int code = w.codes[at / 2] >> (at % 2 ? 0 : 4) & 15;
    dst[at / cols * pitch + at % cols] = from_f32<T>(w.value[code] * absmax_of(&w, at / w.group));
  }
}

template <typename T> static void launch(struct matrix dst, const struct nf4 *w, cudaStream_t stream) {
  T *data = (T *)dst.data;
  int lines = dst.cols % 8 == 0 && w->group % 8 == 0 && dst.row * (int64_t)sizeof(T) % 16 == 0;
  if (lines && (uintptr_t)data % 16 == 0 && (uintptr_t)w->codes % 4 == 0) {
    uint32_t units = (uint32_t)(dst.cols / 8);
    dim3 grid((unsigned)dst.rows, (unsigned)divide_up(units, THREADS * UNITS));
    dequantise_wide<T><<<grid, THREADS, 0, stream>>>(data, dst.row, *w, units, w->group / 8);
    return;
  }
  int64_t blocks = divide_up(dst.rows * dst.cols, THREADS);
  dequantise_one<T><<<(unsigned)(blocks < INT32_MAX ? blocks : INT32_MAX), THREADS, 0, stream>>>(data, dst.row, *w, dst.rows, dst.cols);
}

void dequantise(struct matrix dst, const struct view *view, const trainer_quant_format *format, cudaStream_t stream) {
  struct nf4 w = {(const uint8_t *)view[TRAINER_WEIGHT_DATA].data,
                  view[TRAINER_WEIGHT_SCALE].data,
                  (const float *)view[TRAINER_WEIGHT_CODE].data,
                  (const float *)view[TRAINER_WEIGHT_SCALE_SCALE].data,
                  (const float *)view[TRAINER_WEIGHT_SCALE_ZERO].data,
                  format->group,
                  format->nested_group,
                  {}};
  memcpy(w.value, quant_nf4, sizeof w.value);
  if (dst.rows == 0 || dst.cols == 0) return;
  WITH_FLOAT(T, dst.dtype, launch<T>(dst, &w, stream));
}
