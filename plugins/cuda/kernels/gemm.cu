/* gemm.cu - see gemm.cuh. */
#include "gemm.cuh"

#define TILE 64
#define DEPTH 16
#define THREADS 256
#define GRID_MOST 65535 /* blocks in the second and third dimension */

struct gemm gemm_of(uint32_t compute, struct matrix a, struct matrix b, struct matrix d) {
  struct gemm gemm = {a, b, d, d, {}, compute, 1.0f, 0.0f};
  return gemm;
}

struct gemm gemm_onto(uint32_t compute, struct matrix a, struct matrix b, struct matrix c, struct matrix d) {
  struct gemm gemm = {a, b, c, d, {}, compute, 1.0f, 1.0f};
  return gemm;
}

/* ---- by cuBLASLt ---- */

static int is_transposed_rows(const struct matrix *m) {
  struct matrix t = matrix_transposed(*m);
  return matrix_is_rows(&t);
}

int gemm_reads(const struct matrix *x, uint32_t compute) { return x->dtype == compute && (matrix_is_rows(x) || is_transposed_rows(x)); }

int gemm_writes(const struct matrix *d, uint32_t compute) { return (d->dtype == TRAINER_F32 || d->dtype == compute) && matrix_is_rows(d); }

static struct blas_matrix blas_side(const struct matrix *m, int64_t step) {
  int transposed = !matrix_is_rows(m);
  struct matrix rows = transposed ? matrix_transposed(*m) : *m;
  struct blas_matrix side = {m->dtype, transposed, rows.rows == 1 ? rows.cols : rows.row, step};
  return side;
}

/* The innermost batch dimension is the library's, the others are looped over. */
static int64_t batch_inner(const struct gemm_batch *batch) { return batch->rank ? batch->shape[batch->rank - 1] : 1; }

static int64_t step_of(const struct gemm_batch *batch, const int64_t *stride) { return batch->rank ? stride[batch->rank - 1] : 0; }

static int is_served(const struct gemm *g) {
  int same = g->c.dtype == g->d.dtype;
  return same && gemm_reads(&g->a, g->compute) && gemm_reads(&g->b, g->compute) && gemm_writes(&g->d, g->compute) && gemm_writes(&g->c, g->compute) &&
         g->d.rows > 0 && g->d.cols > 0 && g->a.cols > 0 && batch_inner(&g->batch) > 0 && batch_inner(&g->batch) <= INT32_MAX;
}

struct gemm_plan gemm_prepare(const struct gpu *gpu, const struct gemm *g) {
  struct gemm_plan plan = {};
  if (!gpu->blas || !is_served(g)) return plan;
  const struct gemm_batch *batch = &g->batch;
  struct blas_product product = {g->d.rows, g->d.cols, g->a.cols, batch_inner(batch), blas_side(&g->a, step_of(batch, batch->a)),
                                 blas_side(&g->b, step_of(batch, batch->b)), blas_side(&g->c, step_of(batch, batch->c)),
                                 blas_side(&g->d, step_of(batch, batch->d))};
  plan.blas = gpu->blas;
  plan.plan = blas_plan_create(gpu->blas, &product);
  return plan;
}

void gemm_discard(struct gemm_plan *plan) {
  if (plan->plan) blas_plan_destroy(plan->blas, plan->plan);
  plan->plan = NULL;
}

uint64_t gemm_workspace(const struct gemm_plan *plan) { return plan->plan ? blas_plan_workspace(plan->plan) : 0; }

static int is_aligned(const struct gemm *g) {
  uintptr_t all = (uintptr_t)g->a.data | (uintptr_t)g->b.data | (uintptr_t)g->c.data | (uintptr_t)g->d.data;
  return all % BLAS_ALIGNMENT == 0;
}

static int64_t batch_items(const struct gemm_batch *batch, uint32_t rank) {
  int64_t items = 1;
  for (uint32_t dim = 0; dim < rank; dim++) items *= batch->shape[dim];
  return items;
}

/* Offset of an item over the first `rank` dimensions. */
static __host__ __device__ int64_t batch_offset(const struct gemm_batch *batch, const int64_t *stride, uint32_t rank, int64_t item) {
  int64_t offset = 0;
  for (uint32_t dim = rank; dim-- > 0; item /= batch->shape[dim]) offset += item % batch->shape[dim] * stride[dim];
  return offset;
}

static void *moved(const struct matrix *m, int64_t elements) { return (char *)m->data + elements * list_dtype_bytes(m->dtype); }

static struct gemm outer_item(const struct gemm *g, uint32_t rank, int64_t item) {
  struct gemm one = *g;
  one.a.data = moved(&g->a, batch_offset(&g->batch, g->batch.a, rank, item));
  one.b.data = moved(&g->b, batch_offset(&g->batch, g->batch.b, rank, item));
  one.c.data = moved(&g->c, batch_offset(&g->batch, g->batch.c, rank, item));
  one.d.data = moved(&g->d, batch_offset(&g->batch, g->batch.d, rank, item));
  return one;
}

/* Every item begins at an aligned address. */
static int is_served_here(const struct gemm_plan *plan, const struct gemm *g, uint32_t outer) {
  if (!plan->plan) return 0;
  for (int64_t item = 0; item < batch_items(&g->batch, outer); item++) {
    struct gemm one = outer_item(g, outer, item);
    if (!is_aligned(&one)) return 0;
  }
  return 1;
}

/* ---- by the plain kernel ---- */

