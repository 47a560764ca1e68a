/* gemm_body.h - packing, the tile loop and the epilogue of gemm.h. The including file
 * defines GEMM_ISA, the table to make, and GEMM_PAIRS where MICRO_FMA multiplies
 * pairs of bf16: panels then hold two numbers of k in the 32 bits of one f32. */
#include "gemm.h"
#include "gemm_micro.h"
#include "gemm_pack.h"

#ifdef GEMM_PAIRS
#define K_PACK 2
#else
#define K_PACK 1
#endif

#define LINES_AHEAD 8
#define GROUP_NUMBERS 256 /* the most rows packed at once, and columns of a tile */

/* Part of one term inside a block: numbers [k, k + n) of the term stand at panel row `at`. */
struct part {
  const struct gemm_source *source;
  int64_t k, n, at;
};

#ifdef GEMM_PAIRS
static void put_pair(float *restrict dst, const float *restrict even, const float *restrict odd, int64_t n) {
  for (int64_t i = 0; i < n; i++) dst[i] = f32_from_bits((f32_bits(even[i]) >> 16) | (f32_bits(odd[i]) & 0xFFFF0000u));
}

static void pack_part_rows(float *panel, int64_t width, const struct part *part, uint32_t compute, int64_t first, int64_t rows) {
  float turned[(PACK_K + 1) * PACK_WIDTH];
  for (int64_t k = 0; k < part->n; k += PACK_K) {
    int64_t n = part->n - k < PACK_K ? part->n - k : PACK_K;
    pack_rows(turned, width, part->source, compute, first, rows, part->k + k, n);
    memset(turned + n * width, 0, (size_t)width * sizeof *turned);
    for (int64_t i = 0; i < n; i += 2)
      put_pair(panel + (part->at + k + i) / 2 * width, turned + i * width, turned + (i + 1) * width, width);
  }
}

static void pack_part_lines(float *panels, int64_t panel_size, int64_t width, const struct part *part, uint32_t compute, int64_t first, int64_t rows, int64_t count) {
  float even[GROUP_NUMBERS], odd[GROUP_NUMBERS];
  memset(even, 0, sizeof even);
  memset(odd, 0, sizeof odd);
  for (int64_t k = 0; k < part->n; k += 2) {
    read_line(even, part->source, compute, part->k + k, first, rows);
    if (k + 1 < part->n) read_line(odd, part->source, compute, part->k + k + 1, first, rows);
    else memset(odd, 0, sizeof odd);
    for (int64_t p = 0; p < count; p++)
      put_pair(panels + p * panel_size + (part->at + k) / 2 * width, even + p * width, odd + p * width, width);
  }
}
#else
static void pack_part_rows(float *panel, int64_t width, const struct part *part, uint32_t compute, int64_t first, int64_t rows) {
  pack_rows(panel + part->at * width, width, part->source, compute, first, rows, part->k, part->n);
}

/* Spreads `rows` numbers of one k over panels: one row of `width` of each. */
static inline __attribute__((always_inline)) void spread_line(float *to, int64_t panel_size, const float *line, int64_t rows, const int64_t width) {
  for (; rows >= width; rows -= width, line += width, to += panel_size) memcpy(to, line, (size_t)width * sizeof *to);
  for (int64_t i = 0; rows > 0 && i < width; i++) to[i] = i < rows ? line[i] : 0.0f;
}

static void pack_part_lines(float *panels, int64_t panel_size, int64_t width, const struct part *part, uint32_t compute, int64_t first, int64_t rows, int64_t count) {
  float room[GROUP_NUMBERS];
  (void)count;
  for (int64_t k = 0; k < part->n; k++) {
    if (k + LINES_AHEAD < part->n) expect_line(part->source, part->k + k + LINES_AHEAD, first, rows);
    const float *line = line_of(room, part->source, compute, part->k + k, first, rows);
    float *to = panels + (part->at + k) * width;
    if (width == MICRO_COLS) spread_line(to, panel_size, line, rows, MICRO_COLS);
    else spread_line(to, panel_size, line, rows, MICRO_ROWS);
  }
}
#endif

/* Packs `count` panels of one part; the last may be short of rows. */
static void pack_part(float *panels, int64_t panel_size, int64_t width, const struct part *part, uint32_t compute, int64_t first, int64_t rows, int64_t count) {
  if (part->source->k_major) {
    pack_part_lines(panels, panel_size, width, part, compute, first, rows, count);
    return;
  }
  for (int64_t p = 0; p < count; p++) {
    int64_t left = rows - p * width;
    pack_part_rows(panels + p * panel_size, width, part, compute, first + p * width, left < width ? left : width);
  }
}

/* Packs panels [first_panel, first_panel + panels) of one side of the block: every term's
 * part that falls into the block's k. */
