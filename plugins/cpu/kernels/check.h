/* check.h - the questions kernels ask about their operands before they run. */
#ifndef TRAINER_CPU_CHECK_H
#define TRAINER_CPU_CHECK_H

#include <stdio.h>

#include "../kernel.h"

/* Writes why and returns status. */
static inline int32_t refuse(char *text, uint64_t bytes, int32_t status, const char *sentence) {
  snprintf(text, bytes, "%s", sentence);
  return status;
}

static inline int is_float(const struct view *view) {
  return view->present && (view->dtype == TRAINER_F32 || view->dtype == TRAINER_BF16 || view->dtype == TRAINER_F16);
}

static inline int is_dtype(const struct view *view, uint32_t dtype) { return view->present && view->dtype == dtype; }

static inline int same_shape(const struct view *a, const struct view *b) {
  if (a->rank != b->rank) return 0;
  for (uint32_t dim = 0; dim < a->rank; dim++)
    if (a->shape[dim] != b->shape[dim]) return 0;
  return 1;
}

/* Row-major without gaps. */
static inline int is_contiguous(const struct view *view) {
  int64_t expected = 1;
  for (uint32_t dim = view->rank; dim-- > 0;) {
    if (view->shape[dim] != 1 && view->stride[dim] != expected) return 0;
    expected *= view->shape[dim];
  }
  return view->present;
}

/* One contiguous element of a dtype. */
static inline int is_scalar(const struct view *view, uint32_t dtype) { return is_dtype(view, dtype) && view->count == 1; }

/* n elements in one row without gaps. */
static inline int is_vector(const struct view *view, int64_t n) { return view->count == n && is_contiguous(view); }

/* The last dimension lies without gaps. */
static inline int has_rows(const struct view *view) {
  return view->present && view->rank > 0 && (view->shape[view->rank - 1] == 1 || view->stride[view->rank - 1] == 1);
}

static inline int64_t last_dim(const struct view *view) { return view->rank ? view->shape[view->rank - 1] : 1; }

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
