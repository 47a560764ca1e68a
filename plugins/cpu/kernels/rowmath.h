/* rowmath.h - arithmetic on contiguous rows of f32, compiled for each instruction set.
 * Every variant does the same operations in the same order, without fused
 * multiply-add, so all give the same bits. A result may be exactly one of its inputs. */
#ifndef TRAINER_CPU_ROWMATH_H
#define TRAINER_CPU_ROWMATH_H

#include "../../../native/philox.h"
#include "../../../native/quantise.h"
#include "../kernel.h"

/* What one AdamW step needs of its scalars. */
struct adamw_step {
  float clip;
  float decay;    /* 1 - lr * weight_decay */
  float beta1;
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float step_size;   /* lr / (1 - beta1^t) */
  float root_correct; /* sqrt(1 - beta2^t) */
  float eps;
};

struct rowmath {
  void (*exp)(float *y, const float *x, int64_t n);     /* at most 2 ulp off */
  void (*sigmoid)(float *y, const float *x, int64_t n); /* at most 3 ulp off */
  double (*sum)(const float *x, int64_t n);
  double (*sum_squares)(const float *x, int64_t n); /* products and sums in f64 */
  double (*dot)(const float *x, const float *y, int64_t n);
  double (*dot3)(const float *x, const float *y, const float *z, int64_t n); /* sum (x y) z */
  void (*accumulate)(float *y, const float *x, int64_t n); /* y += x */
  void (*multiply)(float *y, const float *x, const float *z, int64_t n);     /* y = x z */
  void (*multiply_add)(float *y, const float *x, const float *z, int64_t n); /* y += x z */
  void (*swiglu)(float *y, const float *gate, const float *up, int64_t n);
  void (*swiglu_grad)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n);
  void (*rms_scale)(float *y, const float *h, const float *w, float rstd, int64_t n); /* h * rstd * w */
  /* dx = rstd * (dy w - h * factor) */
  void (*rms_grad)(float *dx, const float *dy, const float *h, const float *w, float rstd, float factor, int64_t n);
  void (*rms_grad_w)(float *dw, const float *dy, const float *h, float rstd, int64_t n); /* dw += dy h rstd */
  void (*sincos)(float *s, float *c, const float *angle, int64_t n); /* |angle| < 2^31 */
  void (*rotate)(float *y1, float *y2, const float *x1, const float *x2, const float *c, const float *s, int64_t n);
  /* words [4 n]: Philox at counters {first + i, position, sample, step} */
  void (*philox)(uint32_t *words, struct philox_key key, uint32_t first, uint32_t position, uint32_t sample, uint32_t step, int64_t n);
  float (*largest)(const float *x, int64_t n); /* magnitude; NaN wins */
  void (*range)(float *low, float *high, const float *x, int64_t n); /* widens [low, high]; NaN wins */
  /* codes of x * factor in a book of NF4 or FP4 */
  void (*places)(uint8_t *codes, const float *x, float factor, const struct quant_book *book, int64_t n);
  /* codes of x at even steps, each with its spread */
  void (*codes)(uint8_t *codes, const float *x, const float *by, const float *zero, uint32_t format, float top, int64_t n);
  /* one round of HQQ on numbers of a group: adds to the sums of zeros and of errors */
  void (*round)(double *zeros, double *error, const float *x, struct quant_spread spread, float top, int64_t n);
  void (*weight)(float *dst, const struct quant *q, int64_t at, int64_t n); /* elements [at, at + n) */
  void (*adamw)(float *p, float *m, float *v, const float *g, const struct adamw_step *step, int64_t n);
};

const struct rowmath *rowmath_for(enum isa isa);

#endif
