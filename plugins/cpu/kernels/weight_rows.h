/* weight_rows.h - reads elements of a quantised weight as f32, in any format. Compiled for
 * each instruction set; all give the same bits. */
#ifndef TRAINER_CPU_WEIGHT_ROWS_H
#define TRAINER_CPU_WEIGHT_ROWS_H

#include "../../../native/quant.h"
#include "gemm_vec.h"

#define WEIGHT_RUN 64 /* elements whose scales and zeros are looked up at a time */

static inline void numbers_of_nibbles(float *dst, const struct quant *q, int64_t at, int64_t n) {
  const float *table = quant_is_tabled(q->format.format) ? q->number : NULL;
  int64_t i = 0;
  if (n > 0 && at % 2) dst[i++] = quant_number(q, quant_code(q, at));
  for (; i + 16 <= n; i += 16) vec_numbers(dst + i, vec_nibbles(q->data + (at + i) / 2, q->format.code_layout == 0), table);
  for (; i < n; i++) dst[i] = quant_number(q, quant_code(q, at + i));
}

static inline void numbers_of_bytes(float *dst, const struct quant *q, int64_t at, int64_t n) {
  const uint8_t *codes = q->data + at;
  const int8_t *signed_codes = (const int8_t *)codes;
  if (q->format.format == TRAINER_FORMAT_INT8)
    for (int64_t i = 0; i < n; i++) dst[i] = (float)signed_codes[i];
  else
    for (int64_t i = 0; i < n; i++) dst[i] = (float)codes[i];
}

/* Any width: eight codes are a word of as many bytes as a code has bits. */
static inline void numbers_of_words(float *dst, const struct quant *q, int64_t at, int64_t n) {
  uint32_t bits = q->format.bits, mask = (1u << bits) - 1;
  int64_t i = 0;
  for (; i < n && (at + i) % 8; i++) dst[i] = (float)quant_code(q, at + i);
  for (; i + 8 <= n; i += 8) {
    uint64_t word = bits_load(q->data + (at + i) / 8 * bits, (int)bits, bits, 1);
    for (uint32_t j = 0; j < 8; j++) dst[i + j] = (float)(int32_t)(uint32_t)(word >> j * bits & mask);
  }
  for (; i < n; i++) dst[i] = (float)quant_code(q, at + i);
}

/* The numbers of n codes from element `at`, before scale and zero. */
static inline void weight_numbers(float *dst, const struct quant *q, int64_t at, int64_t n) {
  if (q->format.bits == 4) numbers_of_nibbles(dst, q, at, n);
  else if (q->format.bits == 8) numbers_of_bytes(dst, q, at, n);
  else numbers_of_words(dst, q, at, n);
}

/* x[i] joined with one scale and zero, or with one of each where `each` is 1. */
static inline __attribute__((always_inline)) void join_numbers(float *restrict x, uint32_t format, const float *restrict scale, const float *restrict zero,
                                                               const int each, int64_t n) {
  if (format == TRAINER_FORMAT_AFFINE)
    for (int64_t i = 0; i < n; i++) x[i] = (x[i] - zero[i * each]) * scale[i * each];
  else if (format == TRAINER_FORMAT_BIASED)
    for (int64_t i = 0; i < n; i++) x[i] = x[i] * scale[i * each] + zero[i * each];
  else
    for (int64_t i = 0; i < n; i++) x[i] = x[i] * scale[i * each];
}

/* Elements of one group after the other. */
static inline void row_of_groups(float *dst, const struct quant *q, int64_t at, int64_t n) {
  for (int64_t run; n > 0; dst += run, at += run, n -= run) {
    int64_t g = at / q->format.group, left = (g + 1) * q->format.group - at;
    float scale = quant_scale(q, g), zero = quant_zero(q, g);
    run = n < left ? n : left;
    weight_numbers(dst, q, at, run);
    join_numbers(dst, q->format.format, &scale, &zero, 0, run);
  }
}

/* Each element is of the next group, from the last on of the first again. */
static inline void row_across_groups(float *dst, const struct quant *q, int64_t at, int64_t n) {
  float scales[WEIGHT_RUN], zeros[WEIGHT_RUN];
  for (int64_t run; n > 0; dst += run, at += run, n -= run) {
    int64_t g = at % q->groups;
    run = n < q->groups - g ? n : q->groups - g;
    if (run > WEIGHT_RUN) run = WEIGHT_RUN;
    const float *scale = scales, *zero = zeros;
    if (q->format.nested_group)
      for (int64_t i = 0; i < run; i++) {
        scales[i] = quant_scale(q, g + i);
        zeros[i] = quant_zero(q, g + i);
      }
    else {
      scale = (const float *)q->scale + g;
      zero = (const float *)q->zero + g;
    }
    weight_numbers(dst, q, at, run);
    join_numbers(dst, q->format.format, scale, zero, 1, run);
  }
}

/* dst[0 .. n) = elements [at, at + n) of the flattened weight. */
static inline void weight_row(float *dst, const struct quant *q, int64_t at, int64_t n) {
  if (q->format.interleaved) row_across_groups(dst, q, at, n);
  else row_of_groups(dst, q, at, n);
}

#endif
