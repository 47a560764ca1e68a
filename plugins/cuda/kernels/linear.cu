/* linear.cu - y_p = x W_p^T + bias_p + scale_p * drop(x) A_p^T B_p^T (Hu et al. 2021;
 * Dettmers et al. 2023), and what the four linear ops share. */
#include "linear.cuh"

#define OPERANDS_EACH (TRAINER_WEIGHT_OPERANDS + 3) /* weight, bias, A, B */

/* ---- shared ---- */

struct linear linear_of(const struct call *call) {
  const trainer_attr_linear *attr = (const trainer_attr_linear *)call->attr;
  struct linear linear = {.attr = attr, .projections = (const trainer_projection *)(attr + 1), .n = attr->n_projections, .compute = compute_of(attr->compute)};
  for (uint32_t p = 0; p < linear.n; p++) {
    linear.in = linear.projections[p].in_features;
    linear.out += linear.projections[p].out_features;
    linear.rank += linear.projections[p].rank;
    linear.ranks += padded(linear.projections[p].rank);
  }
  return linear;
}

int weights_are_readable(const struct linear *linear, struct operands weights) {
  for (uint32_t p = 0; p < linear->n; p++) {
    if (!quant_is_dense(&linear->projections[p].format)) return 0;
    struct matrix w = matrix_of(operand_of(weights, p));
    if (!gemm_reads(&w, linear->compute)) return 0;
  }
  return 1;
}

void weights_stack(const struct pass *pass, struct blends *blends, const struct linear *linear, struct operands weights, struct matrix w) {
  struct slice at = {};
  for (uint32_t p = 0; p < linear->n; at = slice_next(at, &linear->projections[p++])) {
    const trainer_projection *projection = &linear->projections[p];
    struct matrix to = matrix_rows(w, at.out, projection->out_features);
    if (quant_is_dense(&projection->format)) blends_add(blends, blend_copy(to, matrix_of(operand_of(weights, p))));
    else if (pass_runs(pass)) dequantise(to, operand_of(weights, p), &projection->format, pass->call->stream);
  }
  blends_run(blends);
}

void stack_a(struct blends *blends, const struct linear *linear, struct operands as, struct matrix a) {
  struct slice at = {};
  for (uint32_t p = 0; p < linear->n; at = slice_next(at, &linear->projections[p++])) {
    int64_t rank = linear->projections[p].rank;
    if (rank == 0) continue;
    struct matrix none = {};
    blends_add(blends, blend_copy(matrix_rows(a, at.stacked, rank), matrix_of(operand_of(as, p))));
    blends_add(blends, blend_copy(matrix_rows(a, at.stacked + rank, padded(rank) - rank), none));
  }
}

void stack_b(struct blends *blends, const struct linear *linear, struct operands bs, struct matrix b) {
  struct slice at = {};
  for (uint32_t p = 0; p < linear->n; at = slice_next(at, &linear->projections[p++])) {
    const trainer_projection *projection = &linear->projections[p];
    struct matrix none = {};
    struct blend job = blend_copy(matrix_rows(b, at.out, projection->out_features), projection->rank ? matrix_of(operand_of(bs, p)) : none);
    job.first = at.stacked;
    job.factor = f32_of_bits(projection->scale_bits);
    blends_add(blends, job);
  }
}

static int ranks_are_plain(const struct linear *linear, const struct view *operand) { return operand->present && linear->ranks == linear->rank; }

struct matrix ranks_sink(struct pass *pass, const struct linear *linear, const struct view *operand, int64_t rows) {
  if (ranks_are_plain(linear, operand)) {
    struct matrix own = matrix_of(operand);
    if (gemm_writes(&own, linear->compute)) return own;
  }
  return scratch_matrix(&pass->scratch, operand->present ? TRAINER_F32 : linear->compute, rows, linear->ranks);
}

/* Copies every projection's columns between an operand and a stacked matrix. */
static void copy_ranks(struct blends *blends, const struct linear *linear, struct matrix operand, struct matrix stacked, int to_operand) {
  struct slice at = {};
  for (uint32_t p = 0; p < linear->n; at = slice_next(at, &linear->projections[p++])) {
    int64_t rank = linear->projections[p].rank;
    if (rank == 0) continue;
    struct matrix outside = matrix_cols(operand, at.rank, rank);
    if (to_operand) blends_add(blends, blend_copy(outside, matrix_cols(stacked, at.stacked, rank)));
    else blends_add(blends, blend_copy(matrix_cols(stacked, at.stacked, padded(rank)), outside));
  }
}

void ranks_store(struct blends *blends, const struct linear *linear, const struct view *operand, struct matrix sink) {
  if (operand->present && operand->data != sink.data) copy_ranks(blends, linear, matrix_of(operand), sink, 1);
}

