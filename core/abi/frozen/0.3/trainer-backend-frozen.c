/* trainer-backend-example.c - a whole backend in one file of plain loops.
 *
 * It runs the fourteen ops of tier 0 on the host's processor, which is enough to
 * fine-tune a model: every other op is composed of them. Nothing here is fast. Nothing
 * but the header of the border is needed to build it.
 *
 * From top to bottom: numbers, views, ops, lists, objects and handles, work, entries.
 */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <trainer/trainer_backend.h>

#define NO_RECORD 0xFFFFFFFFu
#define ALIGNMENT 64u
#define LIST_BYTES_MAX ((uint64_t)1 << 30)
#define MEMORY ((uint64_t)8 << 30) /* what the device says it has */
#define JOBS_MAX 256u /* of a queue */
#if defined(__APPLE__)
#define WAIT_CLOCK CLOCK_REALTIME /* what conditions wait by there */
#else
#define WAIT_CLOCK CLOCK_MONOTONIC
#endif

TRAINER_EXPORT const char trainer_backend_manifest[] =
    "{\"name\":\"example\",\"version\":\"1.0.0\",\"vendor\":\"trainer\","
    "\"description\":\"Plain loops over the mandatory ops: an example to read\","
    "\"abi_major\":0,\"abi_minor\":3,\"cpu_features\":[],\"open_seconds\":10}";

/* ---- structs and errors ---------------------------------------------------
 * Every struct begins with its size. A reader takes what both sides know. */

static uint32_t size_of(const void *given) {
  uint32_t size = 0;
  if (given) memcpy(&size, given, sizeof size);
  return size;
}

/* Reads a struct of the host; 0 where there is none. Fields it does not give are 0. */
static int read_struct(void *own, uint32_t bytes, const void *given) {
  uint32_t size = size_of(given);
  memset(own, 0, bytes);
  if (size < 8) return 0;
  memcpy(own, given, size < bytes ? size : bytes);
  return 1;
}

/* Fills a struct of the host as far as it reaches; its struct_size stays. */
static void write_struct(void *given, const void *own, uint32_t bytes) {
  uint32_t size = size_of(given);
  if (size > bytes) size = bytes;
  if (size > 4) memcpy((char *)given + 4, (const char *)own + 4, size - 4);
}

/* Where work failed, and why. */
struct failure {
  int32_t status;
  uint32_t record;
  uint64_t serial;
  char text[256];
};

static int32_t report(trainer_error *error, const struct failure *failure) {
  trainer_error own = {.status = failure->status, .list_serial = failure->serial, .record_index = failure->record};
  snprintf(own.text, sizeof own.text, "%s", failure->text);
  uint32_t size = size_of(error), head = (uint32_t)offsetof(trainer_error, text);
  if (size > head && size < sizeof own) own.text[size - head - 1] = 0;
  write_struct(error, &own, sizeof own);
  return failure->status;
}

static int32_t fail(trainer_error *error, int32_t status, const char *sentence) {
  struct failure failure = {.status = status, .record = NO_RECORD};
  snprintf(failure.text, sizeof failure.text, "%s", sentence);
  return report(error, &failure);
}

/* ---- numbers --------------------------------------------------------------
 * bf16 and f16 are storage: they become f32, and f32 rounds to them, to nearest even. */

static float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static uint32_t to_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static uint16_t to_bf16(float x) {
  uint32_t bits = to_bits(x);
  if (isnan(x)) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float from_f16(uint16_t h) {
  uint32_t exponent = h >> 10 & 31, fraction = h & 1023;
  float magnitude;
  if (exponent == 31) magnitude = fraction ? NAN : INFINITY;
  else if (exponent == 0) magnitude = ldexpf((float)fraction, -24);
  else magnitude = ldexpf((float)(fraction + 1024), (int)exponent - 25);
  return h & 0x8000 ? -magnitude : magnitude;
}

static uint16_t to_f16(float x) {
  uint16_t sign = (uint16_t)(to_bits(x) >> 16 & 0x8000);
  float magnitude = fabsf(x);
  int exponent;
  if (isnan(x)) return sign | 0x7E00;
  if (magnitude >= 65520) return sign | 0x7C00;
  if (magnitude < 0x1p-14f) return (uint16_t)(sign | (uint16_t)rintf(magnitude * 0x1p24f)); /* subnormal */
  frexpf(magnitude, &exponent); /* magnitude = fraction * 2^exponent, fraction in [0.5, 1) */
  /* 1024 to 2048 units of the last place; 2048 carries into the exponent by itself. */
  uint16_t units = (uint16_t)rintf(ldexpf(magnitude, 11 - exponent));
  return (uint16_t)(sign | (((exponent + 13) << 10) + units));
}

static uint32_t bytes_of(uint32_t dtype) {
  switch (dtype) {
  case TRAINER_F32:
  case TRAINER_I32: return 4;
  case TRAINER_BF16:
  case TRAINER_F16: return 2;
  case TRAINER_U8: return 1;
  default: return 0;
  }
}

static int is_float(uint32_t dtype) { return dtype == TRAINER_F32 || dtype == TRAINER_BF16 || dtype == TRAINER_F16; }

/* x rounded to a float dtype. */
static float rounded(uint32_t dtype, float x) {
  if (dtype == TRAINER_BF16) return from_bits((uint32_t)to_bf16(x) << 16);
  return dtype == TRAINER_F16 ? from_f16(to_f16(x)) : x;
}

/* ---- views ----------------------------------------------------------------
 * An operand: where it lies, and how its elements are spread. Strides are in elements. */

struct view {
  char *data; /* NULL where the operand is absent, and while a list is only checked */
  uint32_t dtype;
  uint32_t rank;
  int64_t count;
  int64_t shape[TRAINER_MAX_RANK];
  int64_t stride[TRAINER_MAX_RANK];
  int present;
};

static float load(const struct view *v, int64_t at) {
  switch (v->dtype) {
  case TRAINER_F32: return ((const float *)(const void *)v->data)[at];
  case TRAINER_BF16: return from_bits((uint32_t)((const uint16_t *)(const void *)v->data)[at] << 16);
  case TRAINER_F16: return from_f16(((const uint16_t *)(const void *)v->data)[at]);
  case TRAINER_I32: return (float)((const int32_t *)(const void *)v->data)[at];
  default: return ((const uint8_t *)v->data)[at];
  }
}

static int32_t load_int(const struct view *v, int64_t at) {
  return v->dtype == TRAINER_U8 ? ((const uint8_t *)v->data)[at] : ((const int32_t *)(const void *)v->data)[at];
}

static void store(const struct view *v, int64_t at, float x) {
  switch (v->dtype) {
  case TRAINER_F32: ((float *)(void *)v->data)[at] = x; break;
  case TRAINER_BF16: ((uint16_t *)(void *)v->data)[at] = to_bf16(x); break;
  case TRAINER_F16: ((uint16_t *)(void *)v->data)[at] = to_f16(x); break;
  case TRAINER_I32: ((int32_t *)(void *)v->data)[at] = (int32_t)x; break;
  default: ((uint8_t *)v->data)[at] = (uint8_t)x;
  }
}

static void store_int(const struct view *v, int64_t at, int32_t x) {
  if (v->dtype == TRAINER_U8) ((uint8_t *)v->data)[at] = (uint8_t)x;
  else ((int32_t *)(void *)v->data)[at] = x;
}

static int same_shape(const struct view *a, const struct view *b) {
  return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof a->shape[0]) == 0;
}

static int is_scalar(const struct view *v, int64_t n) { return v->present && v->dtype == TRAINER_I32 && v->count == n; }

/* A walk over the elements of a shape, row-major, with the offset of each in up to four
 * views of it. */
struct walk {
  const struct view *views[4];
  int64_t at[4];
  int64_t index[TRAINER_MAX_RANK];
  int64_t left;
};

static struct walk walk_of(const struct view *a, const struct view *b, const struct view *c, const struct view *d) {
  return (struct walk){.views = {a, b, c, d}, .left = a->count};
}

static void step(struct walk *w) {
  const struct view *shape = w->views[0];
  w->left--;
  for (uint32_t dim = shape->rank; dim-- > 0;) {
    int64_t back = w->index[dim] + 1 == shape->shape[dim] ? w->index[dim] : -1;
    for (int i = 0; i < 4 && w->views[i]; i++) w->at[i] += back < 0 ? w->views[i]->stride[dim] : -back * w->views[i]->stride[dim];
    if (back < 0) {
      w->index[dim]++;
      return;
    }
    w->index[dim] = 0;
  }
}

/* ---- ops ------------------------------------------------------------------
 * A call has its outputs, its inputs and its attribute struct. check says why it cannot
 * run, or NULL; views have no data then. */

struct call {
  struct view *out;
  struct view *in;
  const void *attr;
  char *workspace;
};

