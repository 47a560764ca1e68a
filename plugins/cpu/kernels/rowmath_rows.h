/* rowmath_rows.h - the loops of rowmath.h; the including file defines ROWMATH, the name
 * of the table it makes. */
#include <math.h>

#include "../../../native/half.h"
#include "rowmath.h"
#include "weight_rows.h"

/* Sixteen running sums, whatever the machine's vectors: the order never changes. */
typedef float f32x16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef double f64x8 __attribute__((vector_size(64), aligned(8), may_alias));

#define SAME_INDEX_ONLY _Pragma("GCC ivdep")

/* exp after Cody and Waite: x = k ln2 + r, a polynomial in r, then two exact scalings
 * so that subnormal results and overflow come out right. NaN stays NaN. */
static inline float exp_one(float x) {
  float in = x > 89.0f ? 89.0f : x;
  in = in < -104.0f ? -104.0f : in;
  float shifted = in * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to an integer */
  float k = shifted - 12582912.0f;
  float r = in - k * 0.693359375f;
  r = r - k * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  int32_t n = (int32_t)(f32_bits(shifted) - 0x4B400000u);
  int32_t half = n >> 1;
  float scale1 = f32_from_bits((uint32_t)(half + 127) << 23);
  float scale2 = f32_from_bits((uint32_t)(n - half + 127) << 23);
  return p * scale1 * scale2;
}

static inline float sigmoid_one(float x) { return 1.0f / (1.0f + exp_one(-x)); }

static void exp_row(float *y, const float *x, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) y[i] = exp_one(x[i]);
}

static void sigmoid_row(float *y, const float *x, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) y[i] = sigmoid_one(x[i]);
}

static double add_lanes(const f32x16 *lanes) {
  double sum = 0;
  for (int lane = 0; lane < 16; lane++) sum += (*lanes)[lane];
  return sum;
}

static double sum_row(const float *x, int64_t n) {
  f32x16 lanes = {0};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) lanes += *(const f32x16 *)(x + i);
  double sum = add_lanes(&lanes);
  for (; i < n; i++) sum += x[i];
  return sum;
}

/* Sums in f64. */
static double wide_sum(const float *x, int64_t n) {
  double lanes[8] = {0}, sum = 0;
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int lane = 0; lane < 8; lane++) lanes[lane] += x[i + lane];
  for (; i < n; i++) sum += x[i];
  for (int lane = 0; lane < 8; lane++) sum += lanes[lane];
  return sum;
}

static double dot_row(const float *x, const float *y, int64_t n) {
  f32x16 lanes = {0};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) lanes += *(const f32x16 *)(x + i) * *(const f32x16 *)(y + i);
  double sum = add_lanes(&lanes);
  for (; i < n; i++) sum += x[i] * y[i];
  return sum;
}

static double dot3_row(const float *x, const float *y, const float *z, int64_t n) {
  f32x16 lanes = {0};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) lanes += *(const f32x16 *)(x + i) * *(const f32x16 *)(y + i) * *(const f32x16 *)(z + i);
  double sum = add_lanes(&lanes);
  for (; i < n; i++) sum += x[i] * y[i] * z[i];
  return sum;
}

static double sum_squares_row(const float *x, int64_t n) {
  typedef float f32x8 __attribute__((vector_size(32), aligned(4), may_alias));
  f64x8 lanes[4] = {{0}};
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
    for (int k = 0; k < 4; k++) {
      f64x8 wide = __builtin_convertvector(*(const f32x8 *)(x + i + 8 * k), f64x8);
      lanes[k] += wide * wide;
    }
  double sum = 0;
  lanes[0] = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
  for (int lane = 0; lane < 8; lane++) sum += lanes[0][lane];
  for (; i < n; i++) sum += (double)x[i] * x[i];
  return sum;
}

static void accumulate_row(float *y, const float *x, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

static void multiply_row(float *y, const float *x, const float *z, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) y[i] = x[i] * z[i];
}

