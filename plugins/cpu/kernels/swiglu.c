/* swiglu.c - SWIGLU and its gradient (Shazeer 2020): y = gate * sigmoid(gate) * up. */
#include "rowmath.h"
#include "strided.h"

struct swiglu {
  const struct call *call;
  const struct rowmath *math;
};

static void swiglu_row(const void *arg, const struct strided_row *row) {
  const struct swiglu *swiglu = arg;
  const struct view *dst = &swiglu->call->out[0], *in = swiglu->call->in;
  float buffer[3][STRIDED_ROW];
  const float *gate = row_load(buffer[0], &in[0], row->offset[1], row->step[1], row->n);
  const float *up = row_load(buffer[1], &in[1], row->offset[2], row->step[2], row->n);
  float *y = row_target(buffer[2], dst, row->offset[0], row->step[0]);
  swiglu->math->swiglu(y, gate, up, row->n);
  row_commit(y, dst, row->offset[0], row->step[0], row->n);
}

static void swiglu_run(const struct call *call) {
  struct strided strided;
  struct swiglu swiglu = {call, rowmath_for(call->isa)};
  const struct view *views[] = {&call->out[0], &call->in[0], &call->in[1]};
  strided_make(&strided, views, 3);
  strided_run(call->pool, &strided, swiglu_row, &swiglu);
}

const struct kernel kernel_swiglu = {.op = TRAINER_OP_SWIGLU, .name = "swiglu", .check = check_swiglu, .run = swiglu_run};

/* An absent output is computed into a buffer and forgotten. */
static void grad_row(const void *arg, const struct strided_row *row) {
  const struct swiglu *swiglu = arg;
  const struct view *out = swiglu->call->out, *in = swiglu->call->in;
  float buffer[5][STRIDED_ROW];
  const float *dy = row_load(buffer[0], &in[0], row->offset[2], row->step[2], row->n);
  const float *gate = row_load(buffer[1], &in[1], row->offset[3], row->step[3], row->n);
  const float *up = row_load(buffer[2], &in[2], row->offset[4], row->step[4], row->n);
  float *result[2];
  for (int k = 0; k < 2; k++) result[k] = out[k].present ? row_target(buffer[3 + k], &out[k], row->offset[k], row->step[k]) : buffer[3 + k];
  swiglu->math->swiglu_grad(result[0], result[1], dy, gate, up, row->n);
  for (int k = 0; k < 2; k++)
    if (out[k].present) row_commit(result[k], &out[k], row->offset[k], row->step[k], row->n);
}

static void grad_run(const struct call *call) {
  struct strided strided;
  struct swiglu swiglu = {call, rowmath_for(call->isa)};
  const struct view *in = call->in, *dgate = call->out[0].present ? &call->out[0] : in, *dup = call->out[1].present ? &call->out[1] : in;
  const struct view *views[] = {dgate, dup, &in[0], &in[1], &in[2]};
  strided_make(&strided, views, 5);
  strided_run(call->pool, &strided, grad_row, &swiglu);
}

const struct kernel kernel_swiglu_grad = {.op = TRAINER_OP_SWIGLU_GRAD, .name = "swiglu_grad", .check = check_swiglu_grad, .run = grad_run};