struct matrix ranks_side(struct pass *pass, struct blends *blends, const struct linear *linear, const struct view *operand) {
  struct matrix own = matrix_of(operand);
  if (ranks_are_plain(linear, operand) && gemm_reads(&own, linear->compute)) return own;
  struct matrix side = scratch_matrix(&pass->scratch, linear->compute, own.rows, linear->ranks);
  copy_ranks(blends, linear, own, side, 0);
  return side;
}

/* ---- y ---- */

/* What one pass works with. */
struct forward {
  struct pass *pass;
  struct linear linear;
  struct operands weights, biases, as, bs;
  int64_t rows;
  int joins;   /* the adapters join the large product */
  int stacked; /* weights are copied, one below the other */
  struct matrix x; /* left side: x, with room for u if the adapters join */
  struct matrix w; /* if stacked: [sum N_p, K], with room for B if the adapters join */
  struct matrix down; /* left side of u: drop(x) */
  struct matrix a; /* [ranks, K] */
  struct matrix b; /* [sum N_p, ranks] */
  struct matrix u; /* [T, ranks] */
  struct matrix y;
  int started; /* y holds the bias */
};

/* Elements copied if the adapters join: x, and weights that could be read where they lie;
 * and the multiplications with zeros beside the blocks of B. */
static int joins(const struct linear *l, int64_t rows, int readable) {
  double zeros = 0;
  for (uint32_t p = 0; p < l->n; p++) zeros += (double)l->projections[p].out_features * (double)(l->ranks - padded(l->projections[p].rank));
  double join = (double)rows * (double)l->in + (double)rows * zeros / MULTIPLICATIONS_PER_ELEMENT;
  if (readable) join += (double)l->out * (double)l->in;
  return l->rank && join < (double)rows * (double)l->out;
}

static struct forward forward_of(struct pass *pass) {
  const struct view *in = pass->call->in + 2;
  struct forward f = {.pass = pass, .linear = linear_of(pass->call), .rows = pass->call->in[0].shape[0]};
  f.weights = (struct operands){in, OPERANDS_EACH};
  f.biases = (struct operands){in + TRAINER_WEIGHT_OPERANDS, OPERANDS_EACH};
  f.as = (struct operands){in + TRAINER_WEIGHT_OPERANDS + 1, OPERANDS_EACH};
  f.bs = (struct operands){in + TRAINER_WEIGHT_OPERANDS + 2, OPERANDS_EACH};
  int readable = weights_are_readable(&f.linear, f.weights);
  f.joins = joins(&f.linear, f.rows, readable);
  f.stacked = f.joins || !readable;
  return f;
}

/* Writes the biases to y, zeros where there is none; nothing if no projection has one. */
static void start_with_bias(struct forward *f, struct blends *blends) {
  struct slice at = {};
  for (uint32_t p = 0; p < f->linear.n; p++) f->started |= operand_of(f->biases, p)->present;
  for (uint32_t p = 0; f->started && p < f->linear.n; at = slice_next(at, &f->linear.projections[p++])) {
    const struct view *bias = operand_of(f->biases, p);
    struct matrix none = {};
    struct blend job = blend_copy(matrix_cols(f->y, at.out, f->linear.projections[p].out_features), none);
    if (bias->present) job.add = (struct matrix){bias->data, bias->dtype, f->rows, bias->shape[0], 0, bias->stride[0]};
    blends_add(blends, job);
  }
}

/* The adapters' matrices and drop(x), ready to be read. */
static void lay_out_adapters(struct forward *f, struct blends *blends) {
  struct pass *pass = f->pass;
  struct linear *l = &f->linear;
  struct matrix x = matrix_of(&pass->call->in[0]);
  const struct view *drop = &pass->call->in[1];
  f->a = scratch_matrix(&pass->scratch, l->compute, l->ranks, l->in);
  f->b = f->joins ? matrix_cols(f->w, l->in, l->ranks) : scratch_matrix(&pass->scratch, l->compute, l->out, l->ranks);
  stack_a(blends, l, f->as, f->a);
  stack_b(blends, l, f->bs, f->b);
  f->down = gemm_reads(&x, l->compute) ? x : matrix_cols(f->x, 0, l->in);
  if (!drop->present) return;
  if (is_float(drop)) {
    f->down = side_of(pass, blends, matrix_of(drop), l->compute);
    return;
  }
  f->down = scratch_matrix(&pass->scratch, l->compute, f->rows, l->in);
  blends_add(blends, blend_drop(f->down, x, drop, f32_of_bits(l->attr->keep_scale_bits)));
}

