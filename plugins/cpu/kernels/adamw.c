/* adamw.c - ADAMW (Loshchilov & Hutter 2019), as torch.optim.AdamW steps, with optional
 * stochastic rounding of bf16 states. */
#include <math.h>

#include "../../../native/half.h"
#include "../../../native/philox.h"
#include "rowmath.h"
#include "strided.h"

enum { IN_GRAD, IN_LR, IN_CLIP, IN_SKIP, IN_STEPS, IN_SEED, INPUTS };

struct adamw {
  const struct call *call;
  const struct rowmath *math;
  struct adamw_step step;
  struct philox_key key;
  uint32_t t;
  int stochastic;
};

/* Rounds n values to bf16, up or down with probability by distance. Values the bits
 * would push beyond the largest finite one, infinities and NaN round to nearest. */
static void round_stochastic(const struct adamw *adamw, float *x, int64_t index, uint32_t which, int64_t n) {
  uint32_t words[4];
  for (int64_t i = 0; i < n; i++) {
    int64_t at = index + i;
    if (i == 0 || at % 4 == 0) philox(words, adamw->key, (uint32_t)(at / 4), which, 0, adamw->t);
    uint32_t bits = f32_bits(x[i]);
    uint32_t raised = bits + (words[at % 4] >> 16);
    if ((bits & 0x7F800000u) != 0x7F800000u) x[i] = f32_from_bits(raised & 0xFFFF0000u);
  }
}

static void adamw_row(const void *arg, const struct strided_row *row) {
  const struct adamw *adamw = arg;
  const struct view *out = adamw->call->out;
  float buffer[4][STRIDED_ROW];
  float *state[3];
  const float *grad = row_load(buffer[3], &adamw->call->in[IN_GRAD], row->offset[3], row->step[3], row->n);
  /* A state that is loaded into its buffer is also computed there. */
  for (int k = 0; k < 3; k++) {
    row_load(buffer[k], &out[k], row->offset[k], row->step[k], row->n);
    state[k] = row_target(buffer[k], &out[k], row->offset[k], row->step[k]);
  }
  adamw->math->adamw(state[0], state[1], state[2], grad, &adamw->step, row->n);
  for (int k = 0; k < 3; k++) {
    if (adamw->stochastic && out[k].dtype == TRAINER_BF16) round_stochastic(adamw, state[k], row->index, (uint32_t)k, row->n);
    row_commit(state[k], &out[k], row->offset[k], row->step[k], row->n);
  }
}

static struct adamw_step step_of(const struct call *call) {
  const trainer_attr_adamw *attr = call->attr;
  double beta1 = f32_from_bits(attr->beta1_bits), beta2 = f32_from_bits(attr->beta2_bits);
  double lr = *(const float *)call->in[IN_LR].data;
  double t = *(const int32_t *)call->in[IN_STEPS].data;
  return (struct adamw_step){
      .clip = *(const float *)call->in[IN_CLIP].data,
      .decay = (float)(1.0 - lr * f32_from_bits(attr->weight_decay_bits)),
      .beta1 = (float)beta1,
      .one_minus_beta1 = (float)(1.0 - beta1),
      .beta2 = (float)beta2,
      .one_minus_beta2 = (float)(1.0 - beta2),
      .step_size = (float)(lr / (1.0 - pow(beta1, t))),
      .root_correct = (float)sqrt(1.0 - pow(beta2, t)),
      .eps = f32_from_bits(attr->eps_bits),
  };
}

static void run(const struct call *call) {
  const trainer_attr_adamw *attr = call->attr;
  struct strided strided;
  const struct view *views[] = {&call->out[0], &call->out[1], &call->out[2], &call->in[IN_GRAD]};
  if (*(const int32_t *)call->in[IN_SKIP].data != 0) return;
  struct adamw adamw = {
      .call = call,
      .math = rowmath_for(call->isa),
      .step = step_of(call),
      .key = philox_key_of(call->in[IN_SEED].data, attr->site_lo, attr->site_hi),
      .t = (uint32_t)*(const int32_t *)call->in[IN_STEPS].data,
      .stochastic = attr->stochastic != 0,
  };
  strided_make(&strided, views, 4);
  strided_run(call->pool, &strided, adamw_row, &adamw);
}

const struct kernel kernel_adamw = {.op = TRAINER_OP_ADAMW, .name = "adamw", .check = check_adamw, .run = run};
