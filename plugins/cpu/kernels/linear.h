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

#endif
