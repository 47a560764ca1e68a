/* copy.cu - COPY: dst <- src, same dtype and shape, on the device or to and from pinned
 * host memory. */
#include "strided.cuh"

#define PITCH_MAX ((int64_t)1 << 30)

template <typename T> static void copy_strided(const struct call *call, const struct strided &s) {
  T *dst = (T *)call->out[0].data;
  const T *src = (const T *)call->in[0].data;
  strided_launch(call, s, [=] __device__(int64_t, const int64_t *at) { dst[at[0]] = src[at[1]]; });
}

/* Rows without gaps at regular distances, which the copy engines take. */
static int has_pitch(const struct strided *s, int64_t size) {
  if (s->rank != 2 || s->stride[0][1] != 1 || s->stride[1][1] != 1) return 0;
  for (int k = 0; k < 2; k++)
    if (s->stride[k][0] < s->shape[1] || s->stride[k][0] * size > PITCH_MAX) return 0;
  return 1;
}

static int32_t run(const struct call *call, char *text, uint64_t bytes) {
  const struct view *views[] = {&call->out[0], &call->in[0]};
  struct strided s = strided_of(views, 2);
  void *dst = call->out[0].data;
  const void *src = call->in[0].data;
  int64_t size = list_dtype_bytes(call->out[0].dtype);
  if (s.count == 0 || dst == src) return TRAINER_OK;
  if (strided_is_flat(&s)) cudaMemcpyAsync(dst, src, (size_t)(s.count * size), cudaMemcpyDefault, call->stream);
  else if (has_pitch(&s, size))
    cudaMemcpy2DAsync(dst, (size_t)(s.stride[0][0] * size), src, (size_t)(s.stride[1][0] * size), (size_t)(s.shape[1] * size),
                      (size_t)s.shape[0], cudaMemcpyDefault, call->stream);
  else if (size == 8) copy_strided<uint64_t>(call, s);
  else if (size == 4) copy_strided<uint32_t>(call, s);
  else if (size == 2) copy_strided<uint16_t>(call, s);
  else copy_strided<uint8_t>(call, s);
  return launched(text, bytes);
}

const struct kernel kernel_copy = {.op = TRAINER_OP_COPY, .name = "copy", .check = check_copy, .run = run};
