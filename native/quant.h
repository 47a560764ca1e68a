/* quant.h - the weight formats of the border: which there are, which operands a weight has,
 * and what its elements are. Every operation rounds to f32, as trainer_backend.h says. How
 * numbers become codes stands in quantise.h. C and CUDA. */
#ifndef TRAINER_NATIVE_QUANT_H
#define TRAINER_NATIVE_QUANT_H

#include <stdint.h>
#include <string.h>

#include "../core/abi/trainer_backend.h"
#include "bits.h"
#include "view.h"

#define QUANT_MAP 256 /* entries of the map that nested scales of NF4 and FP4 are codes of */

/* A quantised weight: its format and where its operands lie. */
struct quant {
  trainer_quant_format format;
  int64_t n;      /* elements */
  int64_t groups; /* scales */
  int64_t outer;  /* second-level scales; 0 with one level */
  const uint8_t *data;
  const void *scale, *zero; /* f32 [groups], or u8 where nested */
  const float *scale_scale, *scale_zero, *zero_scale, *zero_zero, *map;
  float number[16]; /* of each code of NF4 and FP4 */
};

/* NF4: quantiles of a normal distribution (Dettmers et al. 2023). FP4: a sign and eight
 * magnitudes in twelfths. Both exactly as bitsandbytes has them. */
static const float quant_nf4[16] = {
    -0x1.000000p+0f, -0x1.647362p-1f, -0x1.0cd660p-1f, -0x1.946540p-2f, -0x1.23449ap-2f, -0x1.7a6a7ep-3f,
    -0x1.74f0e2p-4f, 0x0p+0f,         0x1.45f5fep-4f,  0x1.4995c6p-3f,  0x1.f809bap-3f,  0x1.5a0674p-2f,
    0x1.c34970p-2f,  0x1.200f56p-1f,  0x1.722766p-1f,  0x1.000000p+0f};
static const float quant_fp4[16] = {
    0x0p+0f, 0x1.555556p-8f,  0x1.555556p-1f,  0x1p+0f,  0x1.555556p-2f,  0x1p-1f,  0x1.555556p-3f,  0x1p-2f,
    0x0p+0f, -0x1.555556p-8f, -0x1.555556p-1f, -0x1p+0f, -0x1.555556p-2f, -0x1p-1f, -0x1.555556p-3f, -0x1p-2f};

/* ---- formats and operands ---- */

static inline int quant_is_dense(const trainer_quant_format *f) { return f->format == TRAINER_FORMAT_DENSE; }

/* NF4 and FP4: the numbers of codes stand in a table. */
NATIVE_INLINE int quant_is_tabled(uint32_t format) { return format == TRAINER_FORMAT_NF4 || format == TRAINER_FORMAT_FP4; }

/* AFFINE and BIASED have a zero of each group. */
NATIVE_INLINE int quant_has_zero(uint32_t format) { return format == TRAINER_FORMAT_AFFINE || format == TRAINER_FORMAT_BIASED; }

static inline int quant_has_bits(uint32_t format, uint32_t bits) {
  switch (format) {
  case TRAINER_FORMAT_NF4:
  case TRAINER_FORMAT_FP4: return bits == 4;
  case TRAINER_FORMAT_AFFINE: return (bits >= 1 && bits <= 4) || bits == 8;
  case TRAINER_FORMAT_BIASED: return (bits >= 2 && bits <= 6) || bits == 8;
  case TRAINER_FORMAT_INT8: return bits == 8;
  default: return 0;
  }
}

/* 1 if the border has this format; whether a weight fits it is asked with quant_fits. */
static inline int quant_exists(const trainer_quant_format *f) {
  const trainer_quant_format dense = {0, 0, 0, 0, 0, 0, 0, 0};
  if (quant_is_dense(f)) return memcmp(f, &dense, sizeof dense) == 0;
  int tabled = quant_is_tabled(f->format), affine = f->format == TRAINER_FORMAT_AFFINE;
  uint32_t stored = f->nested_group ? TRAINER_U8 : TRAINER_F32;
  if (!quant_has_bits(f->format, f->bits) || f->group == 0 || f->code_layout != (tabled ? 0u : 1u)) return 0;
  if (f->interleaved > (affine ? 1u : 0u) || (f->nested_group && !tabled && !affine)) return 0;
  return f->scale_dtype == stored && f->zero_dtype == (quant_has_zero(f->format) ? stored : 0u);
}

