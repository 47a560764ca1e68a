/* strided.h - elementwise work over strided, broadcast views of one shape, cut into rows
 * and tasks by size alone. */
#ifndef TRAINER_CPU_STRIDED_H
#define TRAINER_CPU_STRIDED_H

#include "../kernel.h"

#define STRIDED_VIEWS 5
#define STRIDED_ROW 1024       /* longest row given to a row function: its buffers fit L1 */
#define STRIDED_GRAIN 32768    /* elements of one task */

/* Views of one shape, with as few dimensions as they allow. */
struct strided {
  uint32_t rank; /* >= 1 */
  uint32_t n;
  int64_t count;
  int64_t shape[TRAINER_MAX_RANK];
  int64_t stride[STRIDED_VIEWS][TRAINER_MAX_RANK];
};

/* Elements [index, index + n) in row-major order: in view k, element i of the row lies at
 * offset[k] + i * step[k]. */
struct strided_row {
  int64_t index;
  int64_t n;
  int64_t offset[STRIDED_VIEWS];
  int64_t step[STRIDED_VIEWS];
};

typedef void (*strided_fn)(const void *arg, const struct strided_row *row);

/* All views have the shape of views[0]. */
void strided_make(struct strided *strided, const struct view *const *views, uint32_t n);

/* Calls fn for the rows of elements [begin, end), ascending. */
void strided_walk(const struct strided *strided, int64_t begin, int64_t end, strided_fn fn, const void *arg);

/* Calls fn for all rows, on the pool. */
void strided_run(struct pool *pool, const struct strided *strided, strided_fn fn, const void *arg);

/* n floats as f32, contiguous: in place where they already are, else in buffer. */
const float *row_load(float *buffer, const struct view *view, int64_t offset, int64_t step, int64_t n);

/* Where to write n floats: in place if they are stored as contiguous f32, else buffer. */
float *row_target(float *buffer, const struct view *view, int64_t offset, int64_t step);

/* Stores what was written to row_target's answer. */
void row_commit(const float *target, const struct view *view, int64_t offset, int64_t step, int64_t n);

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