static void multiply_add_row(float *y, const float *x, const float *z, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) y[i] += x[i] * z[i];
}

static void swiglu_row(float *y, const float *gate, const float *up, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) y[i] = gate[i] * sigmoid_one(gate[i]) * up[i];
}

static void swiglu_grad_row(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) {
    float g = gate[i], d = dy[i], u = up[i];
    float s = sigmoid_one(g);
    dgate[i] = d * u * (s * (1.0f + g * (1.0f - s)));
    dup[i] = d * (g * s);
  }
}

static void rms_scale_row(float *y, const float *h, const float *w, float rstd, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) y[i] = h[i] * rstd * w[i];
}

static void rms_grad_row(float *dx, const float *dy, const float *h, const float *w, float rstd, float factor, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) dx[i] = rstd * (dy[i] * w[i] - h[i] * factor);
}

static void rms_grad_w_row(float *dw, const float *dy, const float *h, float rstd, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) dw[i] += dy[i] * (h[i] * rstd);
}

/* Reduction by pi/2 in two parts, then Taylor series on [-pi/4, pi/4], all in f64. */
static inline void sincos_one(float *s, float *c, double angle) {
  double shifted = angle * 0x1.45f306dc9c883p-1 + 0x1.8p52; /* 2/pi */
  double k = shifted - 0x1.8p52;
  double r = angle - k * 0x1.921fb54400000p+0;
  r = r - k * 0x1.0b4611a626331p-34;
  double r2 = r * r;
  double sine = r + r * r2 * (-1.0 / 6 + r2 * (1.0 / 120 + r2 * (-1.0 / 5040 + r2 * (1.0 / 362880 - r2 * (1.0 / 39916800)))));
  double cosine = 1.0 + r2 * (-0.5 + r2 * (1.0 / 24 + r2 * (-1.0 / 720 + r2 * (1.0 / 40320 + r2 * (-1.0 / 3628800 + r2 * (1.0 / 479001600))))));
  uint64_t quadrant;
  memcpy(&quadrant, &shifted, sizeof quadrant);
  double first = quadrant & 1 ? cosine : sine;
  double second = quadrant & 1 ? sine : cosine;
  *s = (float)(quadrant & 2 ? -first : first);
  *c = (float)((quadrant + 1) & 2 ? -second : second);
}

static void sincos_row(float *s, float *c, const float *angle, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) sincos_one(&s[i], &c[i], angle[i]);
}

static void rotate_row(float *y1, float *y2, const float *x1, const float *x2, const float *c, const float *s, int64_t n) {
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) {
    float a = x1[i], b = x2[i];
    y1[i] = a * c[i] - b * s[i];
    y2[i] = b * c[i] + a * s[i];
  }
}

static void philox_row(uint32_t *words, struct philox_key key, uint32_t first, uint32_t position, uint32_t sample, uint32_t step, int64_t n) {
  for (int64_t i = 0; i < n; i++) philox(words + 4 * i, key, first + (uint32_t)i, position, sample, step);
}

/* Whole vectors of sixteen lanes, then the rest; a lane that once held a NaN keeps it. */
static void range_row(float *low, float *high, const float *x, int64_t n) {
  float least[16], most[16];
  int64_t i = 0;
  for (int lane = 0; lane < 16; lane++) least[lane] = *low, most[lane] = *high;
  for (; i + 16 <= n; i += 16)
    for (int lane = 0; lane < 16; lane++) {
      least[lane] = quant_smaller(least[lane], x[i + lane]);
      most[lane] = quant_larger(most[lane], x[i + lane]);
    }
  for (; i < n; i++) {
    least[0] = quant_smaller(least[0], x[i]);
    most[0] = quant_larger(most[0], x[i]);
  }
  for (int lane = 0; lane < 16; lane++) {
    *low = quant_smaller(*low, least[lane]);
    *high = quant_larger(*high, most[lane]);
  }
}

