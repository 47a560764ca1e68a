/* check.c - see check.h: the mandatory ops, and queries. */
#include "check.h"

#include "bits.h"
#include "quant.h"

/* ---- queries ---- */

static int is_float_dtype(uint32_t dtype) { return dtype == TRAINER_F32 || dtype == TRAINER_BF16 || dtype == TRAINER_F16; }

static int float_or_unasked(uint32_t dtype) { return dtype == 0 || is_float_dtype(dtype); }

int asks_stored(const trainer_op_query *query) {
  int stored = float_or_unasked(query->dtype) || query->dtype == TRAINER_I32 || query->dtype == TRAINER_U8;
  return stored && float_or_unasked(query->weight_dtype);
}

int asks_product(const trainer_op_query *query) {
  return float_or_unasked(query->dtype) && float_or_unasked(query->compute) && float_or_unasked(query->weight_dtype) && quant_exists(&query->format);
}

int asks_quantised(const trainer_op_query *query) {
  int codes = !quant_is_dense(&query->format) && query->weight_dtype == TRAINER_U8;
  return float_or_unasked(query->dtype) && (codes || float_or_unasked(query->weight_dtype)) && quant_exists(&query->format);
}

/* ---- moving and making ---- */

int32_t check_copy(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 1 || r->n_in != 1 || !r->out[0].present || !r->in[0].present)
    return refuse(text, bytes, TRAINER_INVALID, "copy needs dst and src");
  if (r->out[0].dtype != r->in[0].dtype || !same_shape(&r->out[0], &r->in[0]))
    return refuse(text, bytes, TRAINER_INVALID, "dst and src of copy differ in dtype or shape");
  return TRAINER_OK;
}

int32_t check_fill(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 1 || r->n_in != 0 || r->attr_bytes < sizeof(trainer_attr_fill))
    return refuse(text, bytes, TRAINER_INVALID, "fill needs dst, no input and its attributes");
  if (!is_stored(&r->out[0])) return refuse(text, bytes, TRAINER_UNSUPPORTED, "fill writes f32, bf16, f16, i32 or u8");
  return TRAINER_OK;
}

int32_t check_iota(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 1 || r->n_in != 0 || r->attr_bytes < sizeof(trainer_attr_iota) || !is_dtype(&r->out[0], TRAINER_I32))
    return refuse(text, bytes, TRAINER_INVALID, "iota needs an i32 dst, no input and its attributes");
  uint32_t dim = ((const trainer_attr_iota *)r->attr)->dim;
  if (dim >= r->out[0].rank || r->out[0].shape[dim] > INT32_MAX)
    return refuse(text, bytes, TRAINER_INVALID, "dst of iota has no such dimension, or it is too long for i32");
  return TRAINER_OK;
}

int32_t check_cast(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 1 || r->n_in != 1 || !same_shape(&r->out[0], &r->in[0]))
    return refuse(text, bytes, TRAINER_INVALID, "cast needs dst and src of one shape");
  if (!is_stored(&r->out[0]) || !is_stored(&r->in[0])) return refuse(text, bytes, TRAINER_UNSUPPORTED, "cast knows f32, bf16, f16, i32 and u8");
  return TRAINER_OK;
}

static int32_t check_bits(const struct record *r, const struct view *values, const struct view *packed, char *text, uint64_t bytes) {
  const trainer_attr_bits *attr = r->attr;
  if (r->n_out != 1 || r->n_in != 1 || r->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "pack and unpack need dst, src and their attributes");
  if (!bits_has_order(attr->bits, attr->order))
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "bits must be 1, 2, 4 or 8 in order 0, and 1 to 8 in order 1");
  if (!is_dtype(values, TRAINER_I32) || !is_dtype(packed, TRAINER_U8) || !is_contiguous(values) || !is_contiguous(packed))
    return refuse(text, bytes, TRAINER_INVALID, "values must be i32 and packed u8, both without gaps");
  if (packed->count != bits_bytes(values->count, attr->bits))
    return refuse(text, bytes, TRAINER_INVALID, "packed must have ceil(n * bits / 8) bytes");
  return TRAINER_OK;
}

int32_t check_unpack(const struct record *r, char *text, uint64_t bytes) { return check_bits(r, r->out, r->in, text, bytes); }
int32_t check_pack(const struct record *r, char *text, uint64_t bytes) { return check_bits(r, r->in, r->out, text, bytes); }

