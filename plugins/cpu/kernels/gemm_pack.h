/* gemm_pack.h - reads any stored matrix as f32 and lays it out in panels. Compiled for
 * each instruction set. */
#ifndef TRAINER_CPU_GEMM_PACK_H
#define TRAINER_CPU_GEMM_PACK_H

#include "gemm.h"
#include "gemm_vec.h"
#include "weight_rows.h"

#define PACK_K 64     /* numbers of k turned at a time */
#define PACK_WIDTH 64 /* the widest panel */

static inline void dense_line(float *restrict dst, const struct gemm_source *s, int64_t at, int64_t n) {
  if (s->step != 1) {
    uint32_t size = dtype_bytes(s->dtype);
    for (int64_t i = 0; i < n; i++) load_f32(dst + i, (const char *)s->data + (at + i * s->step) * size, s->dtype, 1);
  } else if (s->dtype == TRAINER_F32) {
    memcpy(dst, (const float *)s->data + at, (size_t)n * sizeof *dst);
  } else if (s->dtype == TRAINER_BF16) {
    const uint16_t *restrict src = (const uint16_t *)s->data + at;
    for (int64_t i = 0; i < n; i++) dst[i] = bf16_to_f32(src[i]);
  } else {
    const uint16_t *restrict src = (const uint16_t *)s->data + at;
    for (int64_t i = 0; i < n; i++) dst[i] = f16_to_f32(src[i]);
  }
}

/* dst[i] *= bit at + i ? keep_scale : 0; bits: bytes `step` apart, lowest bit first. */
static inline void drop_numbers(float *dst, const uint8_t *bits, int64_t step, int64_t at, int64_t n, float keep_scale) {
  for (const float *end = dst + n; dst < end;) {
    uint8_t byte = bits[at / 8 * step];
    if (at % 8 == 0 && end - dst >= 8) {
      vec_drop(dst, byte, keep_scale);
      dst += 8;
      at += 8;
    } else {
      *dst++ *= byte >> (at % 8) & 1 ? keep_scale : 0.0f;
      at++;
    }
  }
}

static inline void round_line(float *dst, uint32_t compute, int64_t n) {
  if (compute == TRAINER_BF16)
    for (int64_t i = 0; i < n; i++) dst[i] = bf16_to_f32(bf16_from_f32(dst[i]));
  else if (compute == TRAINER_F16)
    for (int64_t i = 0; i < n; i++) dst[i] = f16_to_f32(f16_from_f32(dst[i]));
}

/* Whether numbers of a source are stored just as they are multiplied. */
static inline int source_is_plain(const struct gemm_source *s, uint32_t compute) {
  int rounded = compute == TRAINER_F32 || compute == 0;
  return s->dtype == TRAINER_F32 && s->step == 1 && !s->mask && s->factor == 1.0f && rounded;
}

/* dst[0 .. n) = numbers [at, at + n) of a line. */
static inline void read_line(float *dst, const struct gemm_source *s, uint32_t compute, int64_t line, int64_t at, int64_t n) {
  int64_t stored = s->index ? s->index[line] : line;
  int64_t from = stored * s->line + at * s->step;
  if (s->dtype == TRAINER_U8) weight_row(dst, &s->quant, from, n);
  else dense_line(dst, s, from, n);
  if (s->mask) drop_numbers(dst, s->mask + stored * s->mask_line, s->mask_step, at, n, s->keep_scale);
  if (s->dtype != compute || s->mask) round_line(dst, compute, n);
  if (s->factor != 1.0f)
    for (int64_t i = 0; i < n; i++) dst[i] *= s->factor;
}

/* Asks the cache for n numbers of a line that is read soon: such lines lie too far apart
 * for the processor to foresee. */
static inline void expect_line(const struct gemm_source *s, int64_t line, int64_t at, int64_t n) {
  int64_t from = (s->index ? s->index[line] : line) * s->line + at * s->step;
  int64_t bits = s->dtype == TRAINER_U8 ? s->quant.format.bits : 8 * dtype_bytes(s->dtype), bytes = n * bits / 8;
  const char *begin = (const char *)s->data + from * bits / 8;
  for (int64_t i = 0; s->step == 1 && i < bytes; i += 64) __builtin_prefetch(begin + i);
}

/* Numbers [at, at + n) of a line: where they are stored if they are usable there, else
 * read into room. */
static inline const float *line_of(float *room, const struct gemm_source *s, uint32_t compute, int64_t line, int64_t at, int64_t n) {
  if (source_is_plain(s, compute)) return (const float *)s->data + (s->index ? s->index[line] : line) * s->line + at;
  read_line(room, s, compute, line, at, n);
  return room;
}

/* Points at[r] at numbers [k, k + n) of row first + r, read into lines where they are not
 * stored as they are; rows from `rows` on are zeros. */
static inline void point_rows(const float **at, float (*lines)[PACK_K], int64_t width, const struct gemm_source *s, uint32_t compute,
                              int64_t first, int64_t rows, int64_t k, int64_t n) {
  static const float zeros[PACK_K];
  for (int64_t r = 0; r < width; r++) at[r] = r < rows ? line_of(lines[r], s, compute, first + r, k, n) : zeros;
}

/* dst[j * width + r] = at[r][j] for r < width, j < n <= PACK_K. Moves the entries of at,
 * of which there are width rounded up to LANES. */
static inline void turn_rows(float *dst, const float **at, int64_t width, int64_t n) {
  int64_t j = 0, padded = (width + LANES - 1) / LANES * LANES;
  for (int64_t r = width; r < padded; r++) at[r] = at[0]; /* readable; never stored */
  for (; j + LANES <= n; j += LANES) {
    for (int64_t r = 0; r < width; r += LANES)
      vec_transpose(dst + j * width + r, width, at + r, width - r < LANES ? width - r : LANES);
    for (int64_t r = 0; r < padded; r++) at[r] += LANES;
  }
  for (int64_t i = 0; i < n - j; i++)
    for (int64_t r = 0; r < width; r++) dst[(j + i) * width + r] = at[r][i];
}

/* Packs a panel of a source whose lines are rows: dst[k * width + r] = number k0 + k of
 * row first + r; rows from `rows` up to width <= PACK_WIDTH are zero. */
static inline void pack_rows(float *dst, int64_t width, const struct gemm_source *s, uint32_t compute, int64_t first, int64_t rows, int64_t k0, int64_t kb) {
  float lines[PACK_WIDTH][PACK_K];
  const float *at[PACK_WIDTH + LANES];
  for (int64_t k = 0; k < kb; k += PACK_K) {
    int64_t n = kb - k < PACK_K ? kb - k : PACK_K;
    point_rows(at, lines, width, s, compute, first, rows, k0 + k, n);
    turn_rows(dst + k * width, at, width, n);
  }
}

#endif
