/* check_fused.c - see check.h: the ops that fuse several. */
#include "check.h"
#include "quant.h"

/* ---- linear ---- */

#define RANK_MOST ((int64_t)1 << 24) /* of all projections: sizes of scratch stay within 64 bits */

/* The projections of a record. They follow the attribute's header without padding. */
struct projections {
  const trainer_projection *at;
  uint32_t n;
  int64_t in, out, rank; /* K, sum N_p, sum r_p */
};

/* Checks the attribute and the operand counts: n_out = out0 + out_each per projection,
 * n_in = in0 + in_each per projection. */
static int32_t open_projections(const struct record *r, struct projections *all, uint32_t out0, uint32_t out_each, uint32_t in0, uint32_t in_each, char *text, uint64_t bytes) {
  const trainer_attr_linear *attr = r->attr;
  if (r->attr_bytes < sizeof *attr || attr->n_projections == 0 || (r->attr_bytes - sizeof *attr) / sizeof(trainer_projection) < attr->n_projections)
    return refuse(text, bytes, TRAINER_INVALID, "the attribute does not hold its projections");
  uint64_t n = attr->n_projections;
  if (r->n_out != out0 + n * out_each || r->n_in != in0 + n * in_each)
    return refuse(text, bytes, TRAINER_INVALID, "the number of operands is not that of the projections");
  const trainer_projection *at = (const trainer_projection *)(const void *)(attr + 1);
  *all = (struct projections){.at = at, .n = attr->n_projections, .in = at->in_features};
  for (uint32_t p = 0; p < n; p++) {
    int sized = at[p].out_features > 0 && at[p].out_features <= INT32_MAX && at[p].in_features > 0 && at[p].in_features <= INT32_MAX;
    if (!sized || at[p].in_features != all->in)
      return refuse(text, bytes, TRAINER_INVALID, "the projections do not read one input, or a size is out of range");
    all->out += at[p].out_features;
    all->rank += at[p].rank;
  }
  if (all->rank > RANK_MOST) return refuse(text, bytes, TRAINER_UNSUPPORTED, "the ranks of the adapters are out of range");
  if (all->out > INT32_MAX) return refuse(text, bytes, TRAINER_UNSUPPORTED, "the projections together have 2^31 outputs");
  return check_compute(attr->compute, text, bytes);
}

static int is_float_vector(const struct view *view, int64_t n) { return is_float(view) && view->rank == 1 && view->shape[0] == n; }

/* Absent, or u8 [rows, ceil(cols/8)]. */
static int is_mask(const struct view *view, int64_t rows, int64_t cols) {
  if (!view->present) return 1;
  return view->dtype == TRAINER_U8 && view->rank == 2 && view->shape[0] == rows && view->shape[1] == (cols + 7) / 8;
}

/* A [r, K] and B [N, r], both absent for rank 0. */
static int is_adapter(const trainer_projection *p, const struct view *a, const struct view *b) {
  if (p->rank == 0) return !a->present && !b->present;
  return is_matrix(a, p->rank, p->in_features) && is_matrix(b, p->out_features, p->rank);
}

int32_t check_linear(const struct record *r, char *text, uint64_t bytes) {
  const uint32_t each = TRAINER_WEIGHT_OPERANDS + 3; /* weight, bias, A, B */
  struct projections all;
  int32_t status = open_projections(r, &all, 2, 0, 2, each, text, bytes);
  if (status) return status;
  const struct view *x = &r->in[0], *drop = &r->in[1], *y = &r->out[0], *u = &r->out[1];
  int64_t rows = x->shape[0];
  int dropped = is_mask(drop, rows, all.in) || is_matrix(drop, rows, all.in);
  if (!is_matrix(x, rows, all.in) || !dropped || !is_matrix(y, rows, all.out))
    return refuse(text, bytes, TRAINER_INVALID, "x, mask, drop(x) or y does not have the shape of the projections");
  if (all.rank ? !is_matrix(u, rows, all.rank) : u->present) return refuse(text, bytes, TRAINER_INVALID, "u is not a matrix of the adapters' ranks");
  for (uint32_t p = 0; p < all.n; p++) {
    const trainer_projection *at = &all.at[p];
    const struct view *w = r->in + 2 + p * each, *bias = w + TRAINER_WEIGHT_OPERANDS;
    status = quant_check(w, &at->format, at->out_features, at->in_features, text, bytes);
    if (status) return status;
    if ((bias->present && !is_float_vector(bias, at->out_features)) || !is_adapter(at, bias + 1, bias + 2))
      return refuse(text, bytes, TRAINER_INVALID, "bias, A or B does not have the shape of its projection");
  }
  return TRAINER_OK;
}