/* 1 if a weight [out, in] can have a format that exists. */
static inline int quant_fits(const trainer_quant_format *f, int64_t out, int64_t in) {
  int64_t n, bits;
  if (out < 0 || in < 0 || __builtin_mul_overflow(out, in, &n) || __builtin_mul_overflow(n, (int64_t)8, &bits)) return 0;
  if (quant_is_dense(f)) return 1;
  if (quant_is_tabled(f->format)) return f->group % 2 == 0;
  if (f->format == TRAINER_FORMAT_INT8) return f->group == in;
  if (f->group % 8 != 0 || (f->format == TRAINER_FORMAT_BIASED ? in : n) % f->group != 0) return 0;
  return !f->nested_group || n / f->group % f->nested_group == 0;
}

static inline int64_t quant_groups(const trainer_quant_format *f, int64_t n) { return (n + f->group - 1) / f->group; }

static inline int64_t quant_outer(const trainer_quant_format *f, int64_t groups) {
  return f->nested_group ? (groups + f->nested_group - 1) / f->nested_group : 0;
}

/* Elements of operand `slot` of a quantised weight of n elements; -1 where the format does
 * not have it. */
static inline int64_t quant_operand(const trainer_quant_format *f, int64_t n, uint32_t slot) {
  int64_t groups = quant_groups(f, n), outer = quant_outer(f, groups);
  int tabled = quant_is_tabled(f->format), nested = f->nested_group != 0;
  switch (slot) {
  case TRAINER_WEIGHT_DATA: return bits_bytes(n, f->bits);
  case TRAINER_WEIGHT_SCALE: return groups;
  case TRAINER_WEIGHT_ZERO: return f->zero_dtype ? groups : -1;
  case TRAINER_WEIGHT_SCALE_SCALE: return nested ? outer : -1;
  case TRAINER_WEIGHT_SCALE_ZERO: return nested ? (tabled ? 1 : outer) : -1;
  case TRAINER_WEIGHT_ZERO_SCALE:
  case TRAINER_WEIGHT_ZERO_ZERO: return nested && !tabled ? outer : -1;
  case TRAINER_WEIGHT_CODE: return nested && tabled ? QUANT_MAP : -1;
  default: return -1;
  }
}

static inline uint32_t quant_operand_dtype(const trainer_quant_format *f, uint32_t slot) {
  switch (slot) {
  case TRAINER_WEIGHT_DATA: return TRAINER_U8;
  case TRAINER_WEIGHT_SCALE: return f->scale_dtype;
  case TRAINER_WEIGHT_ZERO: return f->zero_dtype;
  default: return TRAINER_F32;
  }
}

/* TRAINER_OK if the eight operands at w are a weight [out, in] of this format. */
static inline int32_t quant_check(const struct view *w, const trainer_quant_format *f, int64_t out, int64_t in, char *text, uint64_t text_bytes) {
  if (!quant_exists(f)) return refuse(text, text_bytes, TRAINER_UNSUPPORTED, "there is no such weight format");
  if (!quant_fits(f, out, in)) return refuse(text, text_bytes, TRAINER_INVALID, "a weight of this shape does not divide into the groups of its format");
  if (quant_is_dense(f) && !(is_float(w) && w->rank == 2 && w->shape[0] == out && w->shape[1] == in))
    return refuse(text, text_bytes, TRAINER_INVALID, "a dense weight is not a float matrix [out, in]");
  for (uint32_t slot = quant_is_dense(f) ? 1 : 0; slot < TRAINER_WEIGHT_OPERANDS; slot++) {
    int64_t count = quant_is_dense(f) ? -1 : quant_operand(f, out * in, slot);
    if (w[slot].present != (count >= 0)) return refuse(text, text_bytes, TRAINER_INVALID, "a weight lacks an operand of its format, or has one too many");
    if (count >= 0 && !(is_dtype(&w[slot], quant_operand_dtype(f, slot)) && is_vector(&w[slot], count)))
      return refuse(text, text_bytes, TRAINER_INVALID, "an operand of a weight does not have the dtype or the size of its format");
  }
  return TRAINER_OK;
}

/* The weight [out, in] at eight operands that were checked; not for DENSE. */
static inline struct quant quant_of(const struct view *w, const trainer_quant_format *f, int64_t n) {
  struct quant q;
  memset(&q, 0, sizeof q);
  q.format = *f;
  q.n = n;
  q.groups = quant_groups(f, n);
  q.outer = quant_outer(f, q.groups);
  q.data = (const uint8_t *)w[TRAINER_WEIGHT_DATA].data;
  q.scale = w[TRAINER_WEIGHT_SCALE].data;
  q.zero = w[TRAINER_WEIGHT_ZERO].data;
  q.scale_scale = (const float *)w[TRAINER_WEIGHT_SCALE_SCALE].data;
  q.scale_zero = (const float *)w[TRAINER_WEIGHT_SCALE_ZERO].data;
  q.zero_scale = (const float *)w[TRAINER_WEIGHT_ZERO_SCALE].data;
  q.zero_zero = (const float *)w[TRAINER_WEIGHT_ZERO_ZERO].data;
  q.map = (const float *)w[TRAINER_WEIGHT_CODE].data;
  memcpy(q.number, f->format == TRAINER_FORMAT_FP4 ? quant_fp4 : quant_nf4, sizeof q.number);
  return q;
}

