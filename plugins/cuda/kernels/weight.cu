/* weight.cu - see weight.cuh. */
#include "weight.cuh"

uint32_t weight_level(const trainer_op_query *query, const struct gpu *gpu) {
  if (!asks_product(query)) return TRAINER_LEVEL_NONE;
  return gpu->blas ? TRAINER_LEVEL_FAST : TRAINER_LEVEL_OK;
}

/* ---- quantised weights made dense ---- */

#define THREADS 128
#define UNITS 4 /* of eight elements, a thread: each access of a warp is one unbroken line */

/* The codes of eight elements; BITS 0 is any other width. */
template <int BITS> struct unit_word { typedef uint64_t type; };
template <> struct unit_word<4> { typedef uint32_t type; };

template <int BITS> static __device__ __forceinline__ typename unit_word<BITS>::type load_unit(const struct quant *w, int64_t unit) {
  if constexpr (BITS == 4) return __ldg((const uint32_t *)w->data + unit);
  else if constexpr (BITS == 8) return __ldg((const unsigned long long *)w->data + unit);
  else return bits_load(w->data + unit * w->format.bits, (int)w->format.bits, w->format.bits, 1);
}

/* The number of element j of a unit. A table's sixteen entries lie in sixteen banks, so
 * lookups of a warp never collide. */
template <int BITS, uint32_t FORMAT>
static __device__ __forceinline__ float number_of(typename unit_word<BITS>::type word, int j, const struct quant *w, const float *table) {
  if constexpr (FORMAT == TRAINER_FORMAT_NF4) return table[word >> (j / 2 * 8 + (j % 2 ? 0 : 4)) & 15u];
  uint32_t bits = BITS ? BITS : w->format.bits, code = (uint32_t)(word >> j * bits) & ((1u << bits) - 1);
  return FORMAT == TRAINER_FORMAT_INT8 ? (float)(int8_t)code : (float)code;
}

/* Stores eight values, value(j) each. */
template <typename T, typename F> static __device__ __forceinline__ void store_eight(T *dst, F value) {
  constexpr int n = 16 / sizeof(T);
#pragma unroll
  for (int i = 0; i < 8; i += n) {
    vec<T, n> part;
#pragma unroll
    for (int j = 0; j < n; j++) part.v[j] = from_f32<T>(value(i + j));
    store_vec<T, n>(dst + i, part);
  }
}

/* Groups of consecutive elements. A row is blockIdx.x; `units` of eight elements a row.
 * FORMAT NF4 is FP4 too. */
template <typename T, int BITS, uint32_t FORMAT>
static __global__ void __launch_bounds__(THREADS) dequantise_groups(T *dst, int64_t pitch, const __grid_constant__ struct quant w, uint32_t units, uint32_t group_units) {
  __shared__ float table[16];
  uint32_t first = blockIdx.y * (THREADS * UNITS) + threadIdx.x;
  typename unit_word<BITS>::type codes[UNITS];
  int64_t base = (int64_t)blockIdx.x * units;
  float scale[UNITS], zero[UNITS];
#pragma unroll
  for (int i = 0; i < UNITS; i++) {
    uint32_t unit = first + i * THREADS;
    if (unit >= units) continue;
    int64_t g = quant_divide(base + unit, group_units);
    codes[i] = load_unit<BITS>(&w, base + unit);
    scale[i] = quant_scale(&w, g);
    zero[i] = quant_has_zero(FORMAT) ? quant_zero(&w, g) : 0.0f;
  }
  if constexpr (FORMAT == TRAINER_FORMAT_NF4) {
    if (threadIdx.x < 16) table[threadIdx.x] = w.number[threadIdx.x];
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < UNITS; i++) {
    uint32_t unit = first + i * THREADS;
    if (unit >= units) continue;
    store_eight<T>(dst + blockIdx.x * pitch + (int64_t)unit * 8,
                   [&](int j) { return quant_join(FORMAT, number_of<BITS, FORMAT>(codes[i], j, &w, table), scale[i], zero[i]); });
  }
}

