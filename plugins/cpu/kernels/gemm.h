/* gemm.h - the matrix product every dense kernel is made of.
 *
 * C = alpha * (mask(sum of the masked terms) + sum of the other terms) + bias + residual
 * + beta * C. A term is a product A [m, k] B [k, n]; several terms share one f32
 * accumulator, so a LoRA branch costs no extra pass over C. Sums run over k in blocks
 * fixed by the problem alone: any number of threads gives the same bits. (Goto & van de
 * Geijn 2008: packed panels, a register tile, blocks for the caches.)
 */
#ifndef TRAINER_CPU_GEMM_H
#define TRAINER_CPU_GEMM_H

#include "../../../native/quant.h"
#include "../kernel.h"

/* Where one side of a product lies: lines of numbers. k_major 0: one line per row (of A,
 * or column of B), its numbers along k. k_major 1: one line per k. A number is read
 * as x * (mask bit ? keep_scale : 0), rounded to the compute dtype, times factor. */
struct gemm_source {
  const void *data;
  uint32_t dtype; /* F32, BF16, F16; U8: codes of `quant` */
  int k_major;
  int64_t line; /* elements from line to line */
  int64_t step; /* elements from number to number in a line; 1 for codes */
  const int32_t *index; /* line i is stored at index[i]; NULL: at i */
  const uint8_t *mask;  /* bit j%8 of byte j/8 of each line; NULL: no dropout */
  int64_t mask_line;    /* bytes from line to line */
  int64_t mask_step;    /* bytes from byte to byte */
  float keep_scale;
  float factor;
  struct quant quant;   /* a weight whose rows are lines */
};

struct gemm_term {
  struct gemm_source a, b;
  int64_t k;
};

/* A stored matrix; strides in elements. data NULL: absent. */
struct gemm_matrix {
  void *data;
  uint32_t dtype;
  int64_t row, col;
  const int32_t *index; /* row i is stored at index[i]; NULL: at i */
};

struct gemm_job {
  int64_t m, n;
  const struct gemm_term *terms;
  uint32_t n_terms;
  uint32_t n_masked; /* the first terms, whose sum the mask multiplies */
  const uint8_t *mask; /* bits over [m, n] as in gemm_source */
  int64_t mask_line, mask_step;
  float keep_scale;
  uint32_t compute; /* TRAINER_F32, BF16 or F16; 0 is F32 */
  enum isa isa;
  float alpha, beta; /* beta 0: C is not read */
  struct gemm_matrix bias; /* [1, n] */
  struct gemm_matrix residual; /* [m, n] */
  struct gemm_matrix c;
};

/* Scratch bytes of gemm_run for a product up to m x n with k in all terms; never falls
 * when a size grows. */
uint64_t gemm_workspace(enum isa isa, int64_t m, int64_t n, int64_t k);

/* Runs a job on the pool, or in the calling thread when pool is NULL. workspace: 64-byte
 * aligned, gemm_workspace bytes. */
void gemm_run(const struct gemm_job *job, struct pool *pool, void *workspace);

/* A dense matrix of which rows are given the stride `row` and k the stride `k`. */
struct gemm_source gemm_dense(const void *data, uint32_t dtype, int64_t row, int64_t k);

/* A job with alpha 1 and nothing optional. */
struct gemm_job gemm_job_make(enum isa isa, uint32_t compute, int64_t m, int64_t n, const struct gemm_term *terms, uint32_t n_terms);

/* Bytes rounded up so that what follows is aligned. */
static inline uint64_t gemm_align(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

/* ---- between gemm.c and its instruction sets ---- */

/* A block of the product: rows [m0, m0+mb), columns [n0, n0+nb), k [k0, k0+kb) of the
 * terms laid end to end. */
struct gemm_block {
  const struct gemm_job *job;
  const struct gemm_isa *isa;
  float *a, *b; /* packed panels */
  float *tiles; /* f32 sums of the block, tile by tile */
  int64_t m0, mb, n0, nb, k0, kb;
  int64_t tile_m, tile_n; /* multiples of mr, nr */
  int pack_a, pack_b;     /* what the pack tasks pack */
  int first, last;        /* k block: sums start here; the result is stored here */
  int mask;               /* the masked terms end with this k block */
};

struct gemm_isa {
  int64_t mr, nr;
  int64_t k_pack; /* numbers of k per packed f32: 2 for pairs of bf16; terms are padded to it */
  void (*pack)(const struct gemm_block *block, int side_b, int64_t first_panel, int64_t panels);
  void (*tile)(const struct gemm_block *block, int64_t tile);
};

extern const struct gemm_isa gemm_isa_scalar, gemm_isa_avx2, gemm_isa_avx512, gemm_isa_avx512bf16, gemm_isa_neon;

#endif
