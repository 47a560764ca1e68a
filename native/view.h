/* view.h - an operand as a kernel sees it, and the questions kernels ask about their
 * operands before they run. C and C++. */
#ifndef TRAINER_NATIVE_VIEW_H
#define TRAINER_NATIVE_VIEW_H

#include <stdint.h>
#include <stdio.h>

#include "../core/abi/trainer_backend.h"
#include "list.h"

/* An operand with its address resolved. data is NULL where the operand is absent and
 * while a list is only checked. stride is in elements. */
struct view {
  void *data;
  uint32_t dtype;
  uint32_t rank;
  int64_t shape[TRAINER_MAX_RANK];
  int64_t stride[TRAINER_MAX_RANK];
  int64_t count; /* elements: product of shape; 0 where absent */
  int present;
};

/* Writes why and returns status. */
static inline int32_t refuse(char *text, uint64_t bytes, int32_t status, const char *sentence) {
  snprintf(text, bytes, "%s", sentence);
  return status;
}

static inline int is_dtype(const struct view *view, uint32_t dtype) { return view->present && view->dtype == dtype; }

static inline int is_float(const struct view *view) {
  return is_dtype(view, TRAINER_F32) || is_dtype(view, TRAINER_BF16) || is_dtype(view, TRAINER_F16);
}

/* Every dtype that backends must store. */
static inline int is_stored(const struct view *view) {
  return is_float(view) || is_dtype(view, TRAINER_I32) || is_dtype(view, TRAINER_U8);
}

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

/* One element of a dtype. */
static inline int is_scalar(const struct view *view, uint32_t dtype) { return is_dtype(view, dtype) && view->count == 1; }

/* n elements in one row without gaps. */
static inline int is_vector(const struct view *view, int64_t n) { return view->count == n && is_contiguous(view); }

/* The last dimension lies without gaps. */
static inline int has_rows(const struct view *view) {
  return view->present && view->rank > 0 && (view->shape[view->rank - 1] == 1 || view->stride[view->rank - 1] == 1);
}

static inline int64_t last_dim(const struct view *view) { return view->rank ? view->shape[view->rank - 1] : 1; }

#endif