int32_t check_linear_grad_input(const struct record *r, char *text, uint64_t bytes) {
  const uint32_t each = TRAINER_WEIGHT_OPERANDS + 2; /* weight, A, B */
  struct projections all;
  int32_t status = open_projections(r, &all, 2, 0, 3, each, text, bytes);
  if (status) return status;
  const struct view *dx = &r->out[0], *v = &r->out[1], *dy = &r->in[0], *mask = &r->in[1], *residual = &r->in[2];
  int64_t rows = dy->shape[0];
  if (!is_matrix(dy, rows, all.out) || !is_mask(mask, rows, all.in))
    return refuse(text, bytes, TRAINER_INVALID, "dy or mask does not have the shape of the projections");
  if ((dx->present && !is_matrix(dx, rows, all.in)) || (residual->present && !is_matrix(residual, rows, all.in)))
    return refuse(text, bytes, TRAINER_INVALID, "dx or residual does not have the shape of the input");
  if (v->present && (all.rank == 0 || !is_matrix(v, rows, all.rank)))
    return refuse(text, bytes, TRAINER_INVALID, "v is not a matrix of the adapters' ranks");
  for (uint32_t p = 0; p < all.n; p++) {
    const trainer_projection *at = &all.at[p];
    const struct view *w = r->in + 3 + p * each, *a = w + TRAINER_WEIGHT_OPERANDS;
    status = quant_check(w, &at->format, at->out_features, at->in_features, text, bytes);
    if (status) return status;
    if (!is_adapter(at, a, a + 1)) return refuse(text, bytes, TRAINER_INVALID, "A or B does not have the shape of its projection");
  }
  return TRAINER_OK;
}

int32_t check_linear_grad_weight(const struct record *r, char *text, uint64_t bytes) {
  struct projections all;
  int32_t status = open_projections(r, &all, 0, 2, 2, 0, text, bytes);
  if (status) return status;
  int64_t rows = r->in[0].shape[0];
  if (!is_matrix(&r->in[0], rows, all.out) || !is_matrix(&r->in[1], rows, all.in))
    return refuse(text, bytes, TRAINER_INVALID, "dy or x does not have the shape of the projections");
  for (uint32_t p = 0; p < all.n; p++) {
    const struct view *dw = &r->out[2 * p], *bias = &r->out[2 * p + 1];
    int64_t out = all.at[p].out_features;
    if ((dw->present && !is_matrix(dw, out, all.in)) || (bias->present && !is_float_vector(bias, out)))
      return refuse(text, bytes, TRAINER_INVALID, "dW or dbias does not have the shape of its projection");
  }
  return TRAINER_OK;
}

int32_t check_linear_grad_adapter(const struct record *r, char *text, uint64_t bytes) {
  struct projections all;
  int32_t status = open_projections(r, &all, 0, 2, 5, 0, text, bytes);
  if (status) return status;
  const struct view *in = r->in;
  int64_t rows = in[0].shape[0];
  if (!is_matrix(&in[0], rows, all.out) || !is_matrix(&in[1], rows, all.in) || !is_mask(&in[2], rows, all.in))
    return refuse(text, bytes, TRAINER_INVALID, "dy, x or mask does not have the shape of the projections");
  if (!is_matrix(&in[3], rows, all.rank) || !is_matrix(&in[4], rows, all.rank))
    return refuse(text, bytes, TRAINER_INVALID, "u or v is not a matrix of the adapters' ranks");
  for (uint32_t p = 0; p < all.n; p++) {
    const trainer_projection *at = &all.at[p];
    const struct view *a = &r->out[2 * p], *b = &r->out[2 * p + 1];
    int bad_a = a->present && (at->rank == 0 || !is_matrix(a, at->rank, at->in_features));
    int bad_b = b->present && (at->rank == 0 || !is_matrix(b, at->out_features, at->rank));
    if (bad_a || bad_b) return refuse(text, bytes, TRAINER_INVALID, "dA or dB does not have the shape of its projection");
  }
  return TRAINER_OK;
}

