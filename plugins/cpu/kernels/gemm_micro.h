/* gemm_micro.h - the register tile: MICRO_ROWS rows by MICRO_VECS vectors of C stay in
 * registers while k runs. A is read as a[k * lda + row], B as b[k * ldb + column]; so both
 * packed panels and the blocks of attention fit. */
#ifndef TRAINER_CPU_GEMM_MICRO_H
#define TRAINER_CPU_GEMM_MICRO_H

#include "gemm_vec.h"

/* What one step of k adds. A file may define MICRO_FMA before, to multiply pairs. */
#ifndef MICRO_FMA
#define MICRO_FMA(a, b, c) vec_fma(a, b, c)
#endif

static inline __attribute__((always_inline)) void micro_tile(int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                                                              float *c, int64_t ldc, int add, const int rows, const int vecs) {
  vec sum[MICRO_ROWS][MICRO_VECS];
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < vecs; j++) sum[i][j] = add ? vec_load(c + i * ldc + j * LANES) : vec_zero();
  for (int64_t p = 0; p < k; p++, a += lda, b += ldb) {
    vec right[MICRO_VECS];
#pragma GCC unroll 4
    for (int j = 0; j < vecs; j++) right[j] = vec_load(b + j * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
      vec left = vec_set(a[i]);
#pragma GCC unroll 4
      for (int j = 0; j < vecs; j++) sum[i][j] = MICRO_FMA(left, right[j], sum[i][j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < vecs; j++) vec_store(c + i * ldc + j * LANES, sum[i][j]);
}

#define MICRO_CALL(rows) micro_tile(k, a, lda, b, ldb, c, ldc, add, rows, vecs)

/* As micro_tile for a number of rows only known now. */
static inline __attribute__((always_inline)) void micro_rows(int64_t rows, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                                                             float *c, int64_t ldc, int add, const int vecs) {
  while (rows >= MICRO_ROWS) {
    MICRO_CALL(MICRO_ROWS);
    rows -= MICRO_ROWS;
    a += MICRO_ROWS;
    c += MICRO_ROWS * ldc;
  }
#if MICRO_ROWS > 8
  if (rows >= 8) {
    MICRO_CALL(8);
    rows -= 8;
    a += 8;
    c += 8 * ldc;
  }
#endif
  if (rows >= 4) {
    MICRO_CALL(4);
    rows -= 4;
    a += 4;
    c += 4 * ldc;
  }
  if (rows >= 2) {
    MICRO_CALL(2);
    rows -= 2;
    a += 2;
    c += 2 * ldc;
  }
  if (rows) MICRO_CALL(1);
}

/* c [m, n] (+)= a b for n up to the next multiple of LANES, which b and c must hold. */
static inline void micro_block(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, int add) {
  for (; n > LANES * (MICRO_VECS - 1); n -= MICRO_COLS, b += MICRO_COLS, c += MICRO_COLS)
    micro_rows(m, k, a, lda, b, ldb, c, ldc, add, MICRO_VECS);
#if MICRO_VECS > 2
  if (n > LANES) {
    micro_rows(m, k, a, lda, b, ldb, c, ldc, add, 2);
    return;
  }
#endif
  if (n > 0) micro_rows(m, k, a, lda, b, ldb, c, ldc, add, 1);
}

#endif
