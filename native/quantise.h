/* quantise.h - how numbers become codes in each format of quant.h, as trainer_backend.h says
 * at TRAINER_OP_QUANTISE: the formulas of one group and of one element. C and CUDA. */
#ifndef TRAINER_NATIVE_QUANTISE_H
#define TRAINER_NATIVE_QUANTISE_H

#include <math.h>

#include "quant.h"

#define QUANT_ROUNDS 20

/* ---- NF4, FP4: the nearest number of a table ---- */

/* Where each of 16 codes begins: code[i] takes what lies above middle[i - 1] up to
 * middle[i]. */
struct quant_book {
  float middle[15];
  uint8_t code[16];
};

/* Writes middle[i] = the middle of values i and i + 1 of n ascending ones. */
static inline void quant_middles(float *middle, const float *values, int n) {
  for (int i = 0; i + 1 < n; i++) middle[i] = (values[i] + values[i + 1]) / 2.0f;
}

static inline struct quant_book quant_book_of(uint32_t format) {
  static const uint8_t fp4[16] = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};
  struct quant_book book;
  float values[16];
  for (int i = 0; i < 16; i++) {
    book.code[i] = format == TRAINER_FORMAT_FP4 ? fp4[i] : (uint8_t)i;
    values[i] = (format == TRAINER_FORMAT_FP4 ? quant_fp4 : quant_nf4)[book.code[i]];
  }
  quant_middles(book.middle, values, 16);
  return book;
}

/* The factor of a block's numbers: 1 / absmax, or 1 of a block of zeros. */
NATIVE_INLINE float quant_block_factor(float absmax) { return absmax == 0.0f ? 1.0f : quant_div(1.0f, absmax); }

/* The place in a book of x times its block's factor; a tie takes the lower one, NaN 0. */
NATIVE_INLINE uint32_t quant_place(float x, const float middle[15]) {
  uint32_t place = 0;
#ifdef __CUDACC__
#pragma unroll
#else
#pragma GCC unroll 15 /* so that a loop over elements vectorises */
#endif
  for (int i = 0; i < 15; i++) place += x > middle[i];
  return place;
}

/* ---- the signed 8-bit dynamic map (Dettmers 2015; Dettmers et al. 2022) ---- */

/* n points from 0.1 to 1, built from both ends with one rounding each. */
static inline float quant_map_point(int i, int n) {
  float step = (1.0f - 0.1f) / (float)(n - 1);
  if (i < n / 2) return (float)((double)step * i + (double)0.1f);
  return (float)(1.0 - (double)step * (n - i - 1));
}

/* bitsandbytes' create_dynamic_map(signed=True, total_bits=8), ascending. */
static inline void quant_map(float map[QUANT_MAP]) {
  int at = 0;
  for (int decade = 0; decade < 7; decade++) {
    float scale = (float)pow(10.0, decade - 6);
    int items = 1 << decade;
    for (int i = 0; i < items; i++) {
      float value = scale * ((quant_map_point(i, items + 1) + quant_map_point(i + 1, items + 1)) / 2.0f);
      /* Values rise with decade and i: negatives fill from the front backwards. */
      map[128 + at] = value;
      map[126 - at] = -value;
      at++;
    }
  }
  map[127] = 0.0f;
  map[255] = 1.0f;
}

/* The code of x in [-1, 1]: put on the grid of 65,536 even steps on which bitsandbytes looks
 * codes up, then the nearest of an ascending map; a tie takes the lower one. */
NATIVE_INLINE uint8_t quant_map_code(float x, const float middle[QUANT_MAP - 1]) {
  float step = floorf(quant_add(quant_mul(quant_add(x, 1.0f), 32767.5f), 0.5f));
  x = quant_sub(quant_mul(step, 2.0f / 65535.0f), 1.0f);
  int low = 0, high = QUANT_MAP - 1; /* the first i with x <= middle[i] */
  while (low < high) {
    int at = (low + high) / 2;
    if (x > middle[at]) low = at + 1;
    else high = at;
  }
  return (uint8_t)low;
}

