/* pass.cu - see pass.cuh. */
#include "pass.cuh"

#include <stdlib.h>

struct plans {
  uint64_t room;
  uint64_t library; /* the most bytes of scratch a product needs */
  struct gemm_plan *at;
};

static void prepare_gemm(struct pass *pass, const struct gemm *gemm) {
  if (pass->next >= pass->plans->room) {
    pass->status = refuse(pass->text, pass->text_bytes, TRAINER_INTERNAL, "a kernel makes more products than it said");
    return;
  }
  struct gemm_plan *plan = &pass->plans->at[pass->next++];
  *plan = gemm_prepare(pass->call->gpu, gemm);
  uint64_t bytes = gemm_workspace(plan);
  if (bytes > pass->plans->library) pass->plans->library = bytes;
}

void pass_gemm(struct pass *pass, const struct gemm *gemm) {
  if (pass->status) return;
  if (pass->mode == PASS_PREPARE) prepare_gemm(pass, gemm);
  if (pass->mode != PASS_RUN) return;
  pass->status = gemm_run(pass->call, &pass->plans->at[pass->next++], gemm, pass->library, pass->text, pass->text_bytes);
}

struct blends pass_blends(const struct pass *pass) {
  struct blends blends = blends_on(pass->call->stream);
  blends.dry = !pass_runs(pass);
  return blends;
}

struct matrix side_of(struct pass *pass, struct blends *blends, struct matrix x, uint32_t compute) {
  if (gemm_reads(&x, compute)) return x;
  struct matrix side = scratch_matrix(&pass->scratch, compute, x.rows, x.cols);
  blends_add(blends, blend_copy(side, x));
  return side;
}

struct matrix sink_of(struct pass *pass, struct matrix x, uint32_t compute) {
  if (gemm_writes(&x, compute)) return x;
  return scratch_matrix(&pass->scratch, TRAINER_F32, x.rows, x.cols);
}

void sink_store(const struct pass *pass, struct matrix x, struct matrix sink) {
  struct blends blends = pass_blends(pass);
  if (x.data != sink.data) blends_add(&blends, blend_copy(x, sink));
  blends_run(&blends);
}

int32_t pass_prepare(const struct call *call, pass_body *body, uint64_t products, void **prepared, char *text, uint64_t text_bytes) {
  struct plans *plans = (struct plans *)calloc(1, sizeof *plans);
  if (plans) plans->at = (struct gemm_plan *)calloc(products, sizeof *plans->at);
  if (!plans || !plans->at) {
    free(plans);
    return refuse(text, text_bytes, TRAINER_OOM, "no memory for the plans of products");
  }
  plans->room = products;
  struct pass pass = {.call = call, .mode = PASS_PREPARE, .plans = plans, .text = text, .text_bytes = text_bytes};
  body(&pass);
  if (pass.status) pass_discard(plans);
  else *prepared = plans;
  return pass.status;
}

void pass_discard(void *prepared) {
  struct plans *plans = (struct plans *)prepared;
  if (!plans) return;
  for (uint64_t i = 0; i < plans->room; i++) gemm_discard(&plans->at[i]);
  free(plans->at);
  free(plans);
}

/* A pass over a call that has been prepared. */
static struct pass pass_of(const struct call *call, enum pass_mode mode, char *text, uint64_t text_bytes) {
  struct pass pass = {.call = call, .mode = mode, .plans = (struct plans *)call->prepared, .text = text, .text_bytes = text_bytes};
  if (mode == PASS_RUN) pass.scratch.base = (char *)call->workspace;
  pass.library = scratch_take(&pass.scratch, pass.plans->library);
  return pass;
}

uint64_t pass_workspace(const struct call *call, pass_body *body) {
  struct pass pass = pass_of(call, PASS_SIZE, NULL, 0);
  body(&pass);
  return pass.scratch.bytes;
}

int32_t pass_run(const struct call *call, pass_body *body, char *text, uint64_t text_bytes) {
  struct pass pass = pass_of(call, PASS_RUN, text, text_bytes);
  body(&pass);
  return pass.status ? pass.status : launched(text, text_bytes);
}