static const char *check_copy(const struct call *c) {
  return c->out[0].dtype == c->in[0].dtype && same_shape(&c->out[0], &c->in[0]) ? NULL : "expected one dtype and one shape";
}

static void run_copy(const struct call *c) {
  uint32_t n = bytes_of(c->out[0].dtype);
  for (struct walk w = walk_of(&c->out[0], &c->in[0], NULL, NULL); w.left > 0; step(&w))
    memcpy(c->out[0].data + w.at[0] * n, c->in[0].data + w.at[1] * n, n);
}

static const char *check_fill(const struct call *c) {
  (void)c;
  return NULL;
}

static void run_fill(const struct call *c) {
  uint32_t bits = ((const trainer_attr_fill *)c->attr)->value_bits;
  for (struct walk w = walk_of(&c->out[0], NULL, NULL, NULL); w.left > 0; step(&w)) {
    if (is_float(c->out[0].dtype)) store(&c->out[0], w.at[0], from_bits(bits));
    else store_int(&c->out[0], w.at[0], (int32_t)bits);
  }
}

static const char *check_shape(const struct call *c) { return same_shape(&c->out[0], &c->in[0]) ? NULL : "expected one shape"; }

/* x towards zero, within an integer dtype; NaN becomes 0. */
static int32_t truncated(uint32_t dtype, float x) {
  if (isnan(x)) return 0;
  if (dtype == TRAINER_U8) return x <= 0 ? 0 : x >= 255 ? 255 : (int32_t)x;
  if (x >= 0x1p31f) return INT32_MAX;
  return x <= -0x1p31f ? INT32_MIN : (int32_t)x;
}

static void run_cast(const struct call *c) {
  const struct view *dst = &c->out[0], *src = &c->in[0];
  for (struct walk w = walk_of(dst, src, NULL, NULL); w.left > 0; step(&w)) {
    if (is_float(dst->dtype)) store(dst, w.at[0], load(src, w.at[1]));
    else if (is_float(src->dtype)) store_int(dst, w.at[0], truncated(dst->dtype, load(src, w.at[1])));
    else store_int(dst, w.at[0], load_int(src, w.at[1]));
  }
}

static float unary(const trainer_attr_unary *a, float x) {
  switch (a->code) {
  case TRAINER_UNARY_NEG: return -x;
  case TRAINER_UNARY_EXP: return expf(x);
  case TRAINER_UNARY_LOG: return logf(x);
  case TRAINER_UNARY_SQRT: return sqrtf(x);
  case TRAINER_UNARY_RSQRT: return 1 / sqrtf(x);
  case TRAINER_UNARY_TANH: return tanhf(x);
  case TRAINER_UNARY_SIGMOID: return 1 / (1 + expf(-x));
  case TRAINER_UNARY_ABS: return fabsf(x);
  case TRAINER_UNARY_RECIPROCAL: return 1 / x;
  case TRAINER_UNARY_SIN: return sinf(x);
  case TRAINER_UNARY_COS: return cosf(x);
  case TRAINER_UNARY_FLOOR: return floorf(x);
  case TRAINER_UNARY_ISFINITE: return isfinite(x) ? 1 : 0;
  case TRAINER_UNARY_AFFINE: return x * from_bits(a->alpha_bits) + from_bits(a->beta_bits);
  default: return rintf(x);
  }
}

static const char *check_unary(const struct call *c) {
  uint32_t code = ((const trainer_attr_unary *)c->attr)->code;
  if (code < TRAINER_UNARY_NEG || code > TRAINER_UNARY_ROUND) return "there is no such code";
  if (!is_float(c->in[0].dtype) || (!is_float(c->out[0].dtype) && code != TRAINER_UNARY_ISFINITE)) return "expected floats";
  return check_shape(c);
}

static void run_unary(const struct call *c) {
  for (struct walk w = walk_of(&c->out[0], &c->in[0], NULL, NULL); w.left > 0; step(&w))
    store(&c->out[0], w.at[0], unary(c->attr, load(&c->in[0], w.at[1])));
}

/* NaN wins. */
static float larger(float a, float b) { return isnan(a) || a > b ? a : b; }
static float smaller(float a, float b) { return isnan(a) || a < b ? a : b; }

static float binary(uint32_t code, float a, float b) {
  switch (code) {
  case TRAINER_BINARY_ADD: return a + b;
  case TRAINER_BINARY_SUB: return a - b;
  case TRAINER_BINARY_MUL: return a * b;
  case TRAINER_BINARY_DIV: return a / b;
  case TRAINER_BINARY_MAX: return larger(a, b);
  case TRAINER_BINARY_MIN: return smaller(a, b);
  case TRAINER_BINARY_LT: return a < b;
  case TRAINER_BINARY_LE: return a <= b;
  case TRAINER_BINARY_EQ: return a == b;
  default: return powf(a, b);
  }
}

/* base to the exponent, wrapping around. */
static uint32_t power(uint32_t base, int32_t exponent) {
  uint32_t result = 1, left = (uint32_t)exponent;
  if (exponent < 0) { /* only 1 and -1 have whole reciprocals */
    if (base != 1 && base != UINT32_MAX) return 0;
    left &= 1;
  }
  for (; left; left >>= 1, base *= base)
    if (left & 1) result *= base;
  return result;
}

/* Whole numbers wrap around; a division by 0 gives 0. */
static int32_t binary_int(uint32_t code, int32_t a, int32_t b) {
  uint32_t x = (uint32_t)a, y = (uint32_t)b;
  switch (code) {
  case TRAINER_BINARY_ADD: return (int32_t)(x + y);
  case TRAINER_BINARY_SUB: return (int32_t)(x - y);
  case TRAINER_BINARY_MUL: return (int32_t)(x * y);
  case TRAINER_BINARY_DIV: return b == 0 ? 0 : b == -1 ? (int32_t)(0 - x) : a / b;
  case TRAINER_BINARY_MAX: return a > b ? a : b;
  case TRAINER_BINARY_MIN: return a < b ? a : b;
  case TRAINER_BINARY_LT: return a < b;
  case TRAINER_BINARY_LE: return a <= b;
  case TRAINER_BINARY_EQ: return a == b;
  default: return (int32_t)power(x, b);
  }
}

static int compares(uint32_t code) { return code >= TRAINER_BINARY_LT && code <= TRAINER_BINARY_EQ; }

static const char *check_binary(const struct call *c) {
  uint32_t code = ((const trainer_attr_binary *)c->attr)->code;
  const struct view *a = &c->in[0], *b = &c->in[1], *dst = &c->out[0];
  if (code < TRAINER_BINARY_ADD || code > TRAINER_BINARY_POW) return "there is no such code";
  int floats = is_float(a->dtype) && is_float(b->dtype), ints = a->dtype == TRAINER_I32 && b->dtype == TRAINER_I32;
  if (!floats && !ints) return "expected two floats or two i32";
  if (!compares(code) && (floats ? !is_float(dst->dtype) : dst->dtype != TRAINER_I32)) return "the result has another kind of dtype";
  return same_shape(dst, a) && same_shape(dst, b) ? NULL : "expected one shape";
}

static void run_binary(const struct call *c) {
  uint32_t code = ((const trainer_attr_binary *)c->attr)->code;
  const struct view *dst = &c->out[0], *a = &c->in[0], *b = &c->in[1];
  for (struct walk w = walk_of(dst, a, b, NULL); w.left > 0; step(&w)) {
    if (is_float(a->dtype)) {
      store(dst, w.at[0], binary(code, load(a, w.at[1]), load(b, w.at[2])));
      continue;
    }
    int32_t x = binary_int(code, load_int(a, w.at[1]), load_int(b, w.at[2]));
    if (is_float(dst->dtype)) store(dst, w.at[0], (float)x);
    else store_int(dst, w.at[0], x);
  }
}

static const char *check_select(const struct call *c) {
  const struct view *dst = &c->out[0];
  for (int i = 0; i < 3; i++)
    if (!same_shape(dst, &c->in[i])) return "expected one shape";
  for (int i = 1; i < 3; i++)
    if (c->in[i].dtype != dst->dtype && !(is_float(c->in[i].dtype) && is_float(dst->dtype))) return "expected floats or one dtype";
  return NULL;
}

static void run_select(const struct call *c) {
  const struct view *dst = &c->out[0];
  for (struct walk w = walk_of(dst, &c->in[0], &c->in[1], &c->in[2]); w.left > 0; step(&w)) {
    int i = load(&c->in[0], w.at[1]) != 0 ? 1 : 2; /* NaN is not 0 */
    if (is_float(dst->dtype)) store(dst, w.at[0], load(&c->in[i], w.at[i + 1]));
    else store_int(dst, w.at[0], load_int(&c->in[i], w.at[i + 1]));
  }
}