static void pack_panels(const struct gemm_block *block, int side_b, int64_t first_panel, int64_t panels) {
  const struct gemm_job *job = block->job;
  int64_t width = side_b ? MICRO_COLS : MICRO_ROWS, panel_size = width * (block->kb / K_PACK);
  int64_t rows = (side_b ? block->nb : block->mb) - first_panel * width;
  int64_t first = (side_b ? block->n0 : block->m0) + first_panel * width;
  float *to = (side_b ? block->b : block->a) + first_panel * panel_size;
  if (rows > panels * width) rows = panels * width;
  int64_t start = 0, end = block->k0 + block->kb;
  for (uint32_t t = 0; t < job->n_terms; t++) {
    const struct gemm_term *term = &job->terms[t];
    int64_t padded = (term->k + K_PACK - 1) / K_PACK * K_PACK;
    int64_t low = start > block->k0 ? start : block->k0, high = start + term->k < end ? start + term->k : end;
    if (low < high) {
      struct part part = {side_b ? &term->b : &term->a, low - start, high - low, low - block->k0};
      pack_part(to, panel_size, width, &part, job->compute, first, rows, panels);
    }
    start += padded;
  }
}

static void matrix_load(float *dst, const struct gemm_matrix *x, int64_t row, int64_t col, int64_t n) {
  uint32_t size = dtype_bytes(x->dtype);
  int64_t stored = x->index ? x->index[row] : row;
  const char *at = (const char *)x->data + (stored * x->row + col * x->col) * size;
  if (x->col == 1) load_f32(dst, at, x->dtype, n);
  else
    for (int64_t i = 0; i < n; i++) load_f32(dst + i, at + i * x->col * size, x->dtype, 1);
}

static void matrix_store(const struct gemm_matrix *x, const float *src, int64_t row, int64_t col, int64_t n) {
  uint32_t size = dtype_bytes(x->dtype);
  int64_t stored = x->index ? x->index[row] : row;
  char *at = (char *)x->data + (stored * x->row + col * x->col) * size;
  if (x->col == 1) store_f32(at, x->dtype, src, n);
  else
    for (int64_t i = 0; i < n; i++) store_f32(at + i * x->col * size, x->dtype, src + i, 1);
}

static void mask_tile(const struct gemm_job *job, float *tile, int64_t ld, int64_t row, int64_t col, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; i++)
    drop_numbers(tile + i * ld, job->mask + (row + i) * job->mask_line, job->mask_step, col, cols, job->keep_scale);
}

/* Stores a finished tile: everything of the job but the products. */
static void store_tile(const struct gemm_job *job, float *tile, int64_t ld, int64_t row, int64_t col, int64_t rows, int64_t cols) {
  float bias[GROUP_NUMBERS], other[GROUP_NUMBERS];
  if (job->bias.data) matrix_load(bias, &job->bias, 0, col, cols);
  for (int64_t i = 0; i < rows; i++) {
    float *restrict sum = tile + i * ld;
    if (job->alpha != 1.0f)
      for (int64_t j = 0; j < cols; j++) sum[j] *= job->alpha;
    if (job->bias.data)
      for (int64_t j = 0; j < cols; j++) sum[j] += bias[j];
    if (job->residual.data) {
      matrix_load(other, &job->residual, row + i, col, cols);
      for (int64_t j = 0; j < cols; j++) sum[j] += other[j];
    }
    if (job->beta != 0.0f) {
      matrix_load(other, &job->c, row + i, col, cols);
      for (int64_t j = 0; j < cols; j++) sum[j] += job->beta * other[j];
    }
    matrix_store(&job->c, sum, row + i, col, cols);
  }
}

/* Adds the block's k to one tile of sums, and stores it after the last k. */
static void multiply_tile(const struct gemm_block *block, int64_t index) {
  int64_t across = (block->nb + block->tile_n - 1) / block->tile_n;
  int64_t row = index / across * block->tile_m, col = index % across * block->tile_n;
  int64_t rows = block->mb - row < block->tile_m ? block->mb - row : block->tile_m;
  int64_t cols = block->nb - col < block->tile_n ? block->nb - col : block->tile_n;
  int64_t k = block->kb / K_PACK, ld = block->tile_n;
  float *tile = block->tiles + index * block->tile_m * block->tile_n;
  for (int64_t j = 0; j < cols; j += MICRO_COLS) {
    const float *b = block->b + (col + j) * k;
    for (int64_t i = 0; i < rows; i += MICRO_ROWS) {
      const float *a = block->a + (row + i) * k;
      int64_t left = rows - i < MICRO_ROWS ? rows - i : MICRO_ROWS;
      if (cols - j > MICRO_COLS - LANES) micro_rows(left, k, a, MICRO_ROWS, b, MICRO_COLS, tile + i * ld + j, ld, !block->first, MICRO_VECS);
      else micro_block(left, cols - j, k, a, MICRO_ROWS, b, MICRO_COLS, tile + i * ld + j, ld, !block->first);
    }
  }
  if (block->mask) mask_tile(block->job, tile, ld, block->m0 + row, block->n0 + col, rows, cols);
  if (block->last) store_tile(block->job, tile, ld, block->m0 + row, block->n0 + col, rows, cols);
}

const struct gemm_isa GEMM_ISA = {MICRO_ROWS, MICRO_COLS, K_PACK, pack_panels, multiply_tile};