int has_random_site(const struct view *in, int64_t rows) {
  return is_dtype(&in[0], TRAINER_I32) && is_dtype(&in[1], TRAINER_I32) && in[0].rank == 1 && in[1].rank == 1 && in[0].count == rows &&
         in[1].count == rows && is_dtype(&in[2], TRAINER_I32) && is_vector(&in[2], 2) && is_scalar(&in[3], TRAINER_I32);
}

int32_t check_random(const struct record *r, char *text, uint64_t bytes) {
  const struct view *dst = r->out;
  if (r->n_out != 1 || r->n_in != 4 || r->attr_bytes < sizeof(trainer_attr_random))
    return refuse(text, bytes, TRAINER_INVALID, "random needs dst, four inputs and its attributes");
  if (!is_dtype(dst, TRAINER_F32) || dst->rank != 2 || !has_rows(dst) || !has_random_site(r->in, dst->shape[0]))
    return refuse(text, bytes, TRAINER_INVALID, "random needs dst f32 [r, f], samples, positions i32 [r], seed i32 [2], step i32 [1]");
  return TRAINER_OK;
}

/* ---- element by element ---- */

int32_t check_unary(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 1 || r->n_in != 1 || r->attr_bytes < sizeof(trainer_attr_unary) || !same_shape(&r->out[0], &r->in[0]))
    return refuse(text, bytes, TRAINER_INVALID, "unary needs dst and src of one shape and its attributes");
  uint32_t code = ((const trainer_attr_unary *)r->attr)->code;
  if (code < TRAINER_UNARY_NEG || code > TRAINER_UNARY_ROUND) return refuse(text, bytes, TRAINER_UNSUPPORTED, "there is no such unary code");
  int flags = code == TRAINER_UNARY_ISFINITE && is_stored(&r->out[0]);
  if (!is_float(&r->in[0]) || (!is_float(&r->out[0]) && !flags))
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "unary reads and writes floats");
  return TRAINER_OK;
}

int32_t check_binary(const struct record *r, char *text, uint64_t bytes) {
  const struct view *dst = r->out, *a = r->in, *b = r->in + 1;
  if (r->n_out != 1 || r->n_in != 2 || r->attr_bytes < sizeof(trainer_attr_binary) || !same_shape(dst, a) || !same_shape(dst, b))
    return refuse(text, bytes, TRAINER_INVALID, "binary needs dst, a and b of one shape and its attributes");
  uint32_t code = ((const trainer_attr_binary *)r->attr)->code;
  if (code < TRAINER_BINARY_ADD || code > TRAINER_BINARY_POW) return refuse(text, bytes, TRAINER_UNSUPPORTED, "there is no such binary code");
  int compares = code >= TRAINER_BINARY_LT && code <= TRAINER_BINARY_EQ;
  int floats = is_float(a) && is_float(b), ints = is_dtype(a, TRAINER_I32) && is_dtype(b, TRAINER_I32);
  int fits = compares ? is_stored(dst) : floats ? is_float(dst) : is_dtype(dst, TRAINER_I32);
  if ((!floats && !ints) || !fits) return refuse(text, bytes, TRAINER_UNSUPPORTED, "binary takes floats, or i32, and gives the same");
  return TRAINER_OK;
}

int32_t check_select(const struct record *r, char *text, uint64_t bytes) {
  const struct view *dst = r->out, *in = r->in;
  if (r->n_out != 1 || r->n_in != 3 || !same_shape(dst, &in[0]) || !same_shape(dst, &in[1]) || !same_shape(dst, &in[2]))
    return refuse(text, bytes, TRAINER_INVALID, "select needs dst, cond, a and b of one shape");
  int floats = is_float(dst) && is_float(&in[1]) && is_float(&in[2]);
  int same = is_stored(dst) && in[1].present && in[2].present && in[1].dtype == dst->dtype && in[2].dtype == dst->dtype;
  if (!is_stored(&in[0]) || (!floats && !same))
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "select chooses floats, i32 or u8 by a float, i32 or u8");
  return TRAINER_OK;
}

/* ---- rows and sums ---- */

