/* rowmath.h - arithmetic on contiguous rows of f32, compiled for each instruction set.
 * Every variant does the same operations in the same order, without fused
 * multiply-add, so all give the same bits. A result may be exactly one of its inputs. */
#ifndef TRAINER_CPU_ROWMATH_H
#define TRAINER_CPU_ROWMATH_H

#include "../../../native/philox.h"
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
  /* codes of x / absmax; between as codes_between makes it */
  void (*nf4_codes)(int32_t *codes, const float *x, float absmax, const float between[15], int64_t n);
  void (*adamw)(float *p, float *m, float *v, const float *g, const struct adamw_step *step, int64_t n);
};

const struct rowmath *rowmath_for(enum isa isa);

#endif