/* ---- elements; on a GPU no operation is fused with another, and divisions of small
 * numbers are short ---- */

#ifdef __CUDA_ARCH__
#define quant_load(at) __ldg(at)
#define quant_divide(a, b) ((a) <= UINT32_MAX ? (int64_t)((uint32_t)(a) / (uint32_t)(b)) : (a) / (b))
#define quant_modulo(a, b) ((a) <= UINT32_MAX ? (int64_t)((uint32_t)(a) % (uint32_t)(b)) : (a) % (b))
#define quant_add(a, b) __fadd_rn(a, b)
#define quant_sub(a, b) __fsub_rn(a, b)
#define quant_mul(a, b) __fmul_rn(a, b)
#define quant_div(a, b) __fdiv_rn(a, b)
#else
#define quant_load(at) (*(at))
#define quant_divide(a, b) ((a) / (b))
#define quant_modulo(a, b) ((a) % (b))
#define quant_add(a, b) ((a) + (b))
#define quant_sub(a, b) ((a) - (b))
#define quant_mul(a, b) ((a) * (b))
#define quant_div(a, b) ((a) / (b))
#endif

NATIVE_INLINE int64_t quant_group_of(const struct quant *q, int64_t e) {
  return q->format.interleaved ? quant_modulo(e, q->groups) : quant_divide(e, q->format.group);
}

NATIVE_INLINE uint32_t quant_code(const struct quant *q, int64_t e) {
  uint32_t bits = q->format.bits;
  if (q->format.code_layout == 0) return (uint32_t)quant_load(q->data + e / 2) >> (e % 2 ? 0 : 4) & 15u;
  int64_t bit = e * bits, at = bit / 8;
  uint32_t low = (uint32_t)(bit % 8), word = quant_load(q->data + at);
  if (low + bits > 8) word |= (uint32_t)quant_load(q->data + at + 1) << 8;
  return word >> low & ((1u << bits) - 1);
}

/* What a code stands for before scale and zero. */
NATIVE_INLINE float quant_number(const struct quant *q, uint32_t code) {
  if (quant_is_tabled(q->format.format)) return q->number[code];
  return q->format.format == TRAINER_FORMAT_INT8 ? (float)(int8_t)(uint8_t)code : (float)code;
}

/* A number joined with scale and zero of its group. */
NATIVE_INLINE float quant_join(uint32_t format, float number, float scale, float zero) {
  if (format == TRAINER_FORMAT_AFFINE) return quant_mul(quant_sub(number, zero), scale);
  float x = quant_mul(number, scale);
  return format == TRAINER_FORMAT_BIASED ? quant_add(x, zero) : x;
}

/* A scale or zero of AFFINE that is itself stored as a code. */
NATIVE_INLINE float quant_inner(const struct quant *q, const void *codes, const float *scale, const float *zero, int64_t g) {
  int64_t o = quant_modulo(g, q->outer);
  return quant_join(TRAINER_FORMAT_AFFINE, (float)quant_load((const uint8_t *)codes + g), quant_load(scale + o), quant_load(zero + o));
}

NATIVE_INLINE float quant_scale(const struct quant *q, int64_t g) {
  if (!q->format.nested_group) return quant_load((const float *)q->scale + g);
  if (q->format.format == TRAINER_FORMAT_AFFINE) return quant_inner(q, q->scale, q->scale_scale, q->scale_zero, g);
  float number = quant_load(q->map + quant_load((const uint8_t *)q->scale + g));
  return quant_join(TRAINER_FORMAT_BIASED, number, quant_load(q->scale_scale + quant_divide(g, q->format.nested_group)), quant_load(q->scale_zero));
}

/* 0 where the format has none. */
NATIVE_INLINE float quant_zero(const struct quant *q, int64_t g) {
  if (!q->format.zero_dtype) return 0.0f;
  return q->format.nested_group ? quant_inner(q, q->zero, q->zero_scale, q->zero_zero, g) : quant_load((const float *)q->zero + g);
}

NATIVE_INLINE float quant_value(const struct quant *q, int64_t e) {
  int64_t g = quant_group_of(q, e);
  return quant_join(q->format.format, quant_number(q, quant_code(q, e)), quant_scale(q, g), quant_zero(q, g));
}

#endif
