/* gemm_vec.h - one vector of f32 for the instruction set a file is compiled for. The
 * portable variant multiplies and adds; all others have a fused multiply-add. */
#ifndef TRAINER_CPU_GEMM_VEC_H
#define TRAINER_CPU_GEMM_VEC_H

#include <stdint.h>
#include <string.h>

#include "../../../native/half.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define MICRO_ROWS 14
#define MICRO_VECS 2
typedef __m512 vec;
#define vec_load(p) _mm512_loadu_ps(p)
#define vec_store(p, v) _mm512_storeu_ps(p, v)
#define vec_set(x) _mm512_set1_ps(x)
#define vec_zero() _mm512_setzero_ps()
#define vec_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define LANES 8
#define MICRO_ROWS 6
#define MICRO_VECS 2
typedef __m256 vec;
#define vec_load(p) _mm256_loadu_ps(p)
#define vec_store(p, v) _mm256_storeu_ps(p, v)
#define vec_set(x) _mm256_set1_ps(x)
#define vec_zero() _mm256_setzero_ps()
#define vec_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#define LANES 4
#define MICRO_ROWS 8
#define MICRO_VECS 3
typedef float32x4_t vec;
#define vec_load(p) vld1q_f32(p)
#define vec_store(p, v) vst1q_f32(p, v)
#define vec_set(x) vdupq_n_f32(x)
#define vec_zero() vdupq_n_f32(0.0f)
#define vec_fma(a, b, c) vfmaq_f32(c, a, b)
#else
#if defined(__x86_64__)
#include <emmintrin.h>
#endif
#define LANES 4
#define MICRO_ROWS 4
#define MICRO_VECS 2
typedef float vec __attribute__((vector_size(16)));
static inline vec vec_load(const float *p) {
  vec v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline void vec_store(float *p, vec v) { memcpy(p, &v, sizeof v); }
#define vec_set(x) ((vec){(x), (x), (x), (x)})
#define vec_zero() ((vec){0})
#define vec_fma(a, b, c) ((a) * (b) + (c))
#endif

#define MICRO_COLS (MICRO_VECS * LANES)

/* dst[j * stride + i] = rows[i][j] for LANES j and the first n <= LANES i; every rows[i]
 * is readable. */
#if defined(__AVX512F__)
static inline void vec_transpose(float *dst, int64_t stride, const float *const rows[LANES], int64_t n) {
  __m512 r[16], t[16];
  __mmask16 keep = (__mmask16)((1u << n) - 1);
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_ps(rows[i]);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xEE);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  /* r[4a + b], 128-bit lane c: rows 4a .. 4a+3 of column 4c + b. */
#pragma GCC unroll 4
  for (int b = 0; b < 4; b++) {
    __m512 low = _mm512_shuffle_f32x4(r[b], r[4 + b], 0x88), high = _mm512_shuffle_f32x4(r[b], r[4 + b], 0xDD);
    __m512 low2 = _mm512_shuffle_f32x4(r[8 + b], r[12 + b], 0x88), high2 = _mm512_shuffle_f32x4(r[8 + b], r[12 + b], 0xDD);
    _mm512_mask_storeu_ps(dst + b * stride, keep, _mm512_shuffle_f32x4(low, low2, 0x88));
    _mm512_mask_storeu_ps(dst + (b + 4) * stride, keep, _mm512_shuffle_f32x4(high, high2, 0x88));
    _mm512_mask_storeu_ps(dst + (b + 8) * stride, keep, _mm512_shuffle_f32x4(low, low2, 0xDD));
    _mm512_mask_storeu_ps(dst + (b + 12) * stride, keep, _mm512_shuffle_f32x4(high, high2, 0xDD));
  }
}
#elif defined(__AVX2__) && defined(__FMA__)
/* The first n numbers, 8 or MICRO_ROWS. Masked stores are microcoded on some processors. */
static inline void vec_store_first(float *to, __m256 v, int64_t n) {
  if (n == 8) {
    _mm256_storeu_ps(to, v);
    return;
  }
  _mm_storeu_ps(to, _mm256_castps256_ps128(v));
  _mm_storel_pi((__m64 *)(void *)(to + 4), _mm256_extractf128_ps(v, 1));
}

