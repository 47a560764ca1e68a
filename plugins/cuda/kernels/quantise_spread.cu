/* quantise_spread.cu - QUANTISE to AFFINE (HQQ, Badri & Shaji 2023), BIASED (MLX) and INT8:
 * first how the numbers of each group spread over the codes, then the codes.
 *
 * A team of threads works on one group: a warp where its elements lie side by side, one
 * thread where groups are interleaved, so that neighbours read side by side either way. The
 * rounds of HQQ are launched all; a flag on the device says when they have ended. Sums
 * are f64, in an order that depends on sizes only. */
#include "matrix.cuh"
#include "quantise.cuh"

#define THREADS QUANTISE_THREADS
#define JUDGE_THREADS 1024

/* Groups of a weight, and scratch of each. */
struct groups {
  int64_t count, size;
  float *by, *zero; /* f32 [count] */
};

/* What the rounds know of each other. */
struct solver {
  double best;
  int32_t ended;
};

static __device__ __forceinline__ double warp_add(double x) {
  for (int lane = WARP / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, lane);
  return x;
}

/* The sum of all threads of a block, for thread 0. */
template <int N> static __device__ double block_add(double x) {
  __shared__ double shared[N / WARP];
  x = warp_add(x);
  if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = x;
  __syncthreads();
  return threadIdx.x < WARP ? warp_add(threadIdx.x < N / WARP ? shared[threadIdx.x] : 0.0) : 0.0;
}

template <int TEAM> static __device__ __forceinline__ int64_t team_group() { return ((int64_t)blockIdx.x * THREADS + threadIdx.x) / TEAM; }

/* Where element i of group g lies. */
template <int TEAM> static __device__ __forceinline__ int64_t member(const struct groups &l, int64_t g, int64_t i) {
  return TEAM == 1 ? i * l.count + g : g * l.size + i;
}

/* ---- ranges ---- */

/* Also stores the scales of formats whose scales are not moved again, and begins the rounds. */
template <typename T, int TEAM>
static __global__ void __launch_bounds__(THREADS) range_of_groups(const struct groups l, const T *x, trainer_quant_format f, float *scale, float *zero, struct solver *solver) {
  int64_t g = team_group<TEAM>();
  int lane = threadIdx.x % TEAM;
  if (solver && blockIdx.x == 0 && threadIdx.x == 0) *solver = {__longlong_as_double(0x7FF0000000000000ll), 0};
  if (g >= l.count) return;
  float low = to_f32(x[member<TEAM>(l, g, 0)]), high = low;
  for (int64_t i = lane; i < l.size; i += TEAM) {
    float v = to_f32(x[member<TEAM>(l, g, i)]);
    low = quant_smaller(low, v);
    high = quant_larger(high, v);
  }
  if (TEAM > 1) {
    low = -warp_largest(-low);
    high = warp_largest(high);
  }
  if (lane > 0) return;
  struct quant_spread s;
  if (f.format == TRAINER_FORMAT_AFFINE) s = quant_affine(low, high, f.bits);
  else if (f.format == TRAINER_FORMAT_BIASED) {
    s = quant_biased(low, high, f.bits);
    scale[g] = s.by;
    zero[g] = s.zero;
  } else {
    float absmax = quant_larger(fabsf(low), fabsf(high));
    s = quant_int8(absmax);
    scale[g] = quant_div(absmax, 127.0f);
  }
  l.by[g] = s.by;
  l.zero[g] = s.zero;
}

/* ---- HQQ's rounds ---- */

template <typename T, int TEAM>
static __global__ void __launch_bounds__(THREADS) round_of_groups(const struct groups l, const T *x, float top, double *errors, const struct solver *solver) {
  if (solver->ended) return;
  int64_t g = team_group<TEAM>();
  int lane = threadIdx.x % TEAM;
  double error = 0.0, moved = 0.0;
  if (g < l.count) {
    struct quant_spread s = {l.by[g], l.zero[g]};
    for (int64_t i = lane; i < l.size; i += TEAM) {
      float v = to_f32(x[member<TEAM>(l, g, i)]), code = quant_affine_code(v, s, top), off = quant_off(v, code, s);
      error += (double)fabsf(off);
      moved += (double)quant_moved(v, code, quant_shrunk(off), s);
    }
    if (TEAM > 1) moved = warp_add(moved);
    if (lane == 0) l.zero[g] = (float)(moved / (double)l.size);
  }
  error = block_add<THREADS>(error);
  if (threadIdx.x == 0) errors[blockIdx.x] = error;
}

/* Ends the rounds where the last one did not improve the error of the whole weight. */
static __global__ void __launch_bounds__(JUDGE_THREADS) judge_round(const double *errors, int64_t n, struct solver *solver) {
  if (solver->ended) return;
  double error = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += JUDGE_THREADS) error += errors[i];
  error = block_add<JUDGE_THREADS>(error);
  if (threadIdx.x > 0) return;
  if (error < solver->best) solver->best = error;
  else solver->ended = 1;
}

/* ---- codes ---- */

/* Eight elements a thread: whole bytes. */
template <typename T>
static __global__ void __launch_bounds__(THREADS) encode_units(uint8_t *codes, const struct groups l, const T *x, int64_t n, trainer_quant_format f) {
  int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 8;
  if (at >= n) return;
  int count = n - at < 8 ? (int)(n - at) : 8;
  uint64_t word = 0;
  for (int i = 0; i < count; i++) {
    int64_t g = f.interleaved ? quant_modulo(at + i, l.count) : quant_divide(at + i, f.group);
    float code = quant_spread_code(f.format, to_f32(x[at + i]), {l.by[g], l.zero[g]}, quant_top(f.bits));
    word |= (uint64_t)((uint32_t)(int32_t)code & 255u) << i * f.bits;
  }
  bits_store(codes + at / 8 * f.bits, (int)bits_bytes(count, f.bits), word, f.bits, 1);
}