static const char *check_reduce(const struct call *c) {
  uint32_t code = ((const trainer_attr_reduce *)c->attr)->code;
  const struct view *dst = &c->out[0], *src = &c->in[0];
  if (code != TRAINER_REDUCE_SUM && code != TRAINER_REDUCE_MAX) return "there is no such code";
  if (is_float(dst->dtype) ? !is_float(src->dtype) : dst->dtype != TRAINER_I32 || src->dtype != TRAINER_I32) return "expected floats or i32";
  if (dst->rank != src->rank) return "expected one rank";
  for (uint32_t dim = 0; dim < dst->rank; dim++)
    if (dst->shape[dim] != src->shape[dim] && dst->shape[dim] != 1) return "a dimension is neither kept nor reduced to 1";
  return NULL;
}

/* The part of src that becomes one element of dst: dimensions that stay have extent 1. */
static struct view reduced_part(const struct view *dst, const struct view *src) {
  struct view part = *src;
  part.count = 1;
  for (uint32_t dim = 0; dim < src->rank; dim++) {
    if (dst->shape[dim] == src->shape[dim]) part.shape[dim] = 1;
    part.count *= part.shape[dim];
  }
  return part;
}

static void run_reduce(const struct call *c) {
  uint32_t code = ((const trainer_attr_reduce *)c->attr)->code;
  const struct view *dst = &c->out[0];
  struct view part = reduced_part(dst, &c->in[0]), kept = c->in[0];
  for (uint32_t dim = 0; dim < dst->rank; dim++)
    if (dst->shape[dim] != kept.shape[dim]) kept.stride[dim] = 0;
  uint32_t size = bytes_of(part.dtype);
  for (struct walk w = walk_of(dst, &kept, NULL, NULL); w.left > 0; step(&w)) {
    part.data = c->in[0].data + w.at[1] * size;
    double sum = 0; /* of f32 numbers: rounded once */
    float most = -INFINITY;
    uint32_t whole = 0;
    int32_t most_whole = INT32_MIN;
    for (struct walk p = walk_of(&part, NULL, NULL, NULL); p.left > 0; step(&p)) {
      if (is_float(part.dtype)) {
        float x = load(&part, p.at[0]);
        sum += x;
        most = larger(x, most);
      } else {
        int32_t x = load_int(&part, p.at[0]);
        whole += (uint32_t)x;
        if (x > most_whole) most_whole = x;
      }
    }
    if (is_float(dst->dtype)) store(dst, w.at[0], code == TRAINER_REDUCE_SUM ? (float)sum : most);
    else store_int(dst, w.at[0], code == TRAINER_REDUCE_SUM ? (int32_t)whole : most_whole);
  }
}

/* rows: [n, f] of dst or src that index i32 [n] counts; table: the other, [v, f]. */
static const char *check_rows(const struct view *rows, const struct view *table, const struct view *index) {
  if (rows->rank != 2 || table->rank != 2 || index->rank != 1 || index->dtype != TRAINER_I32) return "expected two matrices and i32 indexes";
  if (rows->shape[1] != table->shape[1] || rows->shape[0] != index->shape[0]) return "rows have other sizes";
  if (rows->dtype != table->dtype && !(is_float(rows->dtype) && is_float(table->dtype))) return "expected floats or one dtype";
  return NULL;
}

static const char *check_gather(const struct call *c) { return check_rows(&c->out[0], &c->in[0], &c->in[1]); }

static void run_gather(const struct call *c) {
  const struct view *dst = &c->out[0], *src = &c->in[0], *index = &c->in[1];
  for (int64_t i = 0; i < dst->shape[0]; i++) {
    int32_t row = load_int(index, i * index->stride[0]);
    int inside = row >= 0 && row < src->shape[0];
    for (int64_t k = 0; k < dst->shape[1]; k++) {
      int64_t to = i * dst->stride[0] + k * dst->stride[1], from = inside ? row * src->stride[0] + k * src->stride[1] : 0;
      if (is_float(dst->dtype)) store(dst, to, inside ? load(src, from) : 0);
      else store_int(dst, to, inside ? load_int(src, from) : 0);
    }
  }
}

static const char *check_scatter_add(const struct call *c) {
  return is_float(c->out[0].dtype) ? check_rows(&c->in[0], &c->out[0], &c->in[1]) : "expected floats";
}

static void run_scatter_add(const struct call *c) {
  const struct view *dst = &c->out[0], *src = &c->in[0], *index = &c->in[1];
  for (int64_t i = 0; i < src->shape[0]; i++) {
    int32_t row = load_int(index, i * index->stride[0]);
    if (row < 0 || row >= dst->shape[0]) continue;
    for (int64_t k = 0; k < src->shape[1]; k++) {
      int64_t to = row * dst->stride[0] + k * dst->stride[1];
      store(dst, to, load(dst, to) + load(src, i * src->stride[0] + k * src->stride[1]));
    }
  }
}

/* Leading dimensions are batches, in which an input may have extent 1. */
static const char *check_matmul(const struct call *c) {
  const struct view *d = &c->out[0], *a = &c->in[0], *b = &c->in[1];
  uint32_t compute = ((const trainer_attr_matmul *)c->attr)->compute, r = d->rank;
  if (compute != 0 && !is_float(compute)) return "expected a float to compute in";
  if (!is_float(d->dtype) || !is_float(a->dtype) || !is_float(b->dtype)) return "expected floats";
  if (r < 2 || a->rank != r || b->rank != r) return "expected three matrices of one rank";
  if (a->shape[r - 2] != d->shape[r - 2] || b->shape[r - 1] != d->shape[r - 1] || a->shape[r - 1] != b->shape[r - 2]) return "the matrices do not fit";
  for (uint32_t dim = 0; dim + 2 < r; dim++)
    if ((a->shape[dim] != d->shape[dim] && a->shape[dim] != 1) || (b->shape[dim] != d->shape[dim] && b->shape[dim] != 1)) return "the batches do not fit";
  return NULL;
}

/* b as f32 rows without gaps, one row of a, one row of the result. */
static uint64_t matmul_workspace(const struct call *c) {
  const struct view *a = &c->in[0], *b = &c->in[1];
  uint64_t k = (uint64_t)a->shape[a->rank - 1], n = (uint64_t)b->shape[b->rank - 1];
  return (k * n + k + n) * sizeof(float);
}

/* The matrix of one batch of a view: its leading dimensions are cut off. */
static struct view batch_of(const struct view *v, const struct view *like, int64_t batch) {
  struct view m = *v;
  m.rank = 2;
  for (uint32_t dim = like->rank - 2; dim-- > 0;) {
    int64_t i = batch % like->shape[dim];
    if (v->shape[dim] != 1) m.data += i * v->stride[dim] * bytes_of(v->dtype);
    batch /= like->shape[dim];
  }
  memmove(m.shape, v->shape + v->rank - 2, 2 * sizeof m.shape[0]);
  memmove(m.stride, v->stride + v->rank - 2, 2 * sizeof m.stride[0]);
  return m;
}

static void multiply(const struct view *d, const struct view *a, const struct view *b, const trainer_attr_matmul *attr, float *room) {
  int64_t m = d->shape[0], n = d->shape[1], k = a->shape[1];
  float *rows = room, *left = rows + k * n, *sum = left + k;
  float alpha = from_bits(attr->alpha_bits), beta = from_bits(attr->beta_bits);
  for (int64_t l = 0; l < k; l++)
    for (int64_t j = 0; j < n; j++) rows[l * n + j] = rounded(attr->compute, load(b, l * b->stride[0] + j * b->stride[1]));
  for (int64_t i = 0; i < m; i++) {
    for (int64_t l = 0; l < k; l++) left[l] = rounded(attr->compute, load(a, i * a->stride[0] + l * a->stride[1]));
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int64_t l = 0; l < k; l++)
      for (int64_t j = 0; j < n; j++) sum[j] += left[l] * rows[l * n + j];
    for (int64_t j = 0; j < n; j++) {
      int64_t at = i * d->stride[0] + j * d->stride[1];
      store(d, at, beta == 0 ? alpha * sum[j] : alpha * sum[j] + beta * load(d, at));
    }
  }
}

static void run_matmul(const struct call *c) {
  const struct view *d = &c->out[0];
  int64_t batches = 1;
  for (uint32_t dim = 0; dim + 2 < d->rank; dim++) batches *= d->shape[dim];
  for (int64_t i = 0; i < batches; i++) {
    struct view to = batch_of(d, d, i), a = batch_of(&c->in[0], d, i), b = batch_of(&c->in[1], d, i);
    multiply(&to, &a, &b, c->attr, (float *)(void *)c->workspace);
  }
}

