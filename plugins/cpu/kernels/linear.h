/* linear.h - what the four linear ops share: their attribute and their operands. */
#ifndef TRAINER_CPU_LINEAR_H
#define TRAINER_CPU_LINEAR_H

#include "../../../native/half.h"
#include "gemm_weight.h"

/* The projections of one call. They follow the attribute's header without padding. */
struct linear {
  const trainer_attr_linear *attr;
  const trainer_projection *projections;
  uint32_t n;
  int64_t in;   /* K */
  int64_t out;  /* sum N_p */
  int64_t rank; /* sum r_p */
};

/* Reads the attribute of a call that has been checked. */
struct linear linear_of(const struct call *call);

/* Checks the attribute and the operand counts: n_out = out0 + out_each per projection,
 * n_in = in0 + in_each per projection. */
int32_t linear_check(const struct call *call, struct linear *linear, uint32_t out0, uint32_t out_each, uint32_t in0, uint32_t in_each, char *text, uint64_t text_bytes);

/* 1 if A [r, K] and B [N, r] are as the projection says: both absent for rank 0. */
int linear_has_adapter(const trainer_projection *p, const struct view *a, const struct view *b);

#endif