int32_t check_linear_cross_entropy(const struct record *r, char *text, uint64_t bytes) {
  const trainer_attr_linear_cross_entropy *attr = r->attr;
  if (r->n_out != 3 || r->n_in != 3 + TRAINER_WEIGHT_OPERANDS || r->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "the op has three outputs, eleven inputs and attr_linear_cross_entropy");
  const struct view *dh = &r->out[1], *dw = &r->out[2], *h = &r->in[0], *labels = &r->in[1];
  int64_t rows = h->shape[0], out = attr->out_features, in = attr->in_features;
  if (out <= 0 || out > INT32_MAX || in <= 0 || in > INT32_MAX) return refuse(text, bytes, TRAINER_INVALID, "out_features or in_features is out of range");
  if (!is_matrix(h, rows, in) || !is_dtype(labels, TRAINER_I32) || labels->rank != 1 || labels->shape[0] != rows)
    return refuse(text, bytes, TRAINER_INVALID, "h is not a float matrix [R, K] with i32 labels [R]");
  if (!is_scalar(&r->out[0], TRAINER_F32) || !is_scalar(&r->in[2], TRAINER_F32))
    return refuse(text, bytes, TRAINER_INVALID, "loss or grad_scale is not one f32");
  if ((dh->present && !is_matrix(dh, rows, in)) || (dw->present && !is_matrix(dw, out, in)))
    return refuse(text, bytes, TRAINER_INVALID, "dh or dW does not have the shape of h or of the weight");
  int32_t status = check_compute(attr->compute, text, bytes);
  return status ? status : quant_check(r->in + 3, &attr->format, out, in, text, bytes);
}

/* ---- weights in another format ---- */

static int32_t check_formats(const struct record *r, const struct view *weight, const struct view *dense, char *text, uint64_t bytes) {
  const trainer_attr_quant *attr = r->attr;
  if (r->attr_bytes < sizeof *attr) return refuse(text, bytes, TRAINER_INVALID, "quantise and dequantise need their attributes");
  if (!is_float(dense) || dense->rank != 2 || dense->shape[0] != attr->rows || dense->shape[1] != attr->cols)
    return refuse(text, bytes, TRAINER_INVALID, "the dense weight is not float [rows, cols]");
  if (!quant_is_dense(&attr->format) && !is_contiguous(dense)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "the dense weight has gaps");
  return quant_check(weight, &attr->format, attr->rows, attr->cols, text, bytes);
}

int32_t check_quantise(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != TRAINER_WEIGHT_OPERANDS || r->n_in != 1)
    return refuse(text, bytes, TRAINER_INVALID, "quantise needs a weight of eight outputs and src");
  return check_formats(r, r->out, r->in, text, bytes);
}

int32_t check_dequantise(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 1 || r->n_in != TRAINER_WEIGHT_OPERANDS)
    return refuse(text, bytes, TRAINER_INVALID, "dequantise needs dst and a weight of eight inputs");
  return check_formats(r, r->in, r->out, text, bytes);
}

/* ---- attention ---- */

static int is_like(const struct view *x, const struct view *like) { return is_float(x) && same_shape(x, like); }

static int32_t check_heads(const struct view *q, const struct view *k, const struct view *v, const struct view *o, const struct view *lse, char *text, uint64_t bytes) {
  if (q->rank != 4 || k->rank != 4 || k->shape[2] <= 0 || q->shape[2] <= 0 || q->shape[3] <= 0 || q->shape[2] % k->shape[2] != 0)
    return refuse(text, bytes, TRAINER_INVALID, "q [B,S,H,D] and k [B,L,G,D] do not fit: H is not a multiple of G");
  if (!is_float(q) || !is_float(k) || k->shape[0] != q->shape[0] || k->shape[3] != q->shape[3] || !is_like(v, k))
    return refuse(text, bytes, TRAINER_INVALID, "q, k or v does not have the shape of the others");
  if (!is_like(o, q)) return refuse(text, bytes, TRAINER_INVALID, "o does not have the shape of q");
  if (!is_dtype(lse, TRAINER_F32) || lse->rank != 3 || lse->shape[0] != q->shape[0] || lse->shape[1] != q->shape[2] || lse->shape[2] != q->shape[1])
    return refuse(text, bytes, TRAINER_INVALID, "lse is not f32 [B,H,S]");
  return TRAINER_OK;
}

