/* check.h - the questions of native/view.h, and addresses of rows. */
#ifndef TRAINER_CPU_CHECK_H
#define TRAINER_CPU_CHECK_H

#include "../kernel.h"

/* Address of element [row, column] where the leading dimensions count as one. */
static inline void *row_at(const struct view *view, int64_t row, int64_t column) {
  int64_t offset = column;
  for (uint32_t dim = view->rank - 1; dim-- > 0;) {
    offset += row % view->shape[dim] * view->stride[dim];
    row /= view->shape[dim];
  }
  return (char *)view->data + offset * dtype_bytes(view->dtype);
}

#endif
