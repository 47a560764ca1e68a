/* linear_grad_input.cu - v_p = scale_p * dy_p B_p and dx = residual + sum_p dy_p W_p +
 * drop(sum_p v_p A_p): the frozen part in one product over all projections. */
#include "linear.cuh"
#include "lowrank.cuh"

#define OPERANDS_EACH (TRAINER_WEIGHT_OPERANDS + 2) /* weight, A, B */

/* What one pass works with. */
struct backward {
  struct pass *pass;
  struct linear linear;
  struct operands weights, as, bs;
  int64_t rows;
  int joins;   /* the adapters join the large product */
  int stacked; /* weights are copied, one below the other */
  struct matrix dy; /* left side: dy, with room for v if the adapters join */
  struct matrix w;  /* if stacked: [sum N_p, K], with room for A if the adapters join */
  struct matrix a;  /* [ranks, K] */
  struct matrix v;  /* [T, ranks] */
  struct matrix dx;
  struct matrix base; /* what the next product is added to */
  int started;        /* there is a base */
};

/* Chooses by elements copied. Apart, every product but the first goes over dx once more;
 * weights that could be read where they lie cost a copy if they are stacked; joining
 * copies dy. A mask keeps the adapters apart. */
static void choose(struct backward *b) {
  const struct linear *l = &b->linear;
  double t = (double)b->rows, stack = weights_are_readable(l, b->weights) ? (double)l->out * (double)l->in : 0.0, over = t * (double)l->in;
  int adapters = l->rank != 0;
  double apart = over * (l->n - 1 + adapters), one = stack + over * adapters, join = stack + t * (double)l->out;
  b->joins = adapters && !b->pass->call->in[1].present && join < one && (join < apart || stack == 0.0);
  b->stacked = b->joins || stack == 0.0 || one < apart;
}

static struct backward backward_of(struct pass *pass) {
  const struct view *in = pass->call->in + 3;
  struct backward b = {.pass = pass, .linear = linear_of(pass->call), .rows = pass->call->in[0].shape[0]};
  b.weights = (struct operands){in, OPERANDS_EACH};
  b.as = (struct operands){in + TRAINER_WEIGHT_OPERANDS, OPERANDS_EACH};
  b.bs = (struct operands){in + TRAINER_WEIGHT_OPERANDS + 1, OPERANDS_EACH};
  choose(&b);
  if (!pass->call->out[0].present) b.joins = b.stacked = 0;
  return b;
}

/* Lays out dy, the weights and A; the weights and A are written. */
static void lay_out(struct backward *b) {
  struct pass *pass = b->pass;
  struct linear *l = &b->linear;
  struct blends blends = pass_blends(pass);
  struct matrix dy = matrix_of(&pass->call->in[0]);
  int64_t tail = b->joins ? l->ranks : 0;
  if (b->joins) {
    b->dy = scratch_matrix(&pass->scratch, l->compute, b->rows, l->out + tail);
    blends_add(&blends, blend_copy(matrix_cols(b->dy, 0, l->out), dy));
  } else {
    b->dy = side_of(pass, &blends, dy, l->compute);
  }
  if (!pass->call->out[0].present) {
    blends_run(&blends);
    return;
  }
  if (b->stacked) b->w = scratch_matrix(&pass->scratch, l->compute, l->out + tail, l->in);
  if (l->rank) {
    b->a = b->joins ? matrix_rows(b->w, l->out, tail) : scratch_matrix(&pass->scratch, l->compute, l->ranks, l->in);
    stack_a(&blends, l, b->as, b->a);
  }
  if (b->stacked) weights_stack(pass, &blends, l, b->weights, matrix_rows(b->w, 0, l->out));
  else blends_run(&blends);
}

/* B_p as the right side [N_p, padded r_p]. */
static struct matrix right_of(struct backward *b, struct blends *blends, uint32_t p) {
  struct matrix own = matrix_of(operand_of(b->bs, p));
  int64_t rank = padded(own.cols);
  if (rank == own.cols && gemm_reads(&own, b->linear.compute)) return own;
  struct matrix side = scratch_matrix(&b->pass->scratch, b->linear.compute, own.rows, rank);
  blends_add(blends, blend_copy(side, own));
  return side;
}

