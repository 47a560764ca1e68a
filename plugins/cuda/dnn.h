/* dnn.h - cuDNN, opened at run time: attention and its gradient for one shape as a plan.
 * Nothing of cuDNN is needed to build or to load the backend; without it attention runs on
 * the backend's own kernels. */
#ifndef TRAINER_CUDA_DNN_H
#define TRAINER_CUDA_DNN_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dnn;
struct dnn_plan;

/* The newest cuDNN of this machine, for the calling thread's current device. NULL: text
 * says why there is none. Looks into TRAINER_LIBRARY_PATH first (folders, ':' between them),
 * then LD_LIBRARY_PATH, Python environments and system folders. Open cuBLASLt before it:
 * cuDNN uses the one that is loaded. */
struct dnn *dnn_open(char *text, uint64_t text_bytes);
void dnn_close(struct dnn *dnn);

/* The version of the cuDNN that dnn_open would try first, as it numbers itself, without a
 * device; 0 if there is none. */
int64_t dnn_version(void);

/* For people: version and place. */
void dnn_describe(const struct dnn *dnn, char *text, uint64_t text_bytes);

/* Tensors of a plan. q, o, grad_o, dq are [B,S,H,D], k, v, dk, dv [B,L,G,D], lse f32 [B,H,S]
 * without gaps, lengths i32 [B] (of queries and of keys; padded plans only). */
enum dnn_tensor { DNN_Q, DNN_K, DNN_V, DNN_O, DNN_LSE, DNN_GRAD_O, DNN_DQ, DNN_DK, DNN_DV, DNN_QUERY_LENGTHS, DNN_KEY_LENGTHS, DNN_TENSORS };

struct dnn_attention {
  uint32_t dtype; /* TRAINER_BF16 or TRAINER_F16, of everything but lse */
  int backward;
  int causal; /* key <= query */
  int padded; /* lengths are given, all at least 1 */
  int64_t batch, queries, keys, heads, groups, width;
  int64_t stride[DNN_TENSORS][3]; /* batch, head, position, in elements; features lie without gaps */
  float scale;
};

/* Whether a shape must be padded even without lengths, for the library at hand. */
int dnn_needs_lengths(const struct dnn *dnn, const struct dnn_attention *shape);

/* NULL: text says why cuDNN does not do this. Takes a second or so; never under capture. */
struct dnn_plan *dnn_plan_make(struct dnn *dnn, const struct dnn_attention *shape, char *text, uint64_t text_bytes);
void dnn_plan_free(struct dnn_plan *plan);

uint64_t dnn_plan_workspace(const struct dnn_plan *plan);
int dnn_plan_is_padded(const struct dnn_plan *plan); /* wants the lengths */

/* Launches on the stream, which may be under capture. Addresses are aligned to 16 bytes. */
int32_t dnn_plan_run(struct dnn_plan *plan, void *const tensors[DNN_TENSORS], void *workspace, cudaStream_t stream, char *text, uint64_t text_bytes);

#ifdef __cplusplus
}
#endif

#endif