/* Philox-4x32-10 (Salmon et al. 2011): four words for a counter. */
static void philox(uint32_t c[4], uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    uint64_t p = (uint64_t)0xD2511F53u * c[0], q = (uint64_t)0xCD9E8D57u * c[2];
    c[0] = (uint32_t)(q >> 32) ^ c[1] ^ k0;
    c[1] = (uint32_t)q;
    c[2] = (uint32_t)(p >> 32) ^ c[3] ^ k1;
    c[3] = (uint32_t)p;
  }
}

static const char *check_random(const struct call *c) {
  const struct view *dst = &c->out[0];
  if (dst->rank != 2 || dst->dtype != TRAINER_F32) return "expected an f32 matrix";
  if (!is_scalar(&c->in[0], dst->shape[0]) || !is_scalar(&c->in[1], dst->shape[0]) || c->in[0].rank != 1 || c->in[1].rank != 1)
    return "expected an i32 sample and position for each row";
  return is_scalar(&c->in[2], 2) && c->in[2].rank == 1 && is_scalar(&c->in[3], 1) ? NULL : "expected a seed of two i32 and a step of one";
}

static void run_random(const struct call *c) {
  const struct view *dst = &c->out[0], *samples = &c->in[0], *positions = &c->in[1], *seed = &c->in[2];
  const trainer_attr_random *a = c->attr;
  uint32_t k0 = (uint32_t)load_int(seed, 0) ^ a->site_lo, k1 = (uint32_t)load_int(seed, seed->stride[0]) ^ a->site_hi;
  for (int64_t r = 0; r < dst->shape[0]; r++)
    for (int64_t f = 0; f < dst->shape[1]; f++) {
      uint32_t words[4] = {(uint32_t)(f / 4), (uint32_t)load_int(positions, r * positions->stride[0]),
                           (uint32_t)load_int(samples, r * samples->stride[0]), (uint32_t)load_int(&c->in[3], 0)};
      philox(words, k0, k1);
      store(dst, r * dst->stride[0] + f * dst->stride[1], (float)(words[f % 4] >> 8) * 0x1p-24f);
    }
}

/* numbers: i32 [n]; bytes: u8 [ceil(n * bits / 8)]; both without gaps. */
static const char *check_packing(const struct call *c, const struct view *numbers, const struct view *bytes) {
  const trainer_attr_bits *a = c->attr;
  if (a->bits < 1 || a->bits > 8 || a->order > 1 || (a->order == 0 && 8 % a->bits)) return "expected 1 to 8 bits, of order 0 such as divide 8";
  if (numbers->dtype != TRAINER_I32 || bytes->dtype != TRAINER_U8 || numbers->rank != 1 || bytes->rank != 1) return "expected i32 and u8 vectors";
  if ((numbers->shape[0] > 1 && numbers->stride[0] != 1) || (bytes->shape[0] > 1 && bytes->stride[0] != 1)) return "expected no gaps";
  return bytes->shape[0] == (numbers->shape[0] * a->bits + 7) / 8 ? NULL : "the sizes do not fit";
}

static const char *check_unpack(const struct call *c) { return check_packing(c, &c->out[0], &c->in[0]); }
static const char *check_pack(const struct call *c) { return check_packing(c, &c->in[0], &c->out[0]); }

/* Where in its byte number i begins; of order 1 it may end in the next. */
static uint32_t shift_of(const trainer_attr_bits *a, int64_t i) {
  uint32_t from_low = (uint32_t)(i * a->bits % 8);
  return a->order ? from_low : 8 - a->bits - from_low;
}

static void run_unpack(const struct call *c) {
  const trainer_attr_bits *a = c->attr;
  for (int64_t i = 0; i < c->out[0].count; i++) {
    int64_t at = i * a->bits / 8;
    uint32_t shift = shift_of(a, i), word = (uint32_t)load_int(&c->in[0], at);
    if (shift + a->bits > 8) word |= (uint32_t)load_int(&c->in[0], at + 1) << 8;
    store_int(&c->out[0], i, (int32_t)(word >> shift & ((1u << a->bits) - 1)));
  }
}

static void run_pack(const struct call *c) {
  const trainer_attr_bits *a = c->attr;
  for (int64_t i = 0; i < c->out[0].count; i++) store_int(&c->out[0], i, 0);
  for (int64_t i = 0; i < c->in[0].count; i++) {
    int64_t at = i * a->bits / 8;
    uint32_t shift = shift_of(a, i), word = ((uint32_t)load_int(&c->in[0], i) & ((1u << a->bits) - 1)) << shift;
    store_int(&c->out[0], at, load_int(&c->out[0], at) | (int32_t)(word & 255));
    if (shift + a->bits > 8) store_int(&c->out[0], at + 1, load_int(&c->out[0], at + 1) | (int32_t)(word >> 8));
  }
}

static const char *check_iota(const struct call *c) {
  if (c->out[0].dtype != TRAINER_I32) return "expected i32";
  return ((const trainer_attr_iota *)c->attr)->dim < c->out[0].rank ? NULL : "there is no such dimension";
}

static void run_iota(const struct call *c) {
  uint32_t dim = ((const trainer_attr_iota *)c->attr)->dim;
  for (struct walk w = walk_of(&c->out[0], NULL, NULL, NULL); w.left > 0; step(&w)) store_int(&c->out[0], w.at[0], (int32_t)w.index[dim]);
}

static const struct op {
  uint32_t id;
  const char *name;
  uint32_t outputs, inputs, attr_bytes;
  const char *(*check)(const struct call *);
  void (*run)(const struct call *);
  uint64_t (*workspace)(const struct call *); /* bytes, or NULL for none */
} ops[] = {
    {TRAINER_OP_COPY, "copy", 1, 1, 0, check_copy, run_copy, NULL},
    {TRAINER_OP_FILL, "fill", 1, 0, sizeof(trainer_attr_fill), check_fill, run_fill, NULL},
    {TRAINER_OP_CAST, "cast", 1, 1, 0, check_shape, run_cast, NULL},
    {TRAINER_OP_UNARY, "unary", 1, 1, sizeof(trainer_attr_unary), check_unary, run_unary, NULL},
    {TRAINER_OP_BINARY, "binary", 1, 2, sizeof(trainer_attr_binary), check_binary, run_binary, NULL},
    {TRAINER_OP_SELECT, "select", 1, 3, 0, check_select, run_select, NULL},
    {TRAINER_OP_REDUCE, "reduce", 1, 1, sizeof(trainer_attr_reduce), check_reduce, run_reduce, NULL},
    {TRAINER_OP_GATHER, "gather", 1, 2, 0, check_gather, run_gather, NULL},
    {TRAINER_OP_SCATTER_ADD, "scatter_add", 1, 2, 0, check_scatter_add, run_scatter_add, NULL},
    {TRAINER_OP_MATMUL, "matmul", 1, 2, sizeof(trainer_attr_matmul), check_matmul, run_matmul, matmul_workspace},
    {TRAINER_OP_RANDOM, "random", 1, 4, sizeof(trainer_attr_random), check_random, run_random, NULL},
    {TRAINER_OP_UNPACK, "unpack", 1, 1, sizeof(trainer_attr_bits), check_unpack, run_unpack, NULL},
    {TRAINER_OP_PACK, "pack", 1, 1, sizeof(trainer_attr_bits), check_pack, run_pack, NULL},
    {TRAINER_OP_IOTA, "iota", 1, 0, sizeof(trainer_attr_iota), check_iota, run_iota, NULL},
};

static const struct op *op_of(uint32_t id) {
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
    if (ops[i].id == id) return &ops[i];
  return NULL;
}

/* ---- objects and handles ---------------------------------------------------
 * One lock guards everything but the data of buffers. A handle is the place in a table
 * and a generation, so that an old handle does not answer for what took its place. An
 * object lives until its handle has ended and nothing uses it. */

enum kind { DEVICE = 1, BUFFER, QUEUE, TIMELINE };

struct object {
  enum kind kind;
  uint32_t uses; /* by its handle, and by jobs */
  struct device *device;
};

struct device {
  struct object object;
  pthread_t thread; /* runs the jobs of all queues */
  int closing;
  struct job *jobs; /* in the order they were submitted */
  uint64_t limit, used, peak; /* bytes of buffers */
};

struct buffer {
  struct object object;
  char *base;
  uint64_t bytes;
};

struct queue {
  struct object object;
  int ended;
  uint32_t jobs; /* that have not ended */
};

struct timeline {
  struct object object;
  uint64_t value;
  uint64_t promised; /* what jobs will bring it to */
  int ended;
  struct failure failure;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed; /* something above is different */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct place {
  void *object;
  uint32_t generation;
} *places;
static uint32_t place_count;

static void prepare(void) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
#if !defined(__APPLE__)
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
  pthread_cond_init(&changed, &attributes);
  pthread_condattr_destroy(&attributes);
}

static void enter(void) {
  pthread_once(&once, prepare);
  pthread_mutex_lock(&lock);
}

static int32_t leave(int32_t status) {
  pthread_mutex_unlock(&lock);
  return status;
}