/* Interleaved groups: each element of a unit is of the next group. */
template <typename T, int BITS>
static __global__ void __launch_bounds__(THREADS) dequantise_across(T *dst, int64_t pitch, const __grid_constant__ struct quant w, uint32_t units) {
  uint32_t unit = blockIdx.y * THREADS + threadIdx.x;
  if (unit >= units) return;
  int64_t at = (int64_t)blockIdx.x * units + unit, g = quant_modulo(at * 8, w.groups);
  typename unit_word<BITS>::type codes = load_unit<BITS>(&w, at);
  store_eight<T>(dst + blockIdx.x * pitch + (int64_t)unit * 8, [&](int j) {
    float x = quant_join(TRAINER_FORMAT_AFFINE, number_of<BITS, TRAINER_FORMAT_AFFINE>(codes, j, &w, nullptr), quant_scale(&w, g), quant_zero(&w, g));
    g = g + 1 < w.groups ? g + 1 : 0;
    return x;
  });
}

/* Any group, any number of columns: one element a thread. */
template <typename T>
static __global__ void __launch_bounds__(THREADS) dequantise_one(T *dst, int64_t pitch, const __grid_constant__ struct quant w, int64_t cols) {
  for (int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x; at < w.n; at += (int64_t)gridDim.x * THREADS)
    dst[at / cols * pitch + at % cols] = from_f32<T>(quant_value(&w, at));
}

template <typename T, int BITS, uint32_t FORMAT> static void launch_groups(struct matrix dst, const struct quant *w, cudaStream_t stream) {
  uint32_t units = (uint32_t)(dst.cols / 8);
  dim3 grid((unsigned)dst.rows, (unsigned)divide_up(units, THREADS * UNITS));
  dequantise_groups<T, BITS, FORMAT><<<grid, THREADS, 0, stream>>>((T *)dst.data, dst.row, *w, units, w->format.group / 8);
}

template <typename T, int BITS> static void launch_across(struct matrix dst, const struct quant *w, cudaStream_t stream) {
  uint32_t units = (uint32_t)(dst.cols / 8);
  dim3 grid((unsigned)dst.rows, (unsigned)divide_up(units, THREADS));
  dequantise_across<T, BITS><<<grid, THREADS, 0, stream>>>((T *)dst.data, dst.row, *w, units);
}

/* Formats of codes at even steps, with codes of 4, 8 or BITS 0 any other number of bits. */
template <typename T, int BITS> static void launch_even(struct matrix dst, const struct quant *w, cudaStream_t stream) {
  if (w->format.interleaved) launch_across<T, BITS>(dst, w, stream);
  else if (w->format.format == TRAINER_FORMAT_AFFINE) launch_groups<T, BITS, TRAINER_FORMAT_AFFINE>(dst, w, stream);
  else launch_groups<T, BITS, TRAINER_FORMAT_BIASED>(dst, w, stream);
}

/* Rows are whole units that can be stored at once, and codes can be loaded so. */
template <typename T> static int has_units(struct matrix dst, const struct quant *w) {
  int whole = dst.cols % 8 == 0 && (w->format.interleaved || w->format.group % 8 == 0);
  return whole && dst.row * (int64_t)sizeof(T) % 16 == 0 && (uintptr_t)dst.data % 16 == 0 && (uintptr_t)w->data % 8 == 0;
}

template <typename T> static void launch(struct matrix dst, const struct quant *w, cudaStream_t stream) {
  if (!has_units<T>(dst, w)) {
    int64_t blocks = divide_up(w->n, THREADS);
    dequantise_one<T><<<(unsigned)(blocks < INT32_MAX ? blocks : INT32_MAX), THREADS, 0, stream>>>((T *)dst.data, dst.row, *w, dst.cols);
  } else if (quant_is_tabled(w->format.format)) launch_groups<T, 4, TRAINER_FORMAT_NF4>(dst, w, stream);
  else if (w->format.format == TRAINER_FORMAT_INT8) launch_groups<T, 8, TRAINER_FORMAT_INT8>(dst, w, stream);
  else if (w->format.bits == 4) launch_even<T, 4>(dst, w, stream);
  else if (w->format.bits == 8) launch_even<T, 8>(dst, w, stream);
  else launch_even<T, 0>(dst, w, stream);
}

void dequantise(struct matrix dst, const struct view *view, const trainer_quant_format *format, cudaStream_t stream) {
  struct quant w = quant_of(view, format, dst.rows * dst.cols);
  if (w.n == 0) return;
  WITH_FLOAT(T, dst.dtype, launch<T>(dst, &w, stream));
}
