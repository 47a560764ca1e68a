/* linear.cuh - what the four linear ops share: their attribute, their operands as sides of
 * products, and what it costs to let the adapters' product join the large one.
 *
 * A quantised weight is made dense in scratch anyway. So the adapters' matrices can be
 * written around it, and y = [x | u] [W | sB]^T and dx = [dy | v] [W ; A] are one product
 * each. The price is a copy of the left side with room for the tail. The other way, a
 * product of its own into y or dx before the large one, writes and reads that output once
 * more. Both are counted in elements copied, and the cheaper way is taken. */
#ifndef TRAINER_CUDA_LINEAR_CUH
#define TRAINER_CUDA_LINEAR_CUH

#include "pass.cuh"
#include "weight.cuh"

/* The projections of one call. They follow the attribute's header without padding.
 * Stacked adapters have their ranks rounded up to 8 each, so that every slice is aligned. */
struct linear {
  const trainer_attr_linear *attr;
  const trainer_projection *projections;
  uint32_t n;
  uint32_t compute;
  int64_t in;    /* K */
  int64_t out;   /* sum N_p */
  int64_t rank;  /* sum r_p */
  int64_t ranks; /* sum of r_p rounded up to 8 */
};

/* Reads the attribute of a call that has been checked. */
struct linear linear_of(const struct call *call);

/* Multiplications of tensor cores in the time one element is read and written: about 300
 * on A100, H100 and H200 (an element of two bytes). */
#define MULTIPLICATIONS_PER_ELEMENT 300.0

/* Where a projection's slices begin: its columns of y, its columns of u and v as operands,
 * and in stacked matrices. */
struct slice {
  int64_t out, rank, stacked;
};

static inline struct slice slice_next(struct slice at, const trainer_projection *p) {
  struct slice next = {at.out + p->out_features, at.rank + p->rank, at.stacked + padded(p->rank)};
  return next;
}

/* The operands of one kind: that of projection p is first + p * each. */
struct operands {
  const struct view *first;
  uint32_t each;
};

static inline const struct view *operand_of(struct operands operands, uint32_t p) { return operands.first + (uint64_t)p * operands.each; }

/* 1 if all weights are dense and products can read them where they lie. */
int weights_are_readable(const struct linear *linear, struct operands weights);
/* Writes all weights, one below the other, to w [sum N_p, K]. Runs the blends. */
void weights_stack(const struct pass *pass, struct blends *blends, const struct linear *linear, struct operands weights, struct matrix w);

/* Writes A, one below the other, to a [ranks, K]. Ranks that pad become 0, here and below. */
void stack_a(struct blends *blends, const struct linear *linear, struct operands as, struct matrix a);
/* Writes scale_p * B_p to its block of b [sum N_p, ranks]; the rest becomes 0. */
void stack_b(struct blends *blends, const struct linear *linear, struct operands bs, struct matrix b);

/* Where products write u or v [T, ranks]: the operand itself, or scratch (f32 where the
 * operand is present). ranks_store brings that to the operand. */
struct matrix ranks_sink(struct pass *pass, const struct linear *linear, const struct view *operand, int64_t rows);
void ranks_store(struct blends *blends, const struct linear *linear, const struct view *operand, struct matrix sink);
/* Brings u or v as an operand to a stacked matrix in the compute dtype, if it is not that. */
struct matrix ranks_side(struct pass *pass, struct blends *blends, const struct linear *linear, const struct view *operand);

#endif