/* A handle for an object, which has one use from now on; 0 without memory. */
static uint64_t publish(struct object *object) {
  uint32_t i = 0;
  while (i < place_count && places[i].object) i++;
  if (i == place_count) {
    uint32_t grown = place_count ? 2 * place_count : 64;
    struct place *larger_table = realloc(places, grown * sizeof *places);
    if (!larger_table) return 0;
    places = larger_table;
    memset(places + place_count, 0, (grown - place_count) * sizeof *places);
    place_count = grown;
  }
  places[i].object = object;
  object->uses = 1;
  return (uint64_t)++places[i].generation << 32 | (i + 1);
}

static struct place *place_of(uint64_t handle, enum kind kind, const struct device *device) {
  uint32_t i = (uint32_t)handle - 1;
  if (i >= place_count || !places[i].object || places[i].generation != handle >> 32) return NULL;
  const struct object *object = places[i].object;
  return object->kind == kind && object->device == device ? &places[i] : NULL;
}

static void *find(uint64_t handle, enum kind kind, const struct device *device) {
  const struct place *place = place_of(handle, kind, device);
  return place ? place->object : NULL;
}

/* As find, and ends the handle. Its use is the caller's to drop. */
static void *take(uint64_t handle, enum kind kind, const struct device *device) {
  struct place *place = place_of(handle, kind, device);
  void *object = place ? place->object : NULL;
  if (place) place->object = NULL;
  return object;
}

static void *use(struct object *object) {
  if (object) object->uses++;
  return object;
}

static void drop(struct object *object) {
  if (!object || --object->uses > 0) return;
  if (object->kind == BUFFER) {
    struct buffer *buffer = (struct buffer *)object;
    object->device->used -= buffer->bytes;
    free(buffer->base);
  }
  free(object);
}

/* ---- lists ------------------------------------------------------------------
 * Nothing a list says is believed before it is checked. */

struct bound {
  struct view *view;
  const struct view *by;
  uint32_t dim;
  int64_t most;
};

struct work {
  const struct op *op;
  struct call call;
};

/* A list that was checked, and where its operands lie. */
struct program {
  char *list; /* own copy */
  char *params;
  struct work *works;
  struct view *views;
  struct bound *bounds;
  struct buffer **buffers; /* used; of each slot, then of the workspace */
  uint32_t work_count, slot_count, bound_count;
  uint64_t params_bytes;
  uint64_t workspace; /* bytes the largest call needs */
};

/* Where and why a list is refused. */
static int32_t refuse(struct failure *why, int32_t status, const char *sentence) {
  why->status = status;
  snprintf(why->text, sizeof why->text, "%s", sentence);
  return status;
}

/* With the lock held. */
static void program_end(struct program *p) {
  for (uint32_t i = 0; p->buffers && i <= p->slot_count; i++)
    if (p->buffers[i]) drop(&p->buffers[i]->object);
  free(p->buffers);
  free(p->bounds);
  free(p->views);
  free(p->works);
  free(p->params);
  free(p->list);
}

static const trainer_list *head_of(const struct program *p) { return (const trainer_list *)(const void *)p->list; }

static int32_t copy_list(struct program *p, const trainer_list *given, struct failure *why) {
  trainer_list head;
  if (!given || (uintptr_t)given % 8 || size_of(given) < sizeof head) return refuse(why, TRAINER_INVALID, "the list is missing, not aligned, or too small");
  memcpy(&head, given, sizeof head);
  why->serial = head.serial;
  if (head.magic != TRAINER_LIST_MAGIC || head.bytes < head.struct_size || head.struct_size % 8 || head.bytes % 8 || head.bytes > LIST_BYTES_MAX)
    return refuse(why, TRAINER_INVALID, "the list's header is wrong");
  if (head.abi_major != TRAINER_ABI_MAJOR || head.abi_minor > TRAINER_ABI_MINOR) return refuse(why, TRAINER_UNSUPPORTED, "the list is of a newer border");
  /* No record is smaller than its header, no operand than its struct: this bounds what is allocated. */
  uint64_t operands = head.bytes / sizeof(trainer_operand) + 1;
  if (head.record_count > head.bytes / sizeof(trainer_record)) return refuse(why, TRAINER_INVALID, "the list has more records than bytes");
  p->list = malloc(head.bytes);
  p->params = calloc(1, (uint64_t)head.params_bytes + 1);
  p->works = calloc((uint64_t)head.record_count + 1, sizeof *p->works);
  p->views = calloc(operands, sizeof *p->views);
  p->bounds = calloc(operands, sizeof *p->bounds);
  if (!p->list || !p->params || !p->works || !p->views || !p->bounds) return refuse(why, TRAINER_OOM, "no memory for the list");
  memcpy(p->list, given, head.bytes);
  p->slot_count = head.slot_count;
  p->params_bytes = head.params_bytes;
  return TRAINER_OK;
}

/* Elements from the first of a view to behind its last; -1 where that is no number. */
static int64_t extent(const trainer_operand *o) {
  int64_t last = 0, count = 1, part;
  for (uint32_t dim = 0; dim < o->rank; dim++) {
    if (o->shape[dim] < 0 || o->stride[dim] < 0 || __builtin_mul_overflow(count, o->shape[dim], &count)) return -1;
    if (o->shape[dim] == 0) continue;
    if (__builtin_mul_overflow(o->shape[dim] - 1, o->stride[dim], &part) || __builtin_add_overflow(last, part, &last)) return -1;
  }
  if (count > (int64_t)1 << 56 || last > (int64_t)1 << 56) return -1;
  return count ? last + 1 : 0;
}

static const char *check_operand(const struct program *p, const trainer_operand *o, int output) {
  uint32_t size = bytes_of(o->dtype);
  if (!size) return NULL; /* said apart: it is no mistake */
  if (o->rank > TRAINER_MAX_RANK || o->kind > TRAINER_KIND_STATE) return "an operand has a rank or kind there is not";
  int64_t n = extent(o);
  if (n < 0 || (uint64_t)n * size > o->bytes) return "an operand's view is larger than its bytes";
  if (o->offset % size || o->offset > UINT64_MAX - o->bytes) return "an operand's offset is wrong";
  for (uint32_t dim = 0; output && n > 0 && dim < o->rank; dim++)
    if (o->shape[dim] > 1 && o->stride[dim] == 0) return "an output repeats an element";
  if (o->slot == TRAINER_SLOT_PARAMS) {
    if (output) return "an output lies in the params block";
    return o->offset + o->bytes > p->params_bytes ? "an operand lies outside the params block" : NULL;
  }
  return o->slot < p->slot_count ? NULL : "an operand names a slot the list does not have";
}

static void make_view(struct view *view, const trainer_operand *o) {
  view->present = 1;
  view->dtype = o->dtype;
  view->rank = o->rank;
  view->count = 1;
  for (uint32_t dim = 0; dim < o->rank; dim++) {
    view->shape[dim] = o->shape[dim];
    view->stride[dim] = o->stride[dim];
    view->count *= o->shape[dim];
  }
}

/* A dimension whose extent is a number in memory. */
static const char *make_bound(struct program *p, struct view *views, const trainer_operand *operands, uint32_t n, uint32_t i) {
  const trainer_operand *o = &operands[i];
  if (!o->bound_by) return NULL;
  if (o->bound_by > n || o->bound_dim >= o->rank) return "an operand is bound by what is not there";
  const trainer_operand *by = &operands[o->bound_by - 1];
  if (by == o || by->slot == TRAINER_SLOT_NONE || by->dtype != TRAINER_I32 || by->bound_by || by->rank > TRAINER_MAX_RANK || extent(by) != 1)
    return "an operand is bound by what is no i32 number";
  p->bounds[p->bound_count++] = (struct bound){&views[i], &views[o->bound_by - 1], o->bound_dim, o->shape[o->bound_dim]};
  return NULL;
}

