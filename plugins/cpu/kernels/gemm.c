/* gemm.c - cuts a product into blocks for the caches and tiles for the threads, and
 * the portable instruction set. */
#define GEMM_ISA gemm_isa_scalar
#include "gemm_body.h"

#define BLOCK_M 1024
#define BLOCK_N 1024
#define BLOCK_K 384
#define TILE_N 256
#define TILE_PANELS 8 /* of A in a tile */
#define TILES_WANTED 16

static int power_of_two(float x) { return (f32_bits(x) & 0x7FFFFFu) == 0 && x != 0.0f; }

/* Pairs of bf16 hold what was rounded; a factor that would need rounding again rules them out. */
static int fits_pairs(const struct gemm_job *job) {
  if (job->compute != TRAINER_BF16) return 0;
  for (uint32_t t = 0; t < job->n_terms; t++)
    if (!power_of_two(job->terms[t].a.factor) || !power_of_two(job->terms[t].b.factor)) return 0;
  return 1;
}

static const struct gemm_isa *choose(enum isa isa, int pairs) {
  switch (isa) {
#if defined(__x86_64__)
  case ISA_AVX512BF16: return pairs ? &gemm_isa_avx512bf16 : &gemm_isa_avx512;
  case ISA_AVX512: return &gemm_isa_avx512;
  case ISA_AVX2: return &gemm_isa_avx2;
#elif defined(__aarch64__)
  case ISA_NEON: return &gemm_isa_neon;
#endif
  default: (void)pairs; return &gemm_isa_scalar;
  }
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
static int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/* Tiles of the largest block: halved while a product is too small to share out. */
static void choose_tile(const struct gemm_isa *isa, int64_t m, int64_t n, int64_t *tile_m, int64_t *tile_n) {
  *tile_m = isa->mr * TILE_PANELS;
  *tile_n = TILE_N / isa->nr * isa->nr;
  while (divide_up(m, *tile_m) * divide_up(n, *tile_n) < TILES_WANTED) {
    int wide = *tile_n > 2 * isa->nr;
    if (!wide && *tile_m <= 2 * isa->mr) break;
    if (wide) *tile_n = *tile_n / isa->nr / 2 * isa->nr;
    else *tile_m = *tile_m / isa->mr / 2 * isa->mr;
  }
}

/* Sizes of the panels and sums of a product, in f32. */
struct room {
  uint64_t a, b, tiles;
};

static struct room room_for(const struct gemm_isa *isa, int64_t m, int64_t n, int64_t k) {
  int64_t mb = round_up(min64(m, BLOCK_M), isa->mr * TILE_PANELS), nb = round_up(min64(n, BLOCK_N), TILE_N / isa->nr * isa->nr);
  int64_t kb = round_up(min64(k, BLOCK_K), 2);
  return (struct room){gemm_align((uint64_t)(mb * kb) * 4), gemm_align((uint64_t)(nb * kb) * 4), gemm_align((uint64_t)(mb * nb) * 4)};
}

uint64_t gemm_workspace(enum isa isa, int64_t m, int64_t n, int64_t k) {
  struct room room = room_for(choose(isa, 0), m, n, k);
  return room.a + room.b + room.tiles;
}

/* Panels packed by one task: enough that a line of either side is read in long runs. */
static int64_t group_panels(int side_b, const struct gemm_isa *isa) {
  return side_b ? TILE_N / isa->nr : TILE_PANELS;
}

static int64_t pack_groups(const struct gemm_block *block, int side_b) {
  int64_t numbers = group_panels(side_b, block->isa) * (side_b ? block->isa->nr : block->isa->mr);
  return divide_up(side_b ? block->nb : block->mb, numbers);
}

/* Tasks of side B come first: they are the longer ones. */
static void pack_task(void *arg, int64_t task, uint32_t worker) {
  const struct gemm_block *block = arg;
  int64_t groups_b = block->pack_b ? pack_groups(block, 1) : 0;
  int side_b = task < groups_b;
  int64_t width = side_b ? block->isa->nr : block->isa->mr, group = group_panels(side_b, block->isa);
  int64_t first = (side_b ? task : task - groups_b) * group;
  int64_t panels = divide_up(side_b ? block->nb : block->mb, width) - first;
  (void)worker;
  block->isa->pack(block, side_b, first, min64(panels, group));
}

static void tile_task(void *arg, int64_t task, uint32_t worker) {
  const struct gemm_block *block = arg;
  (void)worker;
  block->isa->tile(block, task);
}

static void run_tasks(struct pool *pool, int64_t tasks, void (*fn)(void *, int64_t, uint32_t), void *arg) {
  if (pool) {
    pool_run(pool, tasks, fn, arg);
    return;
  }
  for (int64_t task = 0; task < tasks; task++) fn(arg, task, 0);
}

static void run_block(struct gemm_block *block, struct pool *pool) {
  int64_t packs = (block->pack_a ? pack_groups(block, 0) : 0) + (block->pack_b ? pack_groups(block, 1) : 0);
  if (block->kb > 0) run_tasks(pool, packs, pack_task, block);
  int64_t tiles = divide_up(block->mb, block->tile_m) * divide_up(block->nb, block->tile_n);
  run_tasks(pool, tiles, tile_task, block);
}

/* The blocks of k: those of the masked terms, then the others, each of about one size. */
struct k_blocks {
  int64_t masked, total; /* padded k of the masked and of all terms */
  int64_t stored;        /* k of all terms as it is */
  int64_t masked_size, rest_size;
};

static int64_t block_size(int64_t k, int64_t k_pack) {
  if (k == 0) return 0;
  return round_up(divide_up(k, divide_up(k, BLOCK_K)), k_pack);
}

static struct k_blocks cut_k(const struct gemm_job *job, const struct gemm_isa *isa) {
  struct k_blocks cut = {0};
  for (uint32_t t = 0; t < job->n_terms; t++) {
    cut.total += round_up(job->terms[t].k, isa->k_pack);
    cut.stored += job->terms[t].k;
    if (t < job->n_masked) cut.masked = cut.total;
  }
  cut.masked_size = block_size(cut.masked, isa->k_pack);
  cut.rest_size = block_size(cut.total - cut.masked, isa->k_pack);
  return cut;
}

/* Sets the block's k to what begins at k0; 0 behind the end. Without any k there is one
 * empty block, which stores the rest of the job. */
static int next_k(struct gemm_block *block, const struct k_blocks *cut, int64_t k0) {
  if (k0 >= cut->total && k0 > 0) return 0;
  int masked = k0 < cut->masked;
  int64_t end = masked ? cut->masked : cut->total;
  block->k0 = k0;
  block->kb = min64(masked ? cut->masked_size : cut->rest_size, end - k0);
  block->first = k0 == 0;
  block->mask = masked && k0 + block->kb == cut->masked;
  block->last = k0 + block->kb == cut->total;
  return 1;
}

void gemm_run(const struct gemm_job *job, struct pool *pool, void *workspace) {
  if (job->m <= 0 || job->n <= 0) return;
  const struct gemm_isa *isa = choose(job->isa, fits_pairs(job));
  struct k_blocks cut = cut_k(job, isa);
  struct room room = room_for(isa, job->m, job->n, cut.stored);
  char *at = workspace;
  struct gemm_block block = {.job = job, .isa = isa, .a = (float *)(void *)at, .b = (float *)(void *)(at + room.a), .tiles = (float *)(void *)(at + room.a + room.b)};
  int64_t block_m = BLOCK_M / isa->mr * isa->mr, block_n = BLOCK_N / isa->nr * isa->nr;
  int one_m = job->m <= block_m, one_k = cut.total <= BLOCK_K && cut.masked == 0;
  choose_tile(isa, min64(job->m, block_m), min64(job->n, block_n), &block.tile_m, &block.tile_n);
  for (block.n0 = 0; block.n0 < job->n; block.n0 += block_n) {
    block.nb = min64(block_n, job->n - block.n0);
    for (block.m0 = 0; block.m0 < job->m; block.m0 += block_m) {
      block.mb = min64(block_m, job->m - block.m0);
      for (int64_t k0 = 0; next_k(&block, &cut, k0); k0 += block.kb ? block.kb : 1) {
        block.pack_a = !(one_m && one_k && block.n0 > 0);
        block.pack_b = !(one_k && block.m0 > 0);
        run_block(&block, pool);
      }
    }
  }
}

struct gemm_source gemm_dense(const void *data, uint32_t dtype, int64_t row, int64_t k) {
  struct gemm_source s = {.data = data, .dtype = dtype, .factor = 1.0f, .keep_scale = 1.0f};
  s.k_major = k != 1 && row == 1;
  s.line = s.k_major ? k : row;
  s.step = s.k_major ? row : k;
  return s;
}

struct gemm_job gemm_job_make(enum isa isa, uint32_t compute, int64_t m, int64_t n, const struct gemm_term *terms, uint32_t n_terms) {
  return (struct gemm_job){.m = m, .n = n, .terms = terms, .n_terms = n_terms, .compute = compute, .isa = isa, .alpha = 1.0f, .keep_scale = 1.0f};
}
