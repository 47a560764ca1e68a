/* elementwise.cu - UNARY, BINARY and SELECT over strided, broadcast views. */
#include "../../../native/half.h"
#include "strided.cuh"

/* ---- unary ---- */

struct unary {
  uint32_t code;
  float alpha;
  float beta;

  __device__ __forceinline__ float operator()(float x) const {
    switch (code) {
    case TRAINER_UNARY_NEG: return -x;
    case TRAINER_UNARY_EXP: return expf(x);
    case TRAINER_UNARY_LOG: return logf(x);
    case TRAINER_UNARY_SQRT: return sqrtf(x);
    case TRAINER_UNARY_RSQRT: return 1.0f / sqrtf(x);
    case TRAINER_UNARY_TANH: return tanhf(x);
    case TRAINER_UNARY_SIGMOID: return 1.0f / (1.0f + expf(-x));
    case TRAINER_UNARY_ABS: return fabsf(x);
    case TRAINER_UNARY_RECIPROCAL: return 1.0f / x;
    case TRAINER_UNARY_SIN: return sinf(x);
    case TRAINER_UNARY_COS: return cosf(x);
    case TRAINER_UNARY_FLOOR: return floorf(x);
    case TRAINER_UNARY_ISFINITE: return (float)((__float_as_uint(x) & 0x7F800000u) != 0x7F800000u);
    case TRAINER_UNARY_AFFINE: return x * alpha + beta;
    default: return rintf(x); /* ROUND */
    }
  }
};

template <typename T> static void unary_flat(const struct call *call, int64_t count, struct unary fn) {
  constexpr int N = 16 / sizeof(T);
  T *dst = (T *)call->out[0].data;
  const T *src = (const T *)call->in[0].data;
  flat_launch<N>(call, count, [=] __device__(int64_t i, int64_t left) {
    if (left < N) {
      for (int64_t k = 0; k < left; k++) dst[i + k] = from_f32<T>(fn(to_f32(src[i + k])));
      return;
    }
    vec<T, N> x = load_vec<T, N>(src + i);
#pragma unroll
    for (int k = 0; k < N; k++) x.v[k] = from_f32<T>(fn(to_f32(x.v[k])));
    store_vec(dst + i, x);
  });
}

static void unary_strided(const struct call *call, const struct strided &s, struct unary fn) {
  void *dst = call->out[0].data;
  const void *src = call->in[0].data;
  uint32_t to = call->out[0].dtype, from = call->in[0].dtype;
  strided_launch(call, s, [=] __device__(int64_t, const int64_t *at) {
    float y = fn(load_float(src, from, at[1]));
    if (is_float_dtype(to)) store_float(dst, to, at[0], y);
    else store_int(dst, to, at[0], y != 0.0f);
  });
}

static int32_t unary_run(const struct call *call, char *text, uint64_t bytes) {
  const trainer_attr_unary *attr = (const trainer_attr_unary *)call->attr;
  const struct view *dst = &call->out[0], *src = &call->in[0];
  const struct view *views[] = {dst, src};
  struct strided s = strided_of(views, 2);
  struct unary fn = {attr->code, f32_from_bits(attr->alpha_bits), f32_from_bits(attr->beta_bits)};
  if (dst->dtype == src->dtype && strided_is_flat(&s) && is_aligned16(dst->data, src->data)) WITH_FLOAT(T, dst->dtype, unary_flat<T>(call, s.count, fn));
  else unary_strided(call, s, fn);
  return launched(text, bytes);
}

const struct kernel kernel_unary = {.op = TRAINER_OP_UNARY, .name = "unary", .check = check_unary, .run = unary_run};

/* ---- binary ---- */

/* Wraps around; x^negative is 0 but for x = 1 and -1; 0^negative is 0. */
__device__ static int32_t int_power(int32_t base, int32_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;
  uint32_t result = 1, square = (uint32_t)base;
  for (uint32_t left = (uint32_t)exponent; left; left >>= 1, square *= square)
    if (left & 1) result *= square;
  return (int32_t)result;
}

struct binary {
  uint32_t code;

  __device__ __forceinline__ float operator()(float a, float b) const {
    switch (code) {
    case TRAINER_BINARY_ADD: return a + b;
    case TRAINER_BINARY_SUB: return a - b;
    case TRAINER_BINARY_MUL: return a * b;
    case TRAINER_BINARY_DIV: return a / b;
    case TRAINER_BINARY_MAX: return a > b || a != a ? a : b;
    case TRAINER_BINARY_MIN: return a < b || a != a ? a : b;
    case TRAINER_BINARY_LT: return (float)(a < b);
    case TRAINER_BINARY_LE: return (float)(a <= b);
    case TRAINER_BINARY_EQ: return (float)(a == b);
    default: return powf(a, b);
    }
  }