/* lengths?, segments?, offset? at in. */
static int32_t check_attended(const struct view *in, const struct view *q, const struct view *k, char *text, uint64_t bytes) {
  const struct view *lengths = in, *segments = in + 1, *offset = in + 2;
  int64_t batch = q->shape[0], most = q->shape[1] > k->shape[1] ? q->shape[1] : k->shape[1];
  if (lengths->present && (lengths->dtype != TRAINER_I32 || lengths->rank != 1 || lengths->shape[0] != batch))
    return refuse(text, bytes, TRAINER_INVALID, "lengths is not i32 [B]");
  if (segments->present && (segments->dtype != TRAINER_I32 || segments->rank != 2 || segments->shape[0] != batch || segments->shape[1] < most))
    return refuse(text, bytes, TRAINER_INVALID, "segments is not i32 [B,S] over all queries and keys");
  if (offset->present && !is_scalar(offset, TRAINER_I32)) return refuse(text, bytes, TRAINER_INVALID, "offset is not one i32");
  return TRAINER_OK;
}

int32_t check_attention(const struct record *r, char *text, uint64_t bytes) {
  const struct view *in = r->in;
  const trainer_attr_attention *attr = r->attr;
  if (r->n_out != 2 || r->n_in != 6 || r->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "attention has two outputs, six inputs and attr_attention");
  int32_t status = check_heads(&in[0], &in[1], &in[2], &r->out[0], &r->out[1], text, bytes);
  if (!status) status = check_attended(&in[3], &in[0], &in[1], text, bytes);
  return status ? status : check_compute(attr->compute, text, bytes);
}

int32_t check_attention_grad(const struct record *r, char *text, uint64_t bytes) {
  const struct view *in = r->in, *grad_o = &in[0], *q = &in[3], *k = &in[4], *dq = &r->out[0], *dk = &r->out[1], *dv = &r->out[2];
  const trainer_attr_attention *attr = r->attr;
  if (r->n_out != 3 || r->n_in != 9 || r->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "attention_grad has three outputs, nine inputs and attr_attention");
  int32_t status = check_heads(q, k, &in[5], &in[1], &in[2], text, bytes);
  if (!status) status = check_attended(&in[6], q, k, text, bytes);
  if (status) return status;
  if (!is_like(grad_o, q) || (dq->present && !is_like(dq, q)) || (dk->present && !is_like(dk, k)) || (dv->present && !is_like(dv, k)))
    return refuse(text, bytes, TRAINER_INVALID, "a gradient does not have the shape of its tensor");
  return check_compute(attr->compute, text, bytes);
}

/* ---- rows ---- */

/* Floats of the shape of another view, with rows that lie without gaps. */
static int is_rows(const struct view *view, const struct view *like) { return is_like(view, like) && has_rows(view); }

static int is_weight(const struct view *w, int64_t width) { return is_float(w) && is_vector(w, width); }

static int is_f32_vector(const struct view *view, int64_t n) { return is_dtype(view, TRAINER_F32) && is_vector(view, n); }

static int64_t rows_of(const struct view *view) { return last_dim(view) ? view->count / last_dim(view) : 0; }

static int32_t refuse_rmsnorm(char *text, uint64_t bytes) {
  return refuse(text, bytes, TRAINER_INVALID, "operands of rmsnorm must be float rows of one shape [T, H], w [H] and rstd f32 [T]");
}

int32_t check_rmsnorm(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 3 || r->n_in != 3 || r->attr_bytes < sizeof(trainer_attr_rmsnorm))
    return refuse(text, bytes, TRAINER_INVALID, "rmsnorm needs three outputs, three inputs and its attributes");
  const struct view *y = &r->out[0], *h = &r->out[1], *rstd = &r->out[2], *x = &r->in[0], *residual = &r->in[1], *w = &r->in[2];
  if (h->present != residual->present) return refuse(text, bytes, TRAINER_INVALID, "h of rmsnorm is present exactly when residual is");
  if (!is_rows(x, x) || !is_rows(y, x) || (h->present && (!is_rows(h, x) || !is_rows(residual, x))) || !is_f32_vector(rstd, rows_of(x)) ||
      !is_weight(w, last_dim(x)))
    return refuse_rmsnorm(text, bytes);
  return TRAINER_OK;
}

