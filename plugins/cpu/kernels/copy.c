/* copy.c - COPY: dst <- src, same dtype and shape. */
#include <string.h>

#include "strided.h"

#define COPY_STRIDED(type)                                            \
  do {                                                                \
    type *to = (type *)dst;                                           \
    const type *from = (const type *)src;                             \
    for (int64_t i = 0; i < row->n; i++) to[i * step] = from[i * from_step]; \
  } while (0)

static void copy_row(const void *arg, const struct strided_row *row) {
  const struct call *call = arg;
  uint32_t size = dtype_bytes(call->out[0].dtype);
  void *dst = (char *)call->out[0].data + row->offset[0] * size;
  const void *src = (const char *)call->in[0].data + row->offset[1] * size;
  int64_t step = row->step[0], from_step = row->step[1];
  if (step == 1 && from_step == 1) memmove(dst, src, (size_t)row->n * size);
  else if (size == 8) COPY_STRIDED(uint64_t);
  else if (size == 4) COPY_STRIDED(uint32_t);
  else if (size == 2) COPY_STRIDED(uint16_t);
  else COPY_STRIDED(uint8_t);
}

static void run(const struct call *call) {
  struct strided strided;
  const struct view *views[] = {&call->out[0], &call->in[0]};
  strided_make(&strided, views, 2);
  strided_run(call->pool, &strided, copy_row, call);
}

const struct kernel kernel_copy = {.op = TRAINER_OP_COPY, .name = "copy", .check = check_copy, .run = run};
