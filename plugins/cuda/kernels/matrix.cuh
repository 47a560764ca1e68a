/* matrix.cuh - strided matrices, and scratch memory handed out front to back. */
#ifndef TRAINER_CUDA_MATRIX_CUH
#define TRAINER_CUDA_MATRIX_CUH

#include "device.cuh"

/* A float matrix; row and col are the strides, in elements. */
struct matrix {
  void *data;
  uint32_t dtype;
  int64_t rows, cols;
  int64_t row, col;
};

static inline struct matrix matrix_of(const struct view *view) {
  struct matrix m = {view->data, view->dtype, view->shape[0], view->shape[1], view->stride[0], view->stride[1]};
  return m;
}

/* Rows [first, first + n). */
static inline struct matrix matrix_rows(struct matrix m, int64_t first, int64_t n) {
  m.data = (char *)m.data + first * m.row * list_dtype_bytes(m.dtype);
  m.rows = n;
  return m;
}

/* Columns [first, first + n). */
static inline struct matrix matrix_cols(struct matrix m, int64_t first, int64_t n) {
  m.data = (char *)m.data + first * m.col * list_dtype_bytes(m.dtype);
  m.cols = n;
  return m;
}

static inline struct matrix matrix_transposed(struct matrix m) {
  struct matrix t = {m.data, m.dtype, m.cols, m.rows, m.col, m.row};
  return t;
}

/* Rows without gaps inside, one after the other. */
static inline int matrix_is_rows(const struct matrix *m) { return (m->col == 1 || m->cols == 1) && (m->row >= m->cols || m->rows == 1); }

/* ---- scratch ---- */

#define SCRATCH_ALIGNMENT 256

/* Parts of a workspace. base is NULL while only sizes are asked. */
struct scratch {
  char *base;
  uint64_t bytes;
};

static inline void *scratch_take(struct scratch *scratch, uint64_t bytes) {
  void *at = scratch->base + scratch->bytes;
  scratch->bytes += (bytes + SCRATCH_ALIGNMENT - 1) / SCRATCH_ALIGNMENT * SCRATCH_ALIGNMENT;
  return at;
}

/* Lines start at multiples of 16 bytes whatever the dtype. */
static inline int64_t padded(int64_t n) { return divide_up(n, 8) * 8; }

static inline struct matrix scratch_matrix(struct scratch *scratch, uint32_t dtype, int64_t rows, int64_t cols) {
  int64_t pitch = padded(cols);
  struct matrix m = {NULL, dtype, rows, cols, pitch, 1};
  m.data = scratch_take(scratch, (uint64_t)(rows * pitch) * list_dtype_bytes(dtype));
  return m;
}

#endif