int32_t check_rmsnorm_grad(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 2 || r->n_in != 5 || r->attr_bytes < sizeof(trainer_attr_rmsnorm))
    return refuse(text, bytes, TRAINER_INVALID, "rmsnorm_grad needs two outputs, five inputs and its attributes");
  const struct view *dx = &r->out[0], *dw = &r->out[1], *dy = &r->in[0], *h = &r->in[1], *rstd = &r->in[2], *w = &r->in[3], *residual = &r->in[4];
  if (!is_rows(dy, dy) || !is_rows(dx, dy) || !is_rows(h, dy) || (residual->present && !is_rows(residual, dy)) ||
      !is_f32_vector(rstd, rows_of(dy)) || !is_weight(w, last_dim(dy)) || (dw->present && !is_weight(dw, last_dim(dy))))
    return refuse_rmsnorm(text, bytes);
  return TRAINER_OK;
}

int32_t check_rope(const struct record *r, char *text, uint64_t bytes) {
  const struct view *y = &r->out[0], *x = &r->in[0], *positions = &r->in[1], *frequencies = &r->in[2];
  const trainer_attr_rope *attr = r->attr;
  if (r->n_out != 1 || r->n_in != 3 || r->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "rope needs y, x, positions, inv_freq and its attributes");
  if (x->rank != 3 || !is_rows(x, x) || !is_rows(y, x))
    return refuse(text, bytes, TRAINER_INVALID, "x and y of rope must be float [T, heads, D] with rows without gaps");
  if (attr->heads > x->shape[1] || attr->rotary_dim % 2 || attr->rotary_dim > x->shape[2])
    return refuse(text, bytes, TRAINER_INVALID, "heads or rotary_dim of rope is larger than x, or rotary_dim is odd");
  if (!is_dtype(positions, TRAINER_I32) || positions->rank != 1 || positions->count != x->shape[0] ||
      !is_f32_vector(frequencies, attr->rotary_dim / 2))
    return refuse(text, bytes, TRAINER_INVALID, "rope needs positions i32 [T] and inv_freq f32 [R/2]");
  return TRAINER_OK;
}

static int32_t check_gated(const struct view *view, const struct view *like, char *text, uint64_t bytes) {
  if (!same_shape(like, view)) return refuse(text, bytes, TRAINER_INVALID, "operands of swiglu differ in shape");
  if (!is_float(view)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "operands of swiglu must be floats");
  return TRAINER_OK;
}

int32_t check_swiglu(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 1 || r->n_in != 2) return refuse(text, bytes, TRAINER_INVALID, "swiglu needs one output and two inputs");
  int32_t status = check_gated(&r->out[0], &r->in[0], text, bytes);
  for (uint32_t i = 0; !status && i < 2; i++) status = check_gated(&r->in[i], &r->in[0], text, bytes);
  return status;
}

int32_t check_swiglu_grad(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 2 || r->n_in != 3) return refuse(text, bytes, TRAINER_INVALID, "swiglu_grad needs two outputs and three inputs");
  int32_t status = TRAINER_OK;
  for (uint32_t i = 0; !status && i < 2; i++)
    if (r->out[i].present) status = check_gated(&r->out[i], &r->in[0], text, bytes);
  for (uint32_t i = 0; !status && i < 3; i++) status = check_gated(&r->in[i], &r->in[0], text, bytes);
  return status;
}

static int32_t refuse_scale(char *text, uint64_t bytes) {
  return refuse(text, bytes, TRAINER_INVALID, "operands of scale must be float rows of one shape [T, N] and g f32 [N]");
}

int32_t check_scale(const struct record *r, char *text, uint64_t bytes) {
  const struct view *y = &r->out[0], *x = &r->in[0], *g = &r->in[1];
  if (r->n_out != 1 || r->n_in != 2) return refuse(text, bytes, TRAINER_INVALID, "scale needs one output and two inputs");
  if (x->rank != 2 || !is_rows(x, x) || !is_rows(y, x) || !is_f32_vector(g, last_dim(x))) return refuse_scale(text, bytes);
  return TRAINER_OK;
}

int32_t check_scale_grad(const struct record *r, char *text, uint64_t bytes) {
  const struct view *dx = &r->out[0], *dg = &r->out[1], *dy = &r->in[0], *x = &r->in[1], *g = &r->in[2];
  if (r->n_out != 2 || r->n_in != 3) return refuse(text, bytes, TRAINER_INVALID, "scale_grad needs two outputs and three inputs");
  if (x->present != dg->present) return refuse(text, bytes, TRAINER_INVALID, "x of scale_grad is present exactly when dg is");
  if (dy->rank != 2 || !is_rows(dy, dy) || (dx->present && !is_rows(dx, dy)) || !is_f32_vector(g, last_dim(dy)) ||
      (dg->present && (!is_f32_vector(dg, last_dim(dy)) || !is_rows(x, dy))))
    return refuse_scale(text, bytes);
  return TRAINER_OK;
}

