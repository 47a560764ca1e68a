/* pass.cuh - ops made of several launches and products are written once, as a body that
 * is gone over three times: to prepare its products, to add up its scratch memory, to
 * run. So the three cannot disagree. */
#ifndef TRAINER_CUDA_PASS_CUH
#define TRAINER_CUDA_PASS_CUH

#include "blend.cuh"
#include "gemm.cuh"

enum pass_mode { PASS_PREPARE, PASS_SIZE, PASS_RUN };

struct plans; /* of the products of one call, in the order its body makes them */

struct pass {
  const struct call *call;
  enum pass_mode mode;
  struct scratch scratch; /* base is NULL unless it runs */
  struct plans *plans;
  uint64_t next; /* product */
  void *library; /* scratch of the products, one after the other */
  int32_t status;
  char *text;
  uint64_t text_bytes;
};

typedef void pass_body(struct pass *pass);

static inline int pass_runs(const struct pass *pass) { return pass->mode == PASS_RUN && pass->status == TRAINER_OK; }

/* The parts of a body. A body takes scratch and makes its products whatever the mode, and
 * launches what else it does where pass_runs. Nothing is done after a failure. */
void pass_gemm(struct pass *pass, const struct gemm *gemm);
struct blends pass_blends(const struct pass *pass);

/* A side of a product in the compute dtype: x itself where it can be read, else a rounded
 * copy in scratch. */
struct matrix side_of(struct pass *pass, struct blends *blends, struct matrix x, uint32_t compute);

/* Where products write what belongs in x: x itself, or f32 scratch that sink_store brings
 * to x in the end. */
struct matrix sink_of(struct pass *pass, struct matrix x, uint32_t compute);
void sink_store(const struct pass *pass, struct matrix x, struct matrix sink);

/* The entries of a struct kernel. products: the most the body makes. */
int32_t pass_prepare(const struct call *call, pass_body *body, uint64_t products, void **prepared, char *text, uint64_t text_bytes);
void pass_discard(void *prepared);
uint64_t pass_workspace(const struct call *call, pass_body *body);
int32_t pass_run(const struct call *call, pass_body *body, char *text, uint64_t text_bytes);

#endif