static float largest_row(const float *x, int64_t n) {
  float low = 0.0f, high = 0.0f;
  range_row(&low, &high, x, n);
  return quant_larger(high, -low);
}

static void places_row(uint8_t *codes, const float *x, float factor, const struct quant_book *book, int64_t n) {
  for (int64_t i = 0; i < n; i++) codes[i] = (uint8_t)quant_place(x[i] * factor, book->middle);
  for (int64_t i = 0; i < n; i++) codes[i] = book->code[codes[i]];
}

static void codes_row(uint8_t *codes, const float *x, const float *by, const float *zero, uint32_t format, float top, int64_t n) {
  if (format == TRAINER_FORMAT_AFFINE)
    for (int64_t i = 0; i < n; i++) codes[i] = (uint8_t)(int32_t)quant_affine_code(x[i], (struct quant_spread){by[i], zero[i]}, top);
  else
    for (int64_t i = 0; i < n; i++) codes[i] = (uint8_t)(int32_t)quant_spread_code(format, x[i], (struct quant_spread){by[i], zero[i]}, top);
}

#define ROUND_RUN 128

/* Most errors are too small to be shrunk to anything but 0: the others are counted again. */
static void round_row(double *zeros, double *error, const float *x, struct quant_spread spread, float top, int64_t n) {
  for (int64_t from = 0; from < n; from += ROUND_RUN) {
    float off[ROUND_RUN], moved[ROUND_RUN], most = 0.0f;
    int64_t run = n - from < ROUND_RUN ? n - from : ROUND_RUN;
    for (int64_t i = 0; i < run; i++) {
      float code = quant_affine_code(x[from + i], spread, top);
      off[i] = quant_off(x[from + i], code, spread);
      moved[i] = quant_moved(x[from + i], code, 0.0f, spread);
    }
    for (int64_t i = 0; i < run; i++) most = fabsf(off[i]) > most ? fabsf(off[i]) : most;
    for (int64_t i = 0; most > QUANT_SHRINKS_ABOVE && i < run; i++)
      moved[i] = quant_moved(x[from + i], quant_affine_code(x[from + i], spread, top), quant_shrunk(off[i]), spread);
    for (int64_t i = 0; i < run; i++) off[i] = fabsf(off[i]);
    *zeros += wide_sum(moved, run);
    *error += wide_sum(off, run);
  }
}

static void adamw_row(float *p, float *m, float *v, const float *g, const struct adamw_step *step, int64_t n) {
  const struct adamw_step k = *step;
  SAME_INDEX_ONLY
  for (int64_t i = 0; i < n; i++) {
    float grad = g[i] * k.clip;
    float first = k.beta1 * m[i] + k.one_minus_beta1 * grad;
    float second = k.beta2 * v[i] + k.one_minus_beta2 * grad * grad;
    float root = sqrtf(second) / k.root_correct + k.eps;
    m[i] = first;
    v[i] = second;
    p[i] = p[i] * k.decay - k.step_size * (first / root);
  }
}

extern const struct rowmath ROWMATH;
const struct rowmath ROWMATH = {
    .exp = exp_row,
    .sigmoid = sigmoid_row,
    .sum = sum_row,
    .sum_squares = sum_squares_row,
    .dot = dot_row,
    .dot3 = dot3_row,
    .accumulate = accumulate_row,
    .multiply = multiply_row,
    .multiply_add = multiply_add_row,
    .swiglu = swiglu_row,
    .swiglu_grad = swiglu_grad_row,
    .rms_scale = rms_scale_row,
    .rms_grad = rms_grad_row,
    .rms_grad_w = rms_grad_w_row,
    .sincos = sincos_row,
    .rotate = rotate_row,
    .philox = philox_row,
    .largest = largest_row,
    .range = range_row,
    .places = places_row,
    .codes = codes_row,
    .round = round_row,
    .weight = weight_row,
    .adamw = adamw_row,
};