static __device__ __forceinline__ float load_rounded(const struct matrix *m, int64_t at, uint32_t compute) {
  float x = m->dtype == TRAINER_F32    ? ((const float *)m->data)[at]
            : m->dtype == TRAINER_BF16 ? to_f32(((const bf16 *)m->data)[at])
                                       : to_f32(((const f16 *)m->data)[at]);
  if (compute == TRAINER_BF16) return to_f32(from_f32<bf16>(x));
  return compute == TRAINER_F16 ? to_f32(from_f32<f16>(x)) : x;
}

static __device__ __forceinline__ void store_rounded(const struct matrix *m, int64_t at, float x) {
  if (m->dtype == TRAINER_F32) ((float *)m->data)[at] = x;
  else if (m->dtype == TRAINER_BF16) ((bf16 *)m->data)[at] = from_f32<bf16>(x);
  else ((f16 *)m->data)[at] = from_f32<f16>(x);
}

/* Brings a [TILE, DEPTH] or its transpose's piece of a side into shared memory as
 * [DEPTH][TILE]. Neighbouring threads take neighbouring addresses. */
static __device__ __forceinline__ void load_tile(float (*tile)[TILE + 4], const struct matrix *m, int64_t line, int64_t line_stride, int64_t lines, int64_t depth,
                                                 int64_t depth_stride, int64_t depths, int64_t offset, uint32_t compute) {
  for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
    int l = depth_stride == 1 ? i / DEPTH : i % TILE, k = depth_stride == 1 ? i % DEPTH : i / TILE;
    int inside = line + l < lines && depth + k < depths;
    tile[k][l] = inside ? load_rounded(m, offset + (line + l) * line_stride + (depth + k) * depth_stride, compute) : 0.0f;
  }
}

/* One tile of d a block; a thread owns 4 x 4 elements. */
static __device__ void gemm_tile(const struct gemm *g, int64_t row, int64_t col, int64_t item, float (*a)[TILE + 4], float (*b)[TILE + 4]) {
  const struct gemm_batch *batch = &g->batch;
  int64_t a_offset = batch_offset(batch, batch->a, batch->rank, item), b_offset = batch_offset(batch, batch->b, batch->rank, item);
  int64_t c_offset = batch_offset(batch, batch->c, batch->rank, item), d_offset = batch_offset(batch, batch->d, batch->rank, item);
  int y = threadIdx.x / 16 * 4, x = threadIdx.x % 16 * 4;
  float sum[4][4] = {};
  for (int64_t depth = 0; depth < g->a.cols; depth += DEPTH) {
    load_tile(a, &g->a, row, g->a.row, g->a.rows, depth, g->a.col, g->a.cols, a_offset, g->compute);
    load_tile(b, &g->b, col, g->b.col, g->b.cols, depth, g->b.row, g->b.rows, b_offset, g->compute);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < DEPTH; k++)
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) sum[i][j] += a[k][y + i] * b[k][x + j];
    __syncthreads();
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      int64_t r = row + y + i, c = col + x + j;
      if (r >= g->d.rows || c >= g->d.cols) continue;
      float value = g->alpha * sum[i][j];
      if (g->beta != 0.0f) value += g->beta * load_rounded(&g->c, c_offset + r * g->c.row + c * g->c.col, TRAINER_F32);
      store_rounded(&g->d, d_offset + r * g->d.row + c * g->d.col, value);
    }
}

static __global__ void __launch_bounds__(THREADS) gemm_kernel(const __grid_constant__ struct gemm g, int64_t row_tiles, int64_t items) {
  __shared__ float a[DEPTH][TILE + 4], b[DEPTH][TILE + 4];
  for (int64_t item = blockIdx.z; item < items; item += gridDim.z)
    for (int64_t row = blockIdx.y; row < row_tiles; row += gridDim.y) gemm_tile(&g, row * TILE, (int64_t)blockIdx.x * TILE, item, a, b);
}

static void run_plain(const struct gemm *g, cudaStream_t stream) {
  int64_t row_tiles = divide_up(g->d.rows, TILE), items = batch_items(&g->batch, g->batch.rank);
  if (row_tiles == 0 || g->d.cols == 0 || items == 0) return;
  dim3 grid((unsigned)divide_up(g->d.cols, TILE), (unsigned)(row_tiles < GRID_MOST ? row_tiles : GRID_MOST), (unsigned)(items < GRID_MOST ? items : GRID_MOST));
  gemm_kernel<<<grid, THREADS, 0, stream>>>(*g, row_tiles, items);
}

int32_t gemm_run(const struct call *call, const struct gemm_plan *plan, const struct gemm *g, void *workspace, char *text, uint64_t text_bytes) {
  uint32_t outer = g->batch.rank ? g->batch.rank - 1 : 0;
  if (!is_served_here(plan, g, outer)) {
    run_plain(g, call->stream);
    return launched(text, text_bytes);
  }
  for (int64_t item = 0; item < batch_items(&g->batch, outer); item++) {
    struct gemm one = outer_item(g, outer, item);
    int status = blas_run(plan->blas, plan->plan, one.alpha, one.a.data, one.b.data, one.beta, one.c.data, one.d.data, workspace, call->stream);
    if (status == 0) continue;
    snprintf(text, text_bytes, "cuBLASLt refused a product of %lld x %lld x %lld (its status is %d)", (long long)g->d.rows, (long long)g->d.cols, (long long)g->a.cols, status);
    return TRAINER_INTERNAL;
  }
  return TRAINER_OK;
}