/* ---- scales of AFFINE ---- */

static __global__ void __launch_bounds__(THREADS) store_scales(float *scale, float *zero, const struct groups l) {
  int64_t g = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (g >= l.count) return;
  scale[g] = quant_div(1.0f, l.by[g]);
  zero[g] = l.zero[g];
}

/* Stores scales (1 / x where they are inverse) or zeros x [count] in 8 bits, interleaved: a
 * thread has one second-level group. */
static __global__ void __launch_bounds__(THREADS) nest_scales(uint8_t *codes, float *scale, float *zero, const float *x, int64_t count, int64_t outer, int inverse) {
  int64_t o = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (o >= outer) return;
  float low = inverse ? quant_div(1.0f, x[o]) : x[o], high = low;
  for (int64_t g = o; g < count; g += outer) {
    float v = inverse ? quant_div(1.0f, x[g]) : x[g];
    low = quant_smaller(low, v);
    high = quant_larger(high, v);
  }
  struct quant_spread s = quant_affine(low, high, 8);
  for (int64_t g = o; g < count; g += outer) codes[g] = (uint8_t)quant_affine_code(inverse ? quant_div(1.0f, x[g]) : x[g], s, quant_top(8));
  scale[o] = quant_div(1.0f, s.by);
  zero[o] = s.zero;
}

static void launch_nest(const struct call *call, uint32_t slot, uint32_t scale, uint32_t zero, const float *x, const struct quant *q) {
  const struct view *w = call->out;
  nest_scales<<<(unsigned)divide_up(q->outer, THREADS), THREADS, 0, call->stream>>>((uint8_t *)w[slot].data, (float *)w[scale].data, (float *)w[zero].data, x,
                                                                                   q->groups, q->outer, slot == TRAINER_WEIGHT_SCALE);
}

/* ---- the whole ---- */

struct room {
  struct groups groups;
  double *errors; /* of each block of threads */
  struct solver *solver;
  uint64_t bytes;
};

static int64_t blocks_of(const trainer_quant_format *f, int64_t groups) { return divide_up(groups, f->interleaved ? THREADS : THREADS / WARP); }

static struct room room_in(void *workspace, const trainer_quant_format *f, int64_t n) {
  struct scratch scratch = {(char *)workspace, 0};
  struct room room = {};
  int64_t count = quant_groups(f, n);
  room.groups = {count, (int64_t)f->group, (float *)scratch_take(&scratch, (uint64_t)count * sizeof(float)), (float *)scratch_take(&scratch, (uint64_t)count * sizeof(float))};
  room.errors = (double *)scratch_take(&scratch, (uint64_t)blocks_of(f, count) * sizeof(double));
  room.solver = (struct solver *)scratch_take(&scratch, sizeof(struct solver));
  room.bytes = scratch.bytes;
  return room;
}

uint64_t spread_workspace(const trainer_quant_format *f, int64_t n) { return room_in(NULL, f, n).bytes; }

template <typename T, int TEAM> static void find_spreads(const struct call *call, const trainer_quant_format *f, const struct room *room) {
  unsigned grid = (unsigned)blocks_of(f, room->groups.count);
  int affine = f->format == TRAINER_FORMAT_AFFINE;
  const T *x = (const T *)call->in[0].data;
  range_of_groups<T, TEAM><<<grid, THREADS, 0, call->stream>>>(room->groups, x, *f, (float *)call->out[TRAINER_WEIGHT_SCALE].data,
                                                               (float *)call->out[TRAINER_WEIGHT_ZERO].data, affine ? room->solver : NULL);
  for (int round = 0; affine && round < QUANT_ROUNDS; round++) {
    round_of_groups<T, TEAM><<<grid, THREADS, 0, call->stream>>>(room->groups, x, quant_top(f->bits), room->errors, room->solver);
    judge_round<<<1, JUDGE_THREADS, 0, call->stream>>>(room->errors, grid, room->solver);
  }
}

template <typename T> static void quantise_as(const struct call *call, const trainer_quant_format *f, const struct room *room) {
  int64_t n = call->in[0].count;
  if (f->interleaved) find_spreads<T, 1>(call, f, room);
  else find_spreads<T, WARP>(call, f, room);
  encode_units<T><<<(unsigned)divide_up(divide_up(n, 8), THREADS), THREADS, 0, call->stream>>>((uint8_t *)call->out[TRAINER_WEIGHT_DATA].data, room->groups,
                                                                                              (const T *)call->in[0].data, n, *f);
}

void quantise_spread(const struct call *call, const trainer_quant_format *f) {
  const struct view *w = call->out;
  struct room room = room_in(call->workspace, f, call->in[0].count);
  struct quant q = quant_of(w, f, call->in[0].count);
  WITH_FLOAT(T, call->in[0].dtype, quantise_as<T>(call, f, &room));
  if (f->format != TRAINER_FORMAT_AFFINE) return;
  if (f->nested_group) {
    launch_nest(call, TRAINER_WEIGHT_SCALE, TRAINER_WEIGHT_SCALE_SCALE, TRAINER_WEIGHT_SCALE_ZERO, room.groups.by, &q);
    launch_nest(call, TRAINER_WEIGHT_ZERO, TRAINER_WEIGHT_ZERO_SCALE, TRAINER_WEIGHT_ZERO_ZERO, room.groups.zero, &q);
    return;
  }
  store_scales<<<(unsigned)divide_up(q.groups, THREADS), THREADS, 0, call->stream>>>((float *)w[TRAINER_WEIGHT_SCALE].data, (float *)w[TRAINER_WEIGHT_ZERO].data, room.groups);
}
