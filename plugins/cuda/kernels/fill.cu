/* fill.cu - FILL and IOTA: dst from no input. */
#include "../../../native/half.h"
#include "strided.cuh"

/* ---- fill ---- */

/* The bits one element gets. */
static uint32_t fill_bits(const struct call *call) {
  uint32_t bits = ((const trainer_attr_fill *)call->attr)->value_bits;
  if (call->out[0].dtype == TRAINER_BF16) return bf16_from_f32(f32_from_bits(bits));
  if (call->out[0].dtype == TRAINER_F16) return f16_from_f32(f32_from_bits(bits));
  return bits;
}

template <typename T> static void fill_as(const struct call *call, const struct strided &s, T bits) {
  constexpr int N = 16 / sizeof(T);
  T *dst = (T *)call->out[0].data;
  if (!strided_is_flat(&s) || !is_aligned16(dst)) {
    strided_launch(call, s, [=] __device__(int64_t, const int64_t *at) { dst[at[0]] = bits; });
    return;
  }
  flat_launch<N>(call, s.count, [=] __device__(int64_t i, int64_t left) {
    vec<T, N> x;
#pragma unroll
    for (int k = 0; k < N; k++) x.v[k] = bits;
    if (left >= N) store_vec(dst + i, x);
    else for (int64_t k = 0; k < left; k++) dst[i + k] = bits;
  });
}

static int32_t fill_run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *views[] = {&call->out[0]};
  struct strided s = strided_of(views, 1);
  uint32_t bits = fill_bits(call), size = list_dtype_bytes(call->out[0].dtype);
  if (s.count == 0) return TRAINER_OK;
  if (bits == 0 && strided_is_flat(&s)) cudaMemsetAsync(call->out[0].data, 0, (size_t)s.count * size, call->stream);
  else if (size == 4) fill_as<uint32_t>(call, s, bits);
  else if (size == 2) fill_as<uint16_t>(call, s, (uint16_t)bits);
  else fill_as<uint8_t>(call, s, (uint8_t)bits);
  return launched(text, bytes);
}

const struct kernel kernel_fill = {.op = TRAINER_OP_FILL, .name = "fill", .check = check_fill, .run = fill_run};

/* ---- iota ---- */

static int32_t iota_run(const struct call *call, char *text, uint64_t bytes) {
  uint32_t dim = ((const trainer_attr_iota *)call->attr)->dim;
  const struct view *view = &call->out[0];
  struct strided s = strided_of(&view, 1);
  int32_t *dst = (int32_t *)view->data;
  int64_t inner = 1, size = view->shape[dim];
  for (uint32_t i = dim + 1; i < view->rank; i++) inner *= view->shape[i];
  strided_launch(call, s, [=] __device__(int64_t i, const int64_t *at) { dst[at[0]] = (int32_t)(i / inner % size); });
  return launched(text, bytes);
}

const struct kernel kernel_iota = {.op = TRAINER_OP_IOTA, .name = "iota", .check = check_iota, .run = iota_run};

/* Whether this build holds code that the current device can run. */
extern "C" cudaError_t device_code_found(void);
__global__ void nothing(void) {}
cudaError_t device_code_found(void) {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, nothing);
}