static int32_t check_record(struct program *p, struct work *work, const trainer_record *r, struct view *views, struct failure *why) {
  const trainer_operand *operands = (const trainer_operand *)(const void *)(r + 1);
  uint32_t n = (uint32_t)r->n_outputs + r->n_inputs;
  work->op = op_of(r->op);
  if (r->flags || r->version > 1) return refuse(why, TRAINER_UNSUPPORTED, "the record is of a newer border");
  for (uint32_t i = 0; i < n; i++) {
    if (operands[i].slot == TRAINER_SLOT_NONE) continue;
    const char *wrong = check_operand(p, &operands[i], i < r->n_outputs);
    if (!wrong) make_view(&views[i], &operands[i]);
    if (!wrong) wrong = make_bound(p, views, operands, n, i);
    if (wrong) return refuse(why, TRAINER_INVALID, wrong);
    if (!bytes_of(operands[i].dtype)) return refuse(why, TRAINER_UNSUPPORTED, "an operand has a dtype this backend does not store");
  }
  const uint32_t *after = (const uint32_t *)(const void *)((const char *)(operands + n) + r->attr_bytes);
  for (uint32_t i = 0; i < r->n_after; i++)
    if (after[i] >= why->record) return refuse(why, TRAINER_INVALID, "the record comes after one that is not earlier");
  if (!work->op) return refuse(why, TRAINER_UNSUPPORTED, "there is no such op here");
  if (r->n_outputs != work->op->outputs || r->n_inputs != work->op->inputs || r->attr_bytes < work->op->attr_bytes)
    return refuse(why, TRAINER_INVALID, "the op has other operands or attributes");
  for (uint32_t i = 0; i < n; i++)
    if (!views[i].present) return refuse(why, TRAINER_INVALID, "an operand is absent");
  work->call = (struct call){.out = views, .in = views + r->n_outputs, .attr = operands + n};
  const char *wrong = work->op->check(&work->call);
  if (wrong) return refuse(why, TRAINER_INVALID, wrong);
  uint64_t need = work->op->workspace ? work->op->workspace(&work->call) : 0;
  if (need > p->workspace) p->workspace = need;
  return TRAINER_OK;
}

/* Makes a program of a list. If it fails, program_end still has to be called. */
static int32_t make_program(struct program *p, const trainer_list *list, struct failure *why) {
  memset(p, 0, sizeof *p);
  *why = (struct failure){.record = NO_RECORD};
  int32_t status = copy_list(p, list, why);
  if (status) return status;
  const trainer_list *head = head_of(p);
  const char *at = p->list + head->struct_size, *end = p->list + head->bytes;
  struct view *views = p->views;
  for (; p->work_count < head->record_count; p->work_count++) {
    const trainer_record *r = (const trainer_record *)(const void *)at;
    uint64_t left = (uint64_t)(end - at);
    why->record = p->work_count;
    if (left < sizeof *r) return refuse(why, TRAINER_INVALID, "the list ends inside a record");
    uint64_t n = (uint64_t)r->n_outputs + r->n_inputs;
    uint64_t size = sizeof *r + n * sizeof(trainer_operand) + r->attr_bytes + ((uint64_t)r->n_after * 4 + 7) / 8 * 8;
    if (r->size != size || size > left || r->attr_bytes % 8) return refuse(why, TRAINER_INVALID, "the size of the record is not that of its parts");
    if ((status = check_record(p, &p->works[p->work_count], r, views, why))) return status;
    views += n;
    at += size;
  }
  why->record = NO_RECORD;
  return at == end ? TRAINER_OK : refuse(why, TRAINER_INVALID, "the list has bytes behind its last record");
}

/* ---- binding: with the lock held ------------------------------------------- */

static int32_t bind_buffer(struct program *p, struct device *device, uint32_t i, const trainer_binding *b, struct failure *why) {
  if (!b->buffer) return TRAINER_OK;
  struct buffer *buffer = find(b->buffer, BUFFER, device);
  if (!buffer) return refuse(why, TRAINER_STALE, "a bound buffer is not alive");
  if (b->offset > buffer->bytes || b->bytes > buffer->bytes - b->offset) return refuse(why, TRAINER_INVALID, "a binding ends behind its buffer");
  p->buffers[i] = use(&buffer->object);
  return TRAINER_OK;
}

static int32_t bind_operands(struct program *p, const trainer_binding *bindings, struct failure *why) {
  const char *at = p->list + head_of(p)->struct_size;
  struct view *view = p->views;
  for (uint32_t i = 0; i < p->work_count; i++) {
    const trainer_record *r = (const trainer_record *)(const void *)at;
    const trainer_operand *o = (const trainer_operand *)(const void *)(r + 1);
    why->record = i;
    for (uint32_t k = 0; k < (uint32_t)r->n_outputs + r->n_inputs; k++, o++, view++) {
      static char nothing[8];
      if (!view->present) continue;
      if (o->slot == TRAINER_SLOT_PARAMS) {
        view->data = p->params + o->offset;
        continue;
      }
      const trainer_binding *b = &bindings[o->slot];
      uint64_t room = p->buffers[o->slot] ? b->bytes : 0;
      if (o->offset > room || o->bytes > room - o->offset) return refuse(why, TRAINER_INVALID, "an operand ends behind the binding of its slot");
      view->data = p->buffers[o->slot] ? p->buffers[o->slot]->base + b->offset + o->offset : nothing;
      if ((uintptr_t)view->data % bytes_of(view->dtype)) return refuse(why, TRAINER_INVALID, "a binding is not aligned to an operand's elements");
    }
    at += r->size;
  }
  why->record = NO_RECORD;
  return TRAINER_OK;
}

static int32_t bind_program(struct program *p, struct device *device, const trainer_submit *s, struct failure *why) {
  if (s->binding_count != p->slot_count || (s->binding_count && !s->bindings)) return refuse(why, TRAINER_INVALID, "the list has another number of slots");
  if (s->params_bytes != p->params_bytes || (s->params_bytes && !s->params)) return refuse(why, TRAINER_INVALID, "the list wants another size of params");
  if (s->params_bytes) memcpy(p->params, s->params, s->params_bytes);
  p->buffers = calloc((uint64_t)p->slot_count + 1, sizeof(struct buffer *));
  if (!p->buffers) return refuse(why, TRAINER_OOM, "no memory to bind the list");
  int32_t status = TRAINER_OK;
  for (uint32_t i = 0; !status && i < p->slot_count; i++) status = bind_buffer(p, device, i, &s->bindings[i], why);
  if (!status) status = bind_buffer(p, device, p->slot_count, &s->workspace, why);
  if (status) return status;
  const struct buffer *scratch = p->buffers[p->slot_count];
  if (p->workspace > (scratch ? s->workspace.bytes : 0) || (scratch && s->workspace.offset % ALIGNMENT))
    return refuse(why, TRAINER_INVALID, "the workspace is too small or not aligned");
  for (uint32_t i = 0; i < p->work_count; i++) p->works[i].call.workspace = scratch ? scratch->base + s->workspace.offset : NULL;
  return bind_operands(p, s->bindings, why);
}

/* ---- work -------------------------------------------------------------------
 * A thread a device takes the first job that may run: whose timelines are where it wants
 * them, and which no earlier job of its queue precedes. */

struct point {
  struct timeline *timeline; /* used */
  uint64_t value;
};

struct job {
  struct job *next;
  struct queue *queue; /* used */
  struct program program;
  uint64_t serial;
  uint64_t *times; /* the host's; NULL: not wanted */
  uint32_t wait_count, signal_count;
  struct point points[]; /* waits, then signals */
};

static void set_bounds(const struct program *p) {
  for (uint32_t i = 0; i < p->bound_count; i++) {
    const struct bound *b = &p->bounds[i];
    int64_t n = load_int(b->by, 0);
    b->view->shape[b->dim] = n < 0 ? 0 : n < b->most ? n : b->most;
    b->view->count = 1;
    for (uint32_t dim = 0; dim < b->view->rank; dim++) b->view->count *= b->view->shape[dim];
  }
}

static uint64_t now(clockid_t clock) { /* ns */
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Without the lock. An extent may be what an earlier record wrote. */
static void run_program(const struct program *p, uint64_t *times) {
  if (times) times[0] = now(CLOCK_MONOTONIC);
  for (uint32_t i = 0; i < p->work_count; i++) {
    set_bounds(p);
    p->works[i].op->run(&p->works[i].call);
    if (times) times[i + 1] = now(CLOCK_MONOTONIC);
  }
}

/* 1: it may run; 0: not yet; -1: never, and why. */
static int ready(const struct device *device, const struct job *job, struct failure *why) {
  *why = (struct failure){.status = TRAINER_STALE, .record = NO_RECORD, .serial = job->serial, .text = "the work was cancelled"};
  if (device->closing || job->queue->ended) return -1;
  for (const struct job *earlier = device->jobs; earlier != job; earlier = earlier->next)
    if (earlier->queue == job->queue) return 0;
  for (uint32_t i = 0; i < job->wait_count; i++) {
    const struct timeline *t = job->points[i].timeline;
    if (t->value >= job->points[i].value) continue;
    if (t->failure.status) *why = t->failure;
    return t->failure.status || t->ended ? -1 : 0;
  }
  why->status = TRAINER_OK;
  return 1;
}

static void finish(struct device *device, struct job *job, const struct failure *failure) {
  for (struct job **at = &device->jobs; *at; at = &(*at)->next)
    if (*at == job) {
      *at = job->next;
      break;
    }
  job->queue->jobs--;
  for (uint32_t i = 0; i < job->wait_count + job->signal_count; i++) {
    struct timeline *t = job->points[i].timeline;
    if (i >= job->wait_count && failure->status && !t->failure.status) t->failure = *failure;
    if (i >= job->wait_count && !failure->status && t->value < job->points[i].value) t->value = job->points[i].value;
    drop(&t->object);
  }
  drop(&job->queue->object);
  program_end(&job->program);
  free(job);
  pthread_cond_broadcast(&changed);
}

static void *run_jobs(void *arg) {
  struct device *device = arg;
  enter();
  while (!device->closing || device->jobs) {
    struct failure failure;
    struct job *job = device->jobs;
    int may = 0;
    while (job && (may = ready(device, job, &failure)) == 0) job = job->next;
    if (!job) {
      if (!device->closing) pthread_cond_wait(&changed, &lock);
      continue;
    }
    if (may > 0) {
      pthread_mutex_unlock(&lock);
      run_program(&job->program, job->times);
      pthread_mutex_lock(&lock);
    }
    finish(device, job, &failure);
  }
  leave(TRAINER_OK);
  return NULL;
}

/* A thread that blocks all signals: the host's handlers must not run on it. */
static int start_thread(struct device *device) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&device->thread, NULL, run_jobs, device);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return failed;
}