static inline void vec_transpose(float *dst, int64_t stride, const float *const rows[LANES], int64_t n) {
  _Static_assert(MICRO_ROWS == 6, "vec_store_first stores 8 or 6");
  __m256 r[8], t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(rows[i]);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int b = 0; b < 4; b++) {
    vec_store_first(dst + b * stride, _mm256_permute2f128_ps(r[b], r[4 + b], 0x20), n);
    vec_store_first(dst + (b + 4) * stride, _mm256_permute2f128_ps(r[b], r[4 + b], 0x31), n);
  }
}
#else
static inline void vec_transpose(float *dst, int64_t stride, const float *const rows[LANES], int64_t n) {
  for (int64_t j = 0; j < LANES; j++)
    for (int64_t i = 0; i < n; i++) dst[j * stride + i] = rows[i][j];
}
#endif

/* The 16 nibbles of 8 bytes, of each byte the high one first or the low one. */
typedef uint8_t u8x16 __attribute__((vector_size(16)));
static inline u8x16 vec_nibbles(const uint8_t *codes, int high_first) {
#if defined(__x86_64__)
  __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)codes), mask = _mm_set1_epi8(15);
  __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask), low = _mm_and_si128(bytes, mask);
  return (u8x16)(high_first ? _mm_unpacklo_epi8(high, low) : _mm_unpacklo_epi8(low, high));
#else
  u8x16 nibbles = {0};
  for (int i = 0; i < 8; i++) {
    nibbles[2 * i] = high_first ? codes[i] >> 4 : codes[i] & 15;
    nibbles[2 * i + 1] = high_first ? codes[i] & 15 : codes[i] >> 4;
  }
  return nibbles;
#endif
}

/* dst[i] = table[codes[i]], or codes[i] itself without a table. */
static inline void vec_numbers(float *dst, u8x16 codes, const float *table) {
#if defined(__AVX512F__)
  __m512i index = _mm512_cvtepu8_epi32((__m128i)codes);
  _mm512_storeu_ps(dst, table ? _mm512_permutexvar_ps(index, _mm512_loadu_ps(table)) : _mm512_cvtepi32_ps(index));
#elif defined(__AVX2__) && defined(__FMA__)
  for (int half = 0; half < 2; half++) {
    __m256i index = _mm256_cvtepu8_epi32(half ? _mm_srli_si128((__m128i)codes, 8) : (__m128i)codes);
    __m256 value = _mm256_cvtepi32_ps(index);
    if (table) {
      __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)); /* bit 3 chooses */
      value = _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index), _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index), upper);
    }
    _mm256_storeu_ps(dst + 8 * half, value);
  }
#else
  for (int i = 0; i < 16; i++) dst[i] = table ? table[codes[i]] : (float)codes[i];
#endif
}

/* dst[i] *= bit i of byte ? keep : 0, for eight numbers. */
static inline void vec_drop(float *dst, uint8_t byte, float keep) {
#if defined(__AVX512VL__)
  __m256 factor = _mm256_maskz_mov_ps((__mmask8)byte, _mm256_set1_ps(keep));
  _mm256_storeu_ps(dst, _mm256_mul_ps(_mm256_loadu_ps(dst), factor));
#elif defined(__AVX2__)
  __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  __m256i kept = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(byte), bits), bits);
  __m256 factor = _mm256_and_ps(_mm256_castsi256_ps(kept), _mm256_set1_ps(keep));
  _mm256_storeu_ps(dst, _mm256_mul_ps(_mm256_loadu_ps(dst), factor));
#else
  for (int i = 0; i < 8; i++) dst[i] *= byte >> i & 1 ? keep : 0.0f;
#endif
}

#endif
