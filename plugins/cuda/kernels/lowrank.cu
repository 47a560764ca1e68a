/* lowrank.cu - see lowrank.cuh. The result is large and the ranks are few, so memory
 * bounds it: a block keeps its columns of b, goes down the rows of a, and fetches the next
 * ones while it writes. */
#include "lowrank.cuh"

#include "attention_tile.cuh"

namespace {

constexpr int ROWS = 64, COLS = 128, THREADS = 256;
constexpr int WARP_ROWS = 16, WARP_COLS = 64; /* eight warps, four by two */
constexpr int BLOCKS = 3;             /* on a multiprocessor, where shared memory allows */
constexpr int64_t RANKS_MOST = 256; /* so that tiles fit in shared memory */
constexpr int EIGHTS = ROWS * (COLS / 8) / THREADS; /* a thread writes */

template <typename T> struct operands {
  const T *a, *b, *add;
  T *dst;
  int64_t a_row, b_row, add_row, dst_row;
  const uint8_t *mask;
  int64_t mask_row;
  int m, n, r;
  int depth; /* r rounded up to 16: ranks behind r are 0 */
  float factor;
  int vectors; /* everything begins at multiples of 16 bytes */
};

/* Elements from one row of a tile of a to the next: rows lie in different banks. */
__host__ __device__ constexpr int pitch_of(int depth) { return depth + 8; }

/* Shared memory: b, a tile of a, the result on its way out. */
template <typename T> size_t shared_bytes(int depth) {
  return sizeof(T) * ((size_t)depth * PITCH<T, COLS> + (size_t)ROWS * pitch_of(depth) + (size_t)ROWS * PITCH<T, COLS>);
}

/* Rows [row, row + tile_rows) and columns [col, col + tile_cols) of a matrix; what lies
 * outside is 0. */
template <typename T>
__device__ __forceinline__ void load(T *tile, int tile_pitch, int tile_rows, int tile_cols, const T *from, int64_t pitch, int row, int rows, int col, int cols, int vectors) {
  for (int i = threadIdx.x; !vectors && i < tile_rows * tile_cols; i += THREADS) {
    int r = i / tile_cols, c = i % tile_cols;
    tile[r * tile_pitch + c] = row + r < rows && col + c < cols ? from[(row + r) * pitch + col + c] : from_f32<T>(0.0f);
  }
  int pieces = tile_cols / 8;
  for (int i = threadIdx.x; vectors && i < tile_rows * pieces; i += THREADS) {
    int r = i / pieces, c = i % pieces * 8;
    bool zero = row + r >= rows || col + c >= cols;
    copy_async(tile + r * tile_pitch + c, zero ? from : from + (row + r) * pitch + col + c, zero);
  }
}

/* acc = the warp's rows of a times its columns of b. */
template <typename T> __device__ __forceinline__ void multiply(float (&acc)[8][4], const T *a, const T *b, int depth) {
  int lane = threadIdx.x % WARP;
  a += lane % 16 * pitch_of(depth) + lane / 16 * 8;
  b += lane % 16 * PITCH<T, COLS> + lane / 16 * 8;
#pragma unroll 2
  for (int k = 0; k < depth; k += 16) {
    uint32_t left[4];
    load_matrices(left, a + k);
#pragma unroll
    for (int c = 0; c < WARP_COLS; c += 16) {
      uint32_t right[4];
      load_matrices_turned(right, b + k * PITCH<T, COLS> + c);
      mma(acc[c / 8], left, right[0], right[1], T());
      mma(acc[c / 8 + 1], left, right[2], right[3], T());
    }
  }
}

/* Where the thread's part i of a tile lies. */
struct place {
  int row, col, inside;
};

template <typename T> __device__ __forceinline__ place place_of(const operands<T> &o, int row, int col, int i) {
  int at = threadIdx.x + i * THREADS;
  place p = {row + at / (COLS / 8), col + at % (COLS / 8) * 8, 0};
  p.inside = p.row < o.m && p.col < o.n;
  return p;
}

/* Ones in the halves of a word whose values two bits keep. */
__device__ __forceinline__ uint32_t halves(uint32_t bits) { return (bits & 1 ? 0x0000FFFFu : 0u) | (bits & 2 ? 0xFFFF0000u : 0u); }

/* Eight values under the bits of a byte: those dropped become 0. */
template <typename T> __device__ __forceinline__ vec<T, 8> keep(const T *from, uint32_t bits) {
  uint4 x = *(const uint4 *)from;
  x.x &= halves(bits);
  x.y &= halves(bits >> 2);
  x.z &= halves(bits >> 4);
  x.w &= halves(bits >> 6);
  return *(vec<T, 8> *)&x;
}

template <typename T> __device__ __forceinline__ void write_eight(const operands<T> &o, vec<T, 8> x, int row, int col) {
  const T *add = o.add + row * o.add_row + col;
  T *to = o.dst + row * o.dst_row + col;
  for (int i = 0; o.add && i < 8; i++) x.v[i] = from_f32<T>(to_f32(x.v[i]) + to_f32(add[i]));
  if (o.vectors) store_vec<T, 8>(to, x);
  else
    for (int i = 0; i < 8; i++) to[i] = x.v[i];
}

template <typename T> __device__ __forceinline__ void store_tile(T *out, const float (&acc)[8][4], float factor) {
  int lane = threadIdx.x % WARP;
  out += lane / 4 * PITCH<T, COLS> + lane % 4 * 2;
#pragma unroll
  for (int n = 0; n < 8; n++) {
    *(uint32_t *)(out + n * 8) = pack(acc[n][0] * factor, acc[n][1] * factor, T());
    *(uint32_t *)(out + n * 8 + 8 * PITCH<T, COLS>) = pack(acc[n][2] * factor, acc[n][3] * factor, T());
  }
}

template <typename T> __global__ void __launch_bounds__(THREADS, BLOCKS) product(const __grid_constant__ operands<T> o) {
  extern __shared__ __align__(16) unsigned char shared[];
  int pitch = pitch_of(o.depth), col = blockIdx.x * COLS, warp = threadIdx.x / WARP, step = gridDim.y * ROWS;
  int warp_row = warp / 2 * WARP_ROWS, warp_col = warp % 2 * WARP_COLS;
  T *b = (T *)shared, *a = b + o.depth * PITCH<T, COLS>, *out = a + ROWS * pitch;
  int row = blockIdx.y * ROWS;
  load(b, PITCH<T, COLS>, o.depth, COLS, o.b, o.b_row, 0, o.r, col, o.n, o.vectors);
  load(a, pitch, ROWS, o.depth, o.a, o.a_row, row, o.m, 0, o.r, o.vectors);
  for (; row < o.m; row += step) {
    uint32_t bits[EIGHTS];
#pragma unroll
    for (int i = 0; i < EIGHTS; i++) {
      place p = place_of(o, row, col, i);
      bits[i] = p.inside ? o.mask[p.row * o.mask_row + p.col / 8] : 0;
    }
    wait_copies();
    __syncthreads();
    float acc[8][4] = {};
    multiply(acc, a + warp_row * pitch, b + warp_col, o.depth);
    store_tile(out + warp_row * PITCH<T, COLS> + warp_col, acc, o.factor);
    __syncthreads();
    load(a, pitch, ROWS, o.depth, o.a, o.a_row, row + step, o.m, 0, o.r, o.vectors);
#pragma unroll
    for (int i = 0; i < EIGHTS; i++) {
      place p = place_of(o, row, col, i);
      if (p.inside) write_eight(o, keep(out + (p.row - row) * PITCH<T, COLS> + p.col - col, bits[i]), p.row, p.col);
    }
  }
  wait_copies();
}

template <typename T> void launch(const struct lowrank *job, const struct gpu *gpu, cudaStream_t stream) {
  int depth = (int)divide_up(job->a.cols, 16) * 16, aligned = is_aligned16(job->a.data, job->b.data, job->dst.data) && is_aligned16(job->add.data);
  operands<T> o = {(const T *)job->a.data, (const T *)job->b.data, (const T *)job->add.data, (T *)job->dst.data, job->a.row, job->b.row, job->add.row, job->dst.row,
                   (const uint8_t *)job->mask->data, job->mask->stride[0], (int)job->a.rows, (int)job->b.cols, (int)job->a.cols, depth, job->factor, aligned};
  size_t bytes = shared_bytes<T>(depth);
  int resident = 1;
  cudaFuncSetAttribute(product<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes<T>(RANKS_MOST));
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, product<T>, THREADS, bytes);
  int64_t across = divide_up(o.n, COLS), down = divide_up(o.m, ROWS), lines = (int64_t)gpu->multiprocessors * resident / across;
  lines = lines < 1 ? 1 : lines < down ? lines : down;
  product<T><<<dim3((unsigned)across, (unsigned)lines), THREADS, bytes, stream>>>(o);
}

int is_aligned(const struct matrix *x, uint32_t dtype) { return x->dtype == dtype && x->col == 1 && x->row % 8 == 0; }

} // namespace

int lowrank_serves(const struct lowrank *job) {
  uint32_t dtype = job->dst.dtype;
  if (dtype != TRAINER_BF16 && dtype != TRAINER_F16) return 0;
  if (!is_aligned(&job->a, dtype) || !is_aligned(&job->b, dtype) || !is_aligned(&job->dst, dtype)) return 0;
  if (job->add.rows && !is_aligned(&job->add, dtype)) return 0;
  return job->mask->stride[1] == 1 && job->b.cols % 8 == 0 && job->a.cols % 8 == 0 && job->a.cols <= RANKS_MOST;
}

void lowrank_run(const struct lowrank *job, const struct gpu *gpu, cudaStream_t stream) {
  if (job->a.rows == 0 || job->b.cols == 0) return;
  if (job->dst.dtype == TRAINER_BF16) launch<bf16>(job, gpu, stream);
  else launch<f16>(job, gpu, stream);
}