/* Takes the timelines of n points; how many are alive. */
static uint32_t take_points(struct device *device, struct point *points, const trainer_timeline_point *given, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    points[i] = (struct point){use(find(given[i].timeline, TIMELINE, device)), given[i].value};
    if (!points[i].timeline) return i;
  }
  return n;
}

/* Puts the job behind the others; with the lock held. */
static int32_t enqueue(struct device *device, struct queue *queue, struct job *job, const trainer_submit *s, struct failure *why) {
  if (queue->jobs == JOBS_MAX) return refuse(why, TRAINER_BUSY, "the queue is full");
  uint32_t n = s->wait_count + s->signal_count, taken = take_points(device, job->points, s->waits, s->wait_count);
  if (taken == s->wait_count) taken += take_points(device, job->points + taken, s->signals, s->signal_count);
  int rises = 1;
  for (uint32_t i = s->wait_count; taken == n && i < n; i++) rises = rises && job->points[i].value > job->points[i].timeline->promised;
  if (taken != n || !rises) {
    for (uint32_t i = 0; i < taken; i++) drop(&job->points[i].timeline->object);
    return taken != n ? refuse(why, TRAINER_STALE, "a timeline is not alive") : refuse(why, TRAINER_INVALID, "a signal does not rise");
  }
  for (uint32_t i = s->wait_count; i < n; i++) job->points[i].timeline->promised = job->points[i].value;
  job->wait_count = s->wait_count;
  job->signal_count = s->signal_count;
  job->times = s->times;
  struct job **end = &device->jobs;
  while (*end) end = &(*end)->next;
  *end = job;
  job->queue = use(&queue->object);
  queue->jobs++;
  pthread_cond_broadcast(&changed);
  return TRAINER_OK;
}

/* ---- entries ---------------------------------------------------------------- */

static int32_t device_count(uint32_t *count, trainer_error *error) {
  if (!count) return fail(error, TRAINER_INVALID, "the result is missing");
  *count = 1;
  return TRAINER_OK;
}

static int32_t device_info(uint32_t index, trainer_device_info *info, trainer_error *error) {
  trainer_device_info own = {
      .device_class = TRAINER_DEVICE_CPU,
      .flags = TRAINER_FLAG_UNIFIED | TRAINER_FLAG_DETERMINISTIC | TRAINER_FLAG_HOST_SLOTS | TRAINER_FLAG_TIMES,
      .numerics = TRAINER_NUMERICS_IEEE,
      .memory_total = MEMORY,
      .memory_free = MEMORY,
      .buffer_max = MEMORY,
      .list_bytes_max = LIST_BYTES_MAX,
      .storage_dtypes = 1u << TRAINER_F32 | 1u << TRAINER_BF16 | 1u << TRAINER_F16 | 1u << TRAINER_I32 | 1u << TRAINER_U8,
      .compute_dtypes = 1u << TRAINER_F32,
      .alignment = ALIGNMENT,
      .lanes = 1,
      .threads = 1,
      .name = "plain loops",
      .uuid = "example-0",
      .isa = "C",
  };
  if (index != 0 || !info) return fail(error, TRAINER_INVALID, "there is one device, 0, and a result is needed");
  write_struct(info, &own, sizeof own);
  return TRAINER_OK;
}

static int32_t device_open(uint32_t index, const trainer_device_options *given, uint64_t *handle, trainer_error *error) {
  trainer_device_options options = {0};
  if (index != 0 || !handle || (given && !read_struct(&options, sizeof options, given)))
    return fail(error, TRAINER_INVALID, "there is one device, 0, and options and a result are needed");
  struct device *device = calloc(1, sizeof *device);
  if (!device) return fail(error, TRAINER_OOM, "no memory for a device");
  device->object.kind = DEVICE;
  device->limit = options.memory_limit && options.memory_limit < MEMORY ? options.memory_limit : MEMORY;
  enter();
  uint64_t made = start_thread(device) == 0 ? publish(&device->object) : 0;
  if (!made) {
    free(device); /* with a thread but no handle there is no memory at all: the thread is lost */
    return leave(fail(error, TRAINER_OOM, "no memory or no thread for a device"));
  }
  *handle = made;
  return leave(TRAINER_OK);
}

/* Ends all that is the device's; with the lock held. */
static void end_device(struct device *device) {
  device->closing = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  pthread_join(device->thread, NULL);
  pthread_mutex_lock(&lock);
  for (uint32_t i = 0; i < place_count; i++) {
    struct object *object = places[i].object;
    if (!object || object->device != device) continue;
    places[i].object = NULL;
    if (object->kind == TIMELINE) ((struct timeline *)object)->ended = 1;
    drop(object);
  }
  pthread_cond_broadcast(&changed);
  drop(&device->object);
}

static int32_t device_close(uint64_t handle, trainer_error *error) {
  enter();
  struct device *device = take(handle, DEVICE, NULL);
  if (!device) return leave(fail(error, TRAINER_STALE, "the device is not open"));
  end_device(device);
  return leave(TRAINER_OK);
}

static int32_t backend_shutdown(trainer_error *error) {
  (void)error;
  enter();
  for (uint32_t i = 0; i < place_count; i++) {
    struct object *object = places[i].object;
    if (!object || object->kind != DEVICE) continue;
    places[i].object = NULL;
    end_device((struct device *)object);
  }
  free(places);
  places = NULL;
  place_count = 0;
  return leave(TRAINER_OK);
}

static int runs(const trainer_op_query *q) {
  int dtype = q->dtype == 0 || bytes_of(q->dtype), compute = q->compute == 0 || is_float(q->compute);
  return op_of(q->op) && q->version <= 1 && dtype && compute;
}

static int32_t query_ops(uint64_t handle, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error) {
  enter();
  if (!find(handle, DEVICE, NULL)) return leave(fail(error, TRAINER_STALE, "the device is not open"));
  uint32_t asked = size_of(queries), answered = size_of(answers);
  if (count && (asked < 8 || answered < 8)) return leave(fail(error, TRAINER_INVALID, "the queries or the answers are missing"));
  for (uint32_t i = 0; i < count; i++) {
    trainer_op_query query;
    read_struct(&query, sizeof query, (const char *)queries + (size_t)i * asked);
    trainer_op_answer own = {.level = runs(&query) ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE, .deterministic = 1};
    write_struct((char *)answers + (size_t)i * answered, &own, sizeof own);
  }
  return leave(TRAINER_OK);
}