  /* i32 arithmetic wraps around; division truncates, by zero it gives 0. */
  __device__ __forceinline__ int32_t operator()(int32_t a, int32_t b) const {
    switch (code) {
    case TRAINER_BINARY_ADD: return (int32_t)((uint32_t)a + (uint32_t)b);
    case TRAINER_BINARY_SUB: return (int32_t)((uint32_t)a - (uint32_t)b);
    case TRAINER_BINARY_MUL: return (int32_t)((uint32_t)a * (uint32_t)b);
    case TRAINER_BINARY_DIV: return b == 0 ? 0 : b == -1 ? (int32_t)(0u - (uint32_t)a) : a / b;
    case TRAINER_BINARY_MAX: return a > b ? a : b;
    case TRAINER_BINARY_MIN: return a < b ? a : b;
    case TRAINER_BINARY_LT: return a < b;
    case TRAINER_BINARY_LE: return a <= b;
    case TRAINER_BINARY_EQ: return a == b;
    default: return int_power(a, b);
    }
  }
};

template <typename T> static void binary_flat(const struct call *call, int64_t count, struct binary fn) {
  constexpr int N = 16 / sizeof(T);
  T *dst = (T *)call->out[0].data;
  const T *a = (const T *)call->in[0].data, *b = (const T *)call->in[1].data;
  flat_launch<N>(call, count, [=] __device__(int64_t i, int64_t left) {
    if (left < N) {
      for (int64_t k = 0; k < left; k++) dst[i + k] = from_f32<T>(fn(to_f32(a[i + k]), to_f32(b[i + k])));
      return;
    }
    vec<T, N> x = load_vec<T, N>(a + i), y = load_vec<T, N>(b + i);
#pragma unroll
    for (int k = 0; k < N; k++) x.v[k] = from_f32<T>(fn(to_f32(x.v[k]), to_f32(y.v[k])));
    store_vec(dst + i, x);
  });
}

static void binary_strided(const struct call *call, const struct strided &s, struct binary fn) {
  void *dst = call->out[0].data;
  const void *a = call->in[0].data, *b = call->in[1].data;
  uint32_t to = call->out[0].dtype, left = call->in[0].dtype, right = call->in[1].dtype;
  strided_launch(call, s, [=] __device__(int64_t, const int64_t *at) {
    if (left == TRAINER_I32) {
      int32_t y = fn(((const int32_t *)a)[at[1]], ((const int32_t *)b)[at[2]]);
      if (is_float_dtype(to)) store_float(dst, to, at[0], (float)y);
      else store_int(dst, to, at[0], y);
    } else {
      float y = fn(load_float(a, left, at[1]), load_float(b, right, at[2]));
      if (is_float_dtype(to)) store_float(dst, to, at[0], y);
      else store_int(dst, to, at[0], y != 0.0f);
    }
  });
}

static int32_t binary_run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *dst = &call->out[0], *a = &call->in[0], *b = &call->in[1];
  const struct view *views[] = {dst, a, b};
  struct strided s = strided_of(views, 3);
  struct binary fn = {((const trainer_attr_binary *)call->attr)->code};
  int fast = is_float(dst) && a->dtype == dst->dtype && b->dtype == dst->dtype && strided_is_flat(&s) && is_aligned16(dst->data, a->data, b->data);
  if (fast) WITH_FLOAT(T, dst->dtype, binary_flat<T>(call, s.count, fn));
  else binary_strided(call, s, fn);
  return launched(text, bytes);
}

const struct kernel kernel_binary = {.op = TRAINER_OP_BINARY, .name = "binary", .check = check_binary, .run = binary_run};

/* ---- select ---- */

static int32_t select_run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *dst = &call->out[0], *in = call->in;
  const struct view *views[] = {dst, &in[0], &in[1], &in[2]};
  struct strided s = strided_of(views, 4);
  void *y = dst->data;
  const void *cond = in[0].data, *a = in[1].data, *b = in[2].data;
  uint32_t to = dst->dtype, by = in[0].dtype, left = in[1].dtype, right = in[2].dtype;
  strided_launch(call, s, [=] __device__(int64_t, const int64_t *at) {
    /* NaN is not 0. */
    int taken = is_float_dtype(by) ? load_float(cond, by, at[1]) != 0.0f : load_int(cond, by, at[1]) != 0;
    if (is_float_dtype(to)) store_float(y, to, at[0], taken ? load_float(a, left, at[2]) : load_float(b, right, at[3]));
    else store_int(y, to, at[0], taken ? load_int(a, left, at[2]) : load_int(b, right, at[3]));
  });
  return launched(text, bytes);
}

const struct kernel kernel_select = {.op = TRAINER_OP_SELECT, .name = "select", .check = check_select, .run = select_run};