/* v, stored and ready to be read. */
static void project_down(struct backward *b) {
  struct pass *pass = b->pass;
  struct linear *l = &b->linear;
  const struct view *operand = &pass->call->out[1];
  struct matrix dy = matrix_of(&pass->call->in[0]), made = ranks_sink(pass, l, operand, b->rows);
  if (!gemm_reads(&dy, l->compute)) dy = matrix_cols(b->dy, 0, l->out);
  struct slice at = {};
  for (uint32_t p = 0; p < l->n; at = slice_next(at, &l->projections[p++])) {
    const trainer_projection *projection = &l->projections[p];
    if (projection->rank == 0) continue;
    struct blends blends = pass_blends(pass);
    struct matrix right = right_of(b, &blends, p);
    blends_run(&blends);
    struct gemm down = gemm_of(l->compute, matrix_cols(dy, at.out, projection->out_features), right, matrix_cols(made, at.stacked, right.cols));
    down.alpha = f32_of_bits(projection->scale_bits);
    pass_gemm(pass, &down);
  }
  struct blends blends = pass_blends(pass);
  ranks_store(&blends, l, operand, made);
  if (b->joins) {
    b->v = matrix_cols(b->dy, l->out, l->ranks);
    blends_add(&blends, blend_copy(b->v, made));
  } else {
    b->v = side_of(pass, &blends, made, l->compute);
  }
  blends_run(&blends);
}

/* dx is built on the residual: where that lies, if a product can read it there. */
static void start_with_residual(struct backward *b) {
  const struct view *residual = &b->pass->call->in[2];
  b->dx = sink_of(b->pass, matrix_of(&b->pass->call->out[0]), b->linear.compute);
  b->base = b->dx;
  b->started = residual->present;
  if (!residual->present) return;
  struct matrix own = matrix_of(residual);
  if (own.dtype == b->dx.dtype && gemm_writes(&own, b->linear.compute)) {
    b->base = own;
    return;
  }
  struct blends blends = pass_blends(b->pass);
  blends_add(&blends, blend_copy(b->dx, own));
  blends_run(&blends);
}

/* dx = base + left right; dx becomes the base. */
static void add_product(struct backward *b, struct matrix left, struct matrix right) {
  struct gemm product = gemm_onto(b->linear.compute, left, right, b->base, b->dx);
  product.beta = b->started ? 1.0f : 0.0f;
  pass_gemm(b->pass, &product);
  b->base = b->dx;
  b->started = 1;
}

/* dx = base + drop(v A) in one go, where the operands lie well enough. */
static int add_dropped(struct backward *b, const struct view *mask, float keep_scale) {
  struct lowrank job = {.a = b->v, .b = b->a, .dst = b->dx, .mask = mask, .factor = keep_scale};
  if (b->started) job.add = b->base;
  if (!lowrank_serves(&job)) return 0;
  if (pass_runs(b->pass)) lowrank_run(&job, b->pass->call->gpu, b->pass->call->stream);
  return 1;
}

/* dx = base + drop(v A) by way of v A. A base may lie where dx does, so that the product then
 * goes to scratch first. */
static void add_dropped_apart(struct backward *b, const struct view *mask, float keep_scale) {
  struct matrix product = b->started ? scratch_matrix(&b->pass->scratch, b->dx.dtype, b->dx.rows, b->dx.cols) : b->dx;
  struct gemm up = gemm_of(b->linear.compute, b->v, b->a, product);
  pass_gemm(b->pass, &up);
  struct blends blends = pass_blends(b->pass);
  struct blend drop = blend_drop(b->dx, product, mask, keep_scale);
  if (b->started) drop.add = b->base;
  blends_add(&blends, drop);
  blends_run(&blends);
}

/* dx = residual + drop(v A). */
static void add_adapters(struct backward *b) {
  const struct view *mask = &b->pass->call->in[1];
  float keep_scale = f32_of_bits(b->linear.attr->keep_scale_bits);
  if (!mask->present) {
    add_product(b, b->v, b->a);
    return;
  }
  if (!add_dropped(b, mask, keep_scale)) add_dropped_apart(b, mask, keep_scale);
  b->base = b->dx;
  b->started = 1;
}

static void body(struct pass *pass) {
  struct backward b = backward_of(pass);
  struct linear *l = &b.linear;
  if (b.rows == 0) return;
  lay_out(&b);
  if (l->rank) project_down(&b);
  if (!pass->call->out[0].present) return;
  start_with_residual(&b);
  if (l->rank && !b.joins) add_adapters(&b);
  struct slice at = {};
  for (uint32_t p = 0; !b.stacked && p < l->n; at = slice_next(at, &l->projections[p++]))
    add_product(&b, matrix_cols(b.dy, at.out, l->projections[p].out_features), matrix_of(operand_of(b.weights, p)));
  if (b.stacked) add_product(&b, b.dy, b.w);
  sink_store(pass, matrix_of(&pass->call->out[0]), b.dx);
}

static int32_t prepare(const struct call *call, void **prepared, char *text, uint64_t text_bytes) {
  return pass_prepare(call, body, 1 + 2 * (uint64_t)linear_of(call).n, prepared, text, text_bytes);
}
static uint64_t workspace(const struct call *call) { return pass_workspace(call, body); }
static int32_t run(const struct call *call, char *text, uint64_t text_bytes) { return pass_run(call, body, text, text_bytes); }

const struct kernel kernel_linear_grad_input = {TRAINER_OP_LINEAR_GRAD_INPUT, "linear_grad_input", check_linear_grad_input, prepare, pass_discard, workspace, run, weight_level};