static int32_t buffer_alloc(uint64_t handle, const trainer_buffer_desc *given, trainer_buffer *out, trainer_error *error) {
  trainer_buffer_desc desc;
  if (!read_struct(&desc, sizeof desc, given) || size_of(out) < sizeof *out || desc.bytes == 0)
    return fail(error, TRAINER_INVALID, "the description or the result is missing, or asks for no bytes");
  if (desc.memory > TRAINER_MEMORY_STAGING) return fail(error, TRAINER_UNSUPPORTED, "there is no such memory");
  enter();
  struct device *device = find(handle, DEVICE, NULL);
  if (!device) return leave(fail(error, TRAINER_STALE, "the device is not open"));
  if (desc.bytes > device->limit || device->used > device->limit - desc.bytes) return leave(fail(error, TRAINER_OOM, "the limit leaves no room for the buffer"));
  struct buffer *buffer = calloc(1, sizeof *buffer);
  char *base = aligned_alloc(ALIGNMENT, (desc.bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
  uint64_t made = buffer && base ? publish(&buffer->object) : 0;
  if (!made) {
    free(buffer);
    free(base);
    return leave(fail(error, TRAINER_OOM, "no memory for the buffer"));
  }
  memset(base, 0, desc.bytes);
  *buffer = (struct buffer){.object = {BUFFER, 1, device}, .base = base, .bytes = desc.bytes};
  device->used += desc.bytes;
  if (device->used > device->peak) device->peak = device->used;
  trainer_buffer own = {.handle = made, .host_pointer = desc.memory == TRAINER_MEMORY_STAGING ? base : NULL};
  write_struct(out, &own, sizeof own);
  return leave(TRAINER_OK);
}

/* Ends one handle of a device. */
static int32_t end_handle(uint64_t handle, uint64_t ended, enum kind kind, trainer_error *error) {
  enter();
  struct device *device = find(handle, DEVICE, NULL);
  struct object *object = device ? take(ended, kind, device) : NULL;
  if (!object) return leave(fail(error, TRAINER_STALE, device ? "the handle is not alive" : "the device is not open"));
  if (kind == TIMELINE) ((struct timeline *)object)->ended = 1;
  if (kind == QUEUE) {
    ((struct queue *)object)->ended = 1;
    pthread_cond_broadcast(&changed);
    while (object->uses > 1) pthread_cond_wait(&changed, &lock); /* what has begun runs to its end */
  }
  pthread_cond_broadcast(&changed);
  drop(object);
  return leave(TRAINER_OK);
}

static int32_t buffer_free(uint64_t device, uint64_t buffer, trainer_error *error) { return end_handle(device, buffer, BUFFER, error); }
static int32_t queue_destroy(uint64_t device, uint64_t queue, trainer_error *error) { return end_handle(device, queue, QUEUE, error); }
static int32_t timeline_destroy(uint64_t device, uint64_t timeline, trainer_error *error) { return end_handle(device, timeline, TIMELINE, error); }

/* A new object of a device, of so many bytes, with its handle in *out. */
static int32_t make(uint64_t handle, enum kind kind, size_t bytes, uint64_t value, uint64_t *out, trainer_error *error) {
  if (!out) return fail(error, TRAINER_INVALID, "the result is missing");
  enter();
  struct device *device = find(handle, DEVICE, NULL);
  if (!device) return leave(fail(error, TRAINER_STALE, "the device is not open"));
  struct object *object = calloc(1, bytes);
  uint64_t made = object ? publish(object) : 0;
  if (!made) {
    free(object);
    return leave(fail(error, TRAINER_OOM, "no memory"));
  }
  object->kind = kind;
  object->device = device;
  if (kind == TIMELINE) ((struct timeline *)object)->value = ((struct timeline *)object)->promised = value;
  *out = made;
  return leave(TRAINER_OK);
}

static int32_t queue_create(uint64_t device, uint32_t kind, uint64_t *queue, trainer_error *error) {
  if (kind > TRAINER_QUEUE_TRANSFER) return fail(error, TRAINER_UNSUPPORTED, "there is no such queue");
  return make(device, QUEUE, sizeof(struct queue), 0, queue, error);
}

static int32_t timeline_create(uint64_t device, uint64_t value, uint64_t *timeline, trainer_error *error) {
  return make(device, TIMELINE, sizeof(struct timeline), value, timeline, error);
}

static int32_t list_check(uint64_t handle, const trainer_list *list, trainer_list_report *given, trainer_error *error) {
  struct program program;
  struct failure why;
  enter();
  int open = find(handle, DEVICE, NULL) != NULL;
  leave(TRAINER_OK);
  if (!open) return fail(error, TRAINER_STALE, "the device is not open");
  int32_t status = make_program(&program, list, &why);
  trainer_list_report own = {.bad_record = why.record, .workspace_bytes = program.workspace};
  write_struct(given, &own, sizeof own);
  program_end(&program); /* it uses no buffers */
  return status ? report(error, &why) : TRAINER_OK;
}

/* With the lock held, and the job's program made. */
static int32_t submit_job(uint64_t handle, uint64_t queue_handle, struct job *job, const trainer_submit *s, struct failure *why) {
  struct device *device = find(handle, DEVICE, NULL);
  struct queue *queue = device ? find(queue_handle, QUEUE, device) : NULL;
  if (!queue) return refuse(why, TRAINER_STALE, "the device or the queue is not alive");
  int32_t status = bind_program(&job->program, device, s, why);
  return status ? status : enqueue(device, queue, job, s, why);
}

static int32_t submit(uint64_t handle, uint64_t queue, const trainer_submit *given, trainer_error *error) {
  trainer_submit s;
  struct failure why;
  if (!read_struct(&s, sizeof s, given) || (s.wait_count && !s.waits) || (s.signal_count && !s.signals) || s.wait_count > 65535 || s.signal_count > 65535)
    return fail(error, TRAINER_INVALID, "the submit is missing, or its waits or signals are");
  if (s.plan) return fail(error, TRAINER_STALE, "there are no plans here");
  struct job *job = calloc(1, sizeof *job + ((size_t)s.wait_count + s.signal_count) * sizeof(struct point));
  if (!job) return fail(error, TRAINER_OOM, "no memory for the job");
  int32_t status = make_program(&job->program, s.list, &why);
  job->serial = why.serial;
  enter();
  if (!status) status = submit_job(handle, queue, job, &s, &why);
  if (!status) return leave(TRAINER_OK);
  program_end(&job->program);
  free(job);
  return leave(report(error, &why));
}

/* BUSY: the value is not reached yet. A value once reached stays reached. */
static int32_t state_of(const struct timeline *t, uint64_t value, trainer_error *error) {
  if (t->value >= value) return TRAINER_OK;
  if (t->failure.status) return report(error, &t->failure);
  return t->ended ? fail(error, TRAINER_STALE, "the timeline was ended") : TRAINER_BUSY;
}

static int32_t timeline_read(uint64_t handle, uint64_t timeline, uint64_t *value, trainer_error *error) {
  if (!value) return fail(error, TRAINER_INVALID, "the result is missing");
  enter();
  struct device *device = find(handle, DEVICE, NULL);
  const struct timeline *t = device ? find(timeline, TIMELINE, device) : NULL;
  if (!t) return leave(fail(error, TRAINER_STALE, "the timeline is not alive"));
  *value = t->value;
  return leave(t->failure.status ? report(error, &t->failure) : TRAINER_OK);
}

static int32_t timeline_wait(uint64_t handle, uint64_t timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error) {
  const uint64_t longest = (uint64_t)1 << 61;
  uint64_t deadline = now(WAIT_CLOCK) + (timeout_ns < longest ? timeout_ns : longest);
  struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)};
  enter();
  struct device *device = find(handle, DEVICE, NULL);
  struct timeline *t = device ? use(find(timeline, TIMELINE, device)) : NULL;
  if (!t) return leave(fail(error, TRAINER_STALE, "the timeline is not alive"));
  int32_t status;
  while ((status = state_of(t, value, error)) == TRAINER_BUSY && now(WAIT_CLOCK) < deadline) pthread_cond_timedwait(&changed, &lock, &until);
  drop(&t->object);
  return leave(status == TRAINER_BUSY ? fail(error, TRAINER_TIMEOUT, "the timeline did not reach the value in time") : status);
}

static int32_t device_stats(uint64_t handle, trainer_device_stats *stats, trainer_error *error) {
  enter();
  const struct device *device = find(handle, DEVICE, NULL);
  if (!device) return leave(fail(error, TRAINER_STALE, "the device is not open"));
  trainer_device_stats own = {.memory_used = device->used, .memory_peak = device->peak};
  write_struct(stats, &own, sizeof own);
  return leave(TRAINER_OK);
}

static const trainer_backend_table table = {
    .struct_size = sizeof table,
    .shutdown = backend_shutdown,
    .device_count = device_count,
    .device_info = device_info,
    .device_open = device_open,
    .device_close = device_close,
    .query_ops = query_ops,
    .buffer_alloc = buffer_alloc,
    .buffer_free = buffer_free,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .list_check = list_check,
    .submit = submit,
    .timeline_create = timeline_create,
    .timeline_destroy = timeline_destroy,
    .timeline_read = timeline_read,
    .timeline_wait = timeline_wait,
    .device_stats = device_stats,
};

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *given, trainer_reply *out) {
  trainer_host_info host;
  trainer_reply reply = {.abi_major = TRAINER_ABI_MAJOR, .abi_minor = TRAINER_ABI_MINOR, .error = {.struct_size = sizeof(trainer_error)}};
  int32_t status = TRAINER_OK;
  if (size_of(out) < offsetof(trainer_reply, error)) return TRAINER_INVALID;
  if (!read_struct(&host, sizeof host, given)) status = fail(&reply.error, TRAINER_INVALID, "the host says nothing of itself");
  else if (host.abi_major != TRAINER_ABI_MAJOR) status = fail(&reply.error, TRAINER_UNSUPPORTED, "the host has another major version of the border");
  else reply.table = &table;
  if (!status && host.abi_minor < reply.abi_minor) reply.abi_minor = host.abi_minor;
  write_struct(out, &reply, sizeof reply);
  return status;
}