/* ---- AFFINE, BIASED, INT8: codes at even steps ---- */

/* How a group's numbers become codes. AFFINE: x * by + zero; BIASED: (x - zero) / by; INT8:
 * x * by; rounded, and kept within the codes. */
struct quant_spread {
  float by, zero;
};

/* The larger of magnitudes and the ends of a range; NaN wins. */
NATIVE_INLINE float quant_larger(float a, float b) { return b > a || b != b ? b : a; }
NATIVE_INLINE float quant_smaller(float a, float b) { return b < a || b != b ? b : a; }

NATIVE_INLINE float quant_top(uint32_t bits) { return (float)((1u << bits) - 1); }

NATIVE_INLINE struct quant_spread quant_affine(float low, float high, uint32_t bits) {
  struct quant_spread s;
  float span = quant_sub(high, low);
  s.by = quant_mul(quant_div(1.0f, span), quant_top(bits));
  if (s.by > 2e4f) s.by = 2e4f;
  if (span <= 1e-4f) s.by = 1.0f;
  s.zero = quant_mul(-low, s.by);
  if (bits == 4) s.zero = rintf(s.zero);
  return s;
}

NATIVE_INLINE struct quant_spread quant_biased(float low, float high, uint32_t bits) {
  struct quant_spread s;
  int from_low = fabsf(low) > fabsf(high);
  float edge = from_low ? low : high, step = quant_larger(1e-7f, quant_div(quant_sub(high, low), quant_top(bits)));
  s.by = from_low ? step : -step;
  s.zero = 0.0f;
  float q = rintf(quant_div(edge, s.by));
  if (q != 0.0f) {
    s.by = quant_div(edge, q);
    s.zero = edge;
  }
  return s;
}

NATIVE_INLINE struct quant_spread quant_int8(float absmax) {
  struct quant_spread s;
  s.by = quant_div(127.0f, absmax);
  if (!(s.by <= 3.40282347e+38f)) s.by = 0.0f;
  s.zero = 0.0f;
  return s;
}

/* Rounded between 0 and top; NaN gives 0. */
NATIVE_INLINE float quant_clamp(float x, float top) {
  x = x > 0.0f ? x : 0.0f;
  return rintf(x < top ? x : top);
}

NATIVE_INLINE float quant_affine_code(float x, struct quant_spread s, float top) { return quant_clamp(quant_add(quant_mul(x, s.by), s.zero), top); }

/* The code of x, a whole number; of INT8 with its sign. */
NATIVE_INLINE float quant_spread_code(uint32_t format, float x, struct quant_spread s, float top) {
  if (format == TRAINER_FORMAT_AFFINE) return quant_affine_code(x, s, top);
  if (format == TRAINER_FORMAT_BIASED) return quant_clamp(quant_div(quant_sub(x, s.zero), s.by), top);
  float code = quant_mul(x, s.by);
  return code == code ? rintf(code) : 0.0f;
}

/* ---- HQQ's rounds (Badri & Shaji 2023) ---- */

#define QUANT_SHRINKS_ABOVE 0.17f /* up to here |d| - 0.1 |d|^-0.3 is negative */

/* sign(d) * max(|d| - 0.1 * |d|^-0.3, 0) */
NATIVE_INLINE float quant_shrunk(float d) {
  float size = fabsf(d);
  if (size <= QUANT_SHRINKS_ABOVE) return 0.0f;
  float less = quant_sub(size, quant_mul(0.1f, (float)pow((double)size, -0.3)));
  return less > 0.0f ? copysignf(less, d) : 0.0f;
}

/* What one element adds to the sums of a round: to the error, and to the next zero. */
NATIVE_INLINE float quant_off(float x, float code, struct quant_spread s) { return quant_sub(x, quant_div(quant_sub(code, s.zero), s.by)); }
NATIVE_INLINE float quant_moved(float x, float code, float shrunk, struct quant_spread s) { return quant_sub(code, quant_mul(quant_sub(x, shrunk), s.by)); }

#endif