int32_t check_dropout_mask(const struct record *r, char *text, uint64_t bytes) {
  const trainer_attr_dropout_mask *attr = r->attr;
  const struct view *mask = &r->out[0], *y = &r->out[1], *x = &r->in[4];
  if (r->n_out != 2 || r->n_in != 5 || r->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "dropout_mask needs two outputs, five inputs and its attributes");
  if (!is_dtype(mask, TRAINER_U8) || mask->rank != 2 || !has_rows(mask) || attr->features < 0 || attr->features > INT32_MAX ||
      mask->shape[1] != (attr->features + 7) / 8 || !has_random_site(r->in, mask->shape[0]))
    return refuse(text, bytes, TRAINER_INVALID, "dropout_mask needs mask u8 [T, ceil(K/8)], samples, positions i32 [T], seed i32 [2], step i32 [1]");
  int64_t rows = mask->shape[0];
  int both = is_matrix(x, rows, attr->features) && has_rows(x) && is_matrix(y, rows, attr->features) && has_rows(y);
  if (!both && (x->present || y->present))
    return refuse(text, bytes, TRAINER_INVALID, "x and y of dropout_mask are not both absent, or both float [T, K]");
  return TRAINER_OK;
}

/* ---- the update ---- */

int32_t check_global_norm(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 1 || !is_scalar(&r->out[0], TRAINER_F32)) return refuse(text, bytes, TRAINER_INVALID, "global_norm writes one f32");
  for (uint32_t i = 0; i < r->n_in; i++)
    if (!is_float(&r->in[i])) return refuse(text, bytes, TRAINER_UNSUPPORTED, "gradients of global_norm must be floats");
  return TRAINER_OK;
}

int32_t check_guard(const struct record *r, char *text, uint64_t bytes) {
  const uint32_t dtypes[6] = {TRAINER_F32, TRAINER_I32, TRAINER_I32, TRAINER_F32, TRAINER_F32, TRAINER_I32}; /* clip, skip, steps, norm, scale, growth */
  if (r->n_out != 6 || r->n_in != 1 || r->attr_bytes < sizeof(trainer_attr_guard))
    return refuse(text, bytes, TRAINER_INVALID, "guard needs six outputs, sumsq and its attributes");
  int scalars = is_scalar(&r->in[0], TRAINER_F32);
  for (uint32_t i = 0; i < 6; i++) scalars = scalars && is_scalar(&r->out[i], dtypes[i]);
  return scalars ? TRAINER_OK : refuse(text, bytes, TRAINER_INVALID, "operands of guard are one f32 or i32 each");
}

int32_t check_adamw(const struct record *r, char *text, uint64_t bytes) {
  if (r->n_out != 3 || r->n_in != 6 || r->attr_bytes < sizeof(trainer_attr_adamw))
    return refuse(text, bytes, TRAINER_INVALID, "adamw needs param, m, v, six inputs and its attributes");
  const struct view *lr = &r->in[1], *clip = &r->in[2], *skip = &r->in[3], *steps = &r->in[4], *seed = &r->in[5];
  for (uint32_t i = 0; i < 4; i++) {
    const struct view *state = i < 3 ? &r->out[i] : &r->in[0];
    if (!same_shape(&r->out[0], state)) return refuse(text, bytes, TRAINER_INVALID, "param, m, v and grad of adamw differ in shape");
    if (!is_float(state)) return refuse(text, bytes, TRAINER_UNSUPPORTED, "param, m, v and grad of adamw must be floats");
  }
  if (!is_scalar(lr, TRAINER_F32) || !is_scalar(clip, TRAINER_F32) || !is_scalar(skip, TRAINER_I32) || !is_scalar(steps, TRAINER_I32) ||
      !is_dtype(seed, TRAINER_I32) || !is_vector(seed, 2))
    return refuse(text, bytes, TRAINER_INVALID, "lr, clip f32 [1], skip, steps i32 [1], seed i32 [2] of adamw are not that");
  return TRAINER_OK;
}
