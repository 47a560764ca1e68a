/* cast.cu - CAST: between f32, bf16, f16, i32 and u8. Floats round to nearest even; float to
 * integer truncates, saturates and makes NaN 0; i32 to u8 keeps the low 8 bits. */
#include "strided.cuh"

#define WIDTH 8

/* cvt.rzi saturates and turns NaN into 0. */
__device__ __forceinline__ int32_t truncate(uint32_t dtype, float x) {
  if (dtype == TRAINER_I32) return __float2int_rz(x);
  return x >= 255.0f ? 255 : x > 0.0f ? __float2int_rz(x) : 0;
}

static void cast_strided(const struct call *call, const struct strided &s) {
  void *dst = call->out[0].data;
  const void *src = call->in[0].data;
  uint32_t to = call->out[0].dtype, from = call->in[0].dtype;
  strided_launch(call, s, [=] __device__(int64_t, const int64_t *at) {
    if (is_float_dtype(from)) {
      float x = load_float(src, from, at[1]);
      if (is_float_dtype(to)) store_float(dst, to, at[0], x);
      else store_int(dst, to, at[0], truncate(to, x));
    } else {
      int32_t x = load_int(src, from, at[1]);
      if (is_float_dtype(to)) store_float(dst, to, at[0], (float)x);
      else store_int(dst, to, at[0], x);
    }
  });
}

template <typename D, typename S> static void cast_flat(const struct call *call, int64_t count) {
  D *dst = (D *)call->out[0].data;
  const S *src = (const S *)call->in[0].data;
  constexpr int from = sizeof(S) == 4 ? 4 : WIDTH, to = sizeof(D) == 4 ? 4 : WIDTH; /* 16 bytes each */
  flat_launch<WIDTH>(call, count, [=] __device__(int64_t i, int64_t left) {
    if (left < WIDTH) {
      for (int64_t k = 0; k < left; k++) dst[i + k] = from_f32<D>(to_f32(src[i + k]));
      return;
    }
    float x[WIDTH];
#pragma unroll
    for (int k = 0; k < WIDTH; k += from) {
      vec<S, from> part = load_vec<S, from>(src + i + k);
#pragma unroll
      for (int j = 0; j < from; j++) x[k + j] = to_f32(part.v[j]);
    }
#pragma unroll
    for (int k = 0; k < WIDTH; k += to) {
      vec<D, to> part;
#pragma unroll
      for (int j = 0; j < to; j++) part.v[j] = from_f32<D>(x[k + j]);
      store_vec<D, to>(dst + i + k, part);
    }
  });
}

static int32_t run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *dst = &call->out[0], *src = &call->in[0];
  const struct view *views[] = {dst, src};
  struct strided s = strided_of(views, 2);
  int fast = is_float(dst) && is_float(src) && strided_is_flat(&s) && is_aligned16(dst->data, src->data);
  if (fast) WITH_FLOAT(D, dst->dtype, WITH_FLOAT(S, src->dtype, (cast_flat<D, S>(call, s.count))));
  else cast_strided(call, s);
  return launched(text, bytes);
}

const struct kernel kernel_cast = {.op = TRAINER_OP_CAST, .name = "cast", .check = check_cast, .run = run};