int32_t check_reduce(const struct record *r, char *text, uint64_t bytes) {
  const struct view *dst = r->out, *src = r->in;
  if (r->n_out != 1 || r->n_in != 1 || r->attr_bytes < sizeof(trainer_attr_reduce) || dst->rank != src->rank)
    return refuse(text, bytes, TRAINER_INVALID, "reduce needs dst and src of one rank and its attributes");
  uint32_t code = ((const trainer_attr_reduce *)r->attr)->code;
  if (code != TRAINER_REDUCE_SUM && code != TRAINER_REDUCE_MAX) return refuse(text, bytes, TRAINER_UNSUPPORTED, "there is no such reduce code");
  for (uint32_t dim = 0; dim < src->rank; dim++)
    if (dst->shape[dim] != src->shape[dim] && dst->shape[dim] != 1)
      return refuse(text, bytes, TRAINER_INVALID, "dst of reduce must have src's size or 1 in each dimension");
  int ints = is_dtype(src, TRAINER_I32) && is_dtype(dst, TRAINER_I32);
  if (!ints && !(is_float(src) && is_float(dst))) return refuse(text, bytes, TRAINER_UNSUPPORTED, "reduce takes floats to floats or i32 to i32");
  return TRAINER_OK;
}

static int rows_and_index(const struct view *rows, const struct view *table, const struct view *index) {
  return rows->rank == 2 && table->rank == 2 && rows->shape[1] == table->shape[1] && index->rank == 1 && is_dtype(index, TRAINER_I32) &&
         index->shape[0] == rows->shape[0];
}

int32_t check_gather(const struct record *r, char *text, uint64_t bytes) {
  const struct view *dst = r->out, *src = r->in;
  if (r->n_out != 1 || r->n_in != 2 || !rows_and_index(dst, src, &r->in[1]))
    return refuse(text, bytes, TRAINER_INVALID, "gather needs dst [n, f], src [v, f] and index i32 [n]");
  if (!has_rows(dst) || !has_rows(src)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "rows of gather must lie without gaps");
  int same = dst->dtype == src->dtype && list_dtype_bytes(src->dtype) <= 4;
  if (!same && !(is_float(dst) && is_float(src))) return refuse(text, bytes, TRAINER_UNSUPPORTED, "gather keeps the dtype or converts floats");
  return TRAINER_OK;
}

int32_t check_scatter_add(const struct record *r, char *text, uint64_t bytes) {
  const struct view *dst = r->out, *src = r->in;
  if (r->n_out != 1 || r->n_in != 2 || !rows_and_index(src, dst, &r->in[1]))
    return refuse(text, bytes, TRAINER_INVALID, "scatter_add needs dst [v, f], src [n, f] and index i32 [n]");
  if (!has_rows(dst) || !has_rows(src)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "rows of scatter_add must lie without gaps");
  if (!is_float(dst) || !is_float(src)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "scatter_add adds floats");
  return TRAINER_OK;
}

/* ---- products ---- */

int is_matrix(const struct view *view, int64_t rows, int64_t cols) {
  if (rows > INT32_MAX || cols > INT32_MAX) return 0;
  return is_float(view) && view->rank == 2 && view->shape[0] == rows && view->shape[1] == cols;
}

int32_t check_compute(uint32_t compute, char *text, uint64_t bytes) {
  if (float_or_unasked(compute)) return TRAINER_OK;
  return refuse(text, bytes, TRAINER_UNSUPPORTED, "products are computed in f32, bf16 or f16");
}

/* A batch of matrices [.., rows, cols], whose leading dimensions are d's or repeated. */
static int is_factor(const struct view *x, const struct view *d, int64_t rows, int64_t cols) {
  if (!is_float(x) || x->rank != d->rank || x->shape[x->rank - 2] != rows || x->shape[x->rank - 1] != cols) return 0;
  for (uint32_t dim = 0; dim + 2 < d->rank; dim++)
    if (x->shape[dim] != d->shape[dim] && x->shape[dim] != 1) return 0;
  return 1;
}

int32_t check_matmul(const struct record *r, char *text, uint64_t bytes) {
  const trainer_attr_matmul *attr = r->attr;
  const struct view *d = r->out, *a = r->in, *b = r->in + 1;
  if (r->n_out != 1 || r->n_in != 2 || r->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "a product has one output, two inputs and attr_matmul");
  if (!is_float(d) || d->rank < 2 || a->rank != d->rank) return refuse(text, bytes, TRAINER_INVALID, "d is not a float matrix");
  int64_t m = d->shape[d->rank - 2], n = d->shape[d->rank - 1], k = a->shape[a->rank - 1];
  if (!is_factor(a, d, m, k) || !is_factor(b, d, k, n))
    return refuse(text, bytes, TRAINER_INVALID, "a [..,m,k] and b [..,k,n] do not multiply to d [..,m,n]");
  if (m > INT32_MAX || n > INT32_MAX || k > INT32_MAX) return refuse(text, bytes, TRAINER_UNSUPPORTED, "a matrix has 2^31 rows or columns");
  return check_compute(attr->compute, text, bytes);
}
