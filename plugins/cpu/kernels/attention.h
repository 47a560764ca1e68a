/* attention.h - between attention.c and its instruction sets: one call of attention or of its
 * gradient, cut into blocks of queries and of keys. Scores exist one block at a
 * time. (Dao et al. 2022, FlashAttention; Rabe & Staats 2021) */
#ifndef TRAINER_CPU_ATTENTION_H
#define TRAINER_CPU_ATTENTION_H

#include "gemm.h"
#include "rowmath.h"

#define ATTENTION_BLOCK 64 /* queries, and keys, of a block */
#define ATTENTION_SPAN 4   /* the most blocks a task keeps: what it reads of the other side serves all */

struct attention {
  const struct view *q, *k, *v, *o, *lse;
  const struct view *lengths, *segments; /* may be absent */
  const struct view *grad_o, *dq, *dk, *dv; /* gradient only; the last three may be absent */
  int64_t batch, queries, keys, heads, groups, width; /* B, S, L, H, G, D */
  int64_t padded; /* D rounded up to whole vectors of any instruction set */
  int64_t offset;
  int64_t window;
  int causal;
  float scale;
  uint32_t compute;
  int64_t span; /* blocks of a task */
  const struct rowmath *math;
  float *delta; /* [B, H, S]: sum of grad_o * o per query */
  char *scratch; /* scratch_bytes per worker */
  uint64_t scratch_bytes;
};

/* The tasks; blocks are taken `span` at a time. */
struct attention_isa {
  void (*forward)(void *attention, int64_t task, uint32_t worker); /* (b, h, query blocks) */
  void (*delta)(void *attention, int64_t task, uint32_t worker);   /* (b, h, query blocks) */
  void (*grad_q)(void *attention, int64_t task, uint32_t worker);  /* (b, h, query blocks) */
  void (*grad_kv)(void *attention, int64_t task, uint32_t worker); /* (b, g, key blocks) */
};

extern const struct attention_isa attention_isa_scalar, attention_isa_avx2, attention_isa_avx512, attention_isa_neon;

#endif