/* Brings all operands but u to where products read them. */
static void lay_out(struct forward *f) {
  struct pass *pass = f->pass;
  struct linear *l = &f->linear;
  struct blends blends = pass_blends(pass);
  struct matrix x = matrix_of(&pass->call->in[0]);
  int64_t width = l->in + (f->joins ? l->ranks : 0);
  f->y = sink_of(pass, matrix_of(&pass->call->out[0]), l->compute);
  if (f->stacked) f->w = scratch_matrix(&pass->scratch, l->compute, l->out, width);
  if (f->joins) {
    f->x = scratch_matrix(&pass->scratch, l->compute, f->rows, width);
    blends_add(&blends, blend_copy(matrix_cols(f->x, 0, l->in), x));
  } else {
    f->x = side_of(pass, &blends, x, l->compute);
  }
  if (l->rank) lay_out_adapters(f, &blends);
  start_with_bias(f, &blends);
  if (f->stacked) weights_stack(pass, &blends, l, f->weights, matrix_cols(f->w, 0, l->in));
  else blends_run(&blends);
}

/* u = drop(x) A^T, stored and ready to be read. */
static void project_down(struct forward *f) {
  struct pass *pass = f->pass;
  struct linear *l = &f->linear;
  const struct view *operand = &pass->call->out[1];
  struct matrix made = ranks_sink(pass, l, operand, f->rows);
  struct gemm down = gemm_of(l->compute, f->down, matrix_transposed(f->a), made);
  pass_gemm(pass, &down);
  struct blends blends = pass_blends(pass);
  ranks_store(&blends, l, operand, made);
  if (f->joins) {
    f->u = matrix_cols(f->x, l->in, l->ranks);
    blends_add(&blends, blend_copy(f->u, made));
  } else {
    f->u = side_of(pass, &blends, made, l->compute);
  }
  blends_run(&blends);
}

/* y_p = [bias +] u_p B_p^T. Where the large product is one, zeros for the others. */
static void project_up(struct forward *f) {
  struct linear *l = &f->linear;
  struct slice at = {};
  for (uint32_t p = 0; p < l->n; at = slice_next(at, &l->projections[p++])) {
    const trainer_projection *projection = &l->projections[p];
    struct matrix y = matrix_cols(f->y, at.out, projection->out_features), none = {};
    if (projection->rank) {
      struct matrix b = matrix_cols(matrix_rows(f->b, at.out, y.cols), at.stacked, padded(projection->rank));
      struct gemm up = gemm_onto(l->compute, matrix_cols(f->u, at.stacked, b.cols), matrix_transposed(b), y, y);
      up.beta = f->started ? 1.0f : 0.0f;
      pass_gemm(f->pass, &up);
    } else if (f->stacked && !f->started) {
      struct blends blends = pass_blends(f->pass);
      blends_add(&blends, blend_copy(y, none));
      blends_run(&blends);
    }
  }
}

/* y += x W^T, in one product if the weights are stacked. */
static void project(struct forward *f) {
  struct linear *l = &f->linear;
  int apart = l->rank && !f->joins;
  struct slice at = {};
  for (uint32_t p = 0; !f->stacked && p < l->n; at = slice_next(at, &l->projections[p++])) {
    struct matrix y = matrix_cols(f->y, at.out, l->projections[p].out_features);
    struct gemm product = gemm_onto(l->compute, f->x, matrix_transposed(matrix_of(operand_of(f->weights, p))), y, y);
    product.beta = f->started || l->projections[p].rank ? 1.0f : 0.0f;
    pass_gemm(f->pass, &product);
  }
  if (!f->stacked) return;
  struct gemm product = gemm_onto(l->compute, f->x, matrix_transposed(f->w), f->y, f->y);
  product.beta = f->started || apart ? 1.0f : 0.0f;
  pass_gemm(f->pass, &product);
}

static void body(struct pass *pass) {
  struct forward f = forward_of(pass);
  if (f.rows == 0) return;
  lay_out(&f);
  if (f.linear.rank) project_down(&f);
  if (f.linear.rank && !f.joins) project_up(&f);
  project(&f);
  sink_store(pass, matrix_of(&pass->call->out[0]), f.y);
}

static int32_t prepare(const struct call *call, void **prepared, char *text, uint64_t text_bytes) {
  return pass_prepare(call, body, 1 + 2 * (uint64_t)linear_of(call).n, prepared, text, text_bytes);
}
static uint64_t workspace(const struct call *call) { return pass_workspace(call, body); }
static int32_t run(const struct call *call, char *text, uint64_t text_bytes) { return pass_run(call, body, text, text_bytes); }

const struct kernel kernel_linear = {TRAINER_OP_LINEAR, "linear", check_linear, prepare, pass_discard, workspace, run, weight_level};
