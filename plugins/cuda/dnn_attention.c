/* dnn_attention.c - attention and its gradient as cuDNN graphs.
 *
 * cuDNN recognises attention by its shape as a graph of products, pointwise operations and
 * reductions, and runs it as one kernel. The graphs below are those it documents for
 * flash attention: every node, virtual tensor, dtype and order matters. Scores are
 * [B,H,S,L]; k, and in the gradient v, enter a product transposed, by their strides. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dnn_api.h"

#define DESCRIPTORS 160
#define OPERATIONS 48
#define CONFIGS 16
#define ALIGNMENT 256

/* Beside enum dnn_tensor: the values (on the host) and the scratch tensors of a graph. */
enum { ID_SCALE = DNN_TENSORS, ID_PADDED, ID_LATER, ID_ONE, ID_ROW_SUMS, ID_DQ_SUMS, IDS };

struct dnn_plan {
  struct dnn *dnn;
  dnn_descriptor made[DESCRIPTORS]; /* all there are of this plan */
  int made_count;
  dnn_descriptor plan;
  uint64_t scratch[IDS]; /* offset of a scratch tensor in the workspace */
  uint64_t own_bytes;    /* of cuDNN's own workspace, behind the scratch tensors */
  uint64_t scratch_bytes;
  int used[IDS];
  float scale, masked, one;
};

/* A tensor of the graph being built. */
struct tensor {
  dnn_descriptor descriptor;
  int64_t dims[4];
  int64_t strides[4];
};

struct graph {
  struct dnn *dnn;
  const struct dnn_attention *shape;
  struct dnn_plan *plan;
  dnn_descriptor operations[OPERATIONS];
  int operation_count;
  int64_t next_virtual;
  int dtype; /* of q, k, v, ... */
  struct tensor query_lengths, key_lengths; /* without descriptor: not padded */
  int status;        /* the first failure; nothing is made after it */
  const char *doing; /* what failed */
};

/* ---- descriptors ---- */

static void fail(struct graph *g, int status, const char *doing) {
  if (g->status != DNN_SUCCESS || status == DNN_SUCCESS) return;
  g->status = status;
  g->doing = doing;
}

static dnn_descriptor make(struct graph *g, int type) {
  dnn_descriptor descriptor = NULL;
  if (g->status != DNN_SUCCESS) return NULL;
  fail(g, g->plan->made_count == DESCRIPTORS ? -1 : g->dnn->create_descriptor(type, &descriptor), "making a descriptor");
  if (descriptor) g->plan->made[g->plan->made_count++] = descriptor;
  return descriptor;
}

static void set(struct graph *g, dnn_descriptor descriptor, int name, int type, int64_t count, const void *values) {
  if (g->status == DNN_SUCCESS) fail(g, g->dnn->set_attribute(descriptor, name, type, count, values), "setting an attribute");
}

static void set_enum(struct graph *g, dnn_descriptor descriptor, int name, int type, int value) { set(g, descriptor, name, type, 1, &value); }

static void set_descriptor(struct graph *g, dnn_descriptor descriptor, int name, dnn_descriptor value) {
  set(g, descriptor, name, DNN_TYPE_DESCRIPTOR, 1, &value);
}

static void finalize(struct graph *g, dnn_descriptor descriptor, const char *what) {
  if (g->status == DNN_SUCCESS) fail(g, g->dnn->finalize(descriptor), what);
}

/* ---- tensors ---- */

static struct tensor make_tensor(struct graph *g, int64_t id, int dtype, const int64_t dims[4], const int64_t strides[4], bool is_virtual, bool by_value) {
  struct tensor t = {.descriptor = make(g, DNN_TENSOR)};
  int64_t alignment = 16;
  memcpy(t.dims, dims, sizeof t.dims);
  memcpy(t.strides, strides, sizeof t.strides);
  set(g, t.descriptor, DNN_TENSOR_UNIQUE_ID, DNN_TYPE_INT64, 1, &id);
  set(g, t.descriptor, DNN_TENSOR_BYTE_ALIGNMENT, DNN_TYPE_INT64, 1, &alignment);
  set_enum(g, t.descriptor, DNN_TENSOR_DATA_TYPE, DNN_TYPE_DATA_TYPE, dtype);
  set(g, t.descriptor, DNN_TENSOR_DIMENSIONS, DNN_TYPE_INT64, 4, dims);
  set(g, t.descriptor, DNN_TENSOR_STRIDES, DNN_TYPE_INT64, 4, strides);
  set(g, t.descriptor, DNN_TENSOR_IS_VIRTUAL, DNN_TYPE_BOOLEAN, 1, &is_virtual);
  set(g, t.descriptor, DNN_TENSOR_IS_BY_VALUE, DNN_TYPE_BOOLEAN, 1, &by_value);
  finalize(g, t.descriptor, "describing a tensor");
  if (!is_virtual) g->plan->used[id] = 1;
  return t;
}

/* A tensor that only exists inside the kernel. */
static struct tensor virtual_tensor(struct graph *g, int dtype, const int64_t dims[4], const int64_t strides[4]) {
  return make_tensor(g, IDS + g->next_virtual++, dtype, dims, strides, true, false);
}

static struct tensor virtual_like(struct graph *g, int dtype, const struct tensor *like) { return virtual_tensor(g, dtype, like->dims, like->strides); }

static struct tensor virtual_scores(struct graph *g, int dtype) {
  const struct dnn_attention *s = g->shape;
  int64_t dims[4] = {s->batch, s->heads, s->queries, s->keys};
  int64_t strides[4] = {s->heads * s->queries * s->keys, s->queries * s->keys, s->keys, 1};
  return virtual_tensor(g, dtype, dims, strides);
}

/* The same memory with queries and keys exchanged. */
static struct tensor virtual_turned_scores(struct graph *g) {
  const struct dnn_attention *s = g->shape;
  int64_t dims[4] = {s->batch, s->heads, s->keys, s->queries};
  int64_t strides[4] = {s->heads * s->queries * s->keys, s->queries * s->keys, 1, s->keys};
  return virtual_tensor(g, g->dtype, dims, strides);
}

/* One f32 for every row of scores. */
static void row_layout(const struct dnn_attention *s, int64_t dims[4], int64_t strides[4]) {
  memcpy(dims, (int64_t[4]){s->batch, s->heads, s->queries, 1}, 4 * sizeof *dims);
  memcpy(strides, (int64_t[4]){s->heads * s->queries, s->queries, 1, 1}, 4 * sizeof *strides);
}

static struct tensor virtual_rows(struct graph *g) {
  int64_t dims[4], strides[4];
  row_layout(g->shape, dims, strides);
  return virtual_tensor(g, DNN_FLOAT, dims, strides);
}

static struct tensor real_rows(struct graph *g, int64_t id) {
  int64_t dims[4], strides[4];
  row_layout(g->shape, dims, strides);
  return make_tensor(g, id, DNN_FLOAT, dims, strides, false, false);
}

/* A tensor of the caller, as [B, heads, positions, D]. */
static struct tensor operand(struct graph *g, enum dnn_tensor id, int64_t heads, int64_t positions) {
  const int64_t *stride = g->shape->stride[id];
  int64_t dims[4] = {g->shape->batch, heads, positions, g->shape->width}, strides[4] = {stride[0], stride[1], stride[2], 1};
  return make_tensor(g, id, g->dtype, dims, strides, false, false);
}

static struct tensor query_operand(struct graph *g, enum dnn_tensor id) { return operand(g, id, g->shape->heads, g->shape->queries); }
static struct tensor key_operand(struct graph *g, enum dnn_tensor id) { return operand(g, id, g->shape->groups, g->shape->keys); }

/* The same as [B, groups, D, L]. */
static struct tensor turned_key_operand(struct graph *g, enum dnn_tensor id) {
  const struct dnn_attention *s = g->shape;
  int64_t dims[4] = {s->batch, s->groups, s->width, s->keys}, strides[4] = {s->stride[id][0], s->stride[id][1], 1, s->stride[id][2]};
  return make_tensor(g, id, g->dtype, dims, strides, false, false);
}

static struct tensor value(struct graph *g, int64_t id) {
  int64_t ones[4] = {1, 1, 1, 1};
  return make_tensor(g, id, DNN_FLOAT, ones, ones, false, true);
}

static struct tensor lengths(struct graph *g, int64_t id) {
  int64_t dims[4] = {g->shape->batch, 1, 1, 1}, strides[4] = {1, 1, 1, 1};
  return make_tensor(g, id, DNN_INT32, dims, strides, false, false);
}

/* ---- operations ---- */

static void add_operation(struct graph *g, dnn_descriptor operation, const char *what) {
  finalize(g, operation, what);
  if (g->status != DNN_SUCCESS) return;
  if (g->operation_count == OPERATIONS) fail(g, -1, what);
  else g->operations[g->operation_count++] = operation;
}

/* y = mode(x), mode(x, b) or, by t, x or b; compute is the dtype it is computed in. */
static void pointwise(struct graph *g, int mode, int compute, int64_t axis, const struct tensor *x, const struct tensor *b, const struct tensor *t, const struct tensor *y) {
  dnn_descriptor how = make(g, DNN_POINTWISE), operation = make(g, DNN_OPERATION_POINTWISE);
  set_enum(g, how, DNN_POINTWISE_MODE, DNN_TYPE_POINTWISE_MODE, mode);
  set_enum(g, how, DNN_POINTWISE_MATH_PREC, DNN_TYPE_DATA_TYPE, compute);
  if (mode == DNN_GEN_INDEX) set(g, how, DNN_POINTWISE_AXIS, DNN_TYPE_INT64, 1, &axis);
  finalize(g, how, "describing a pointwise operation");
  set_descriptor(g, operation, DNN_OPERATION_POINTWISE_DESC, how);
  set_descriptor(g, operation, DNN_OPERATION_POINTWISE_X, x->descriptor);
  if (b) set_descriptor(g, operation, DNN_OPERATION_POINTWISE_B, b->descriptor);
  if (t) set_descriptor(g, operation, DNN_OPERATION_POINTWISE_T, t->descriptor);
  set_descriptor(g, operation, DNN_OPERATION_POINTWISE_Y, y->descriptor);
  add_operation(g, operation, "a pointwise operation");
}

static void binary(struct graph *g, int mode, const struct tensor *x, const struct tensor *b, const struct tensor *y) {
  pointwise(g, mode, DNN_FLOAT, 0, x, b, NULL, y);
}

static void unary(struct graph *g, int mode, const struct tensor *x, const struct tensor *y) { pointwise(g, mode, DNN_FLOAT, 0, x, NULL, NULL, y); }

/* The same with a virtual f32 result like x. */
static struct tensor binary_like(struct graph *g, int mode, const struct tensor *x, const struct tensor *b) {
  struct tensor y = virtual_like(g, DNN_FLOAT, x);
  binary(g, mode, x, b, &y);
  return y;
}

static struct tensor unary_like(struct graph *g, int mode, const struct tensor *x) {
  struct tensor y = virtual_like(g, DNN_FLOAT, x);
  unary(g, mode, x, &y);
  return y;
}

static void reduce(struct graph *g, int mode, const struct tensor *x, const struct tensor *y) {
  dnn_descriptor how = make(g, DNN_REDUCTION), operation = make(g, DNN_OPERATION_REDUCTION);
  set_enum(g, how, DNN_REDUCTION_OPERATOR, DNN_TYPE_REDUCTION_OPERATOR, mode);
  set_enum(g, how, DNN_REDUCTION_COMP_TYPE, DNN_TYPE_DATA_TYPE, DNN_FLOAT);
  finalize(g, how, "describing a reduction");
  set_descriptor(g, operation, DNN_OPERATION_REDUCTION_DESC, how);
  set_descriptor(g, operation, DNN_OPERATION_REDUCTION_X, x->descriptor);
  set_descriptor(g, operation, DNN_OPERATION_REDUCTION_Y, y->descriptor);
  add_operation(g, operation, "a reduction");
}

/* c = a b. Where padded, the lengths (NULL: none) bound its dimensions M, N and K. */
static void multiply(struct graph *g, const struct tensor *a, const struct tensor *b, const struct tensor *c, const struct tensor *m, const struct tensor *n, const struct tensor *k) {
  dnn_descriptor how = make(g, DNN_MATMUL), operation = make(g, DNN_OPERATION_MATMUL);
  set_enum(g, how, DNN_MATMUL_COMP_TYPE, DNN_TYPE_DATA_TYPE, DNN_FLOAT);
  finalize(g, how, "describing a product");
  set_descriptor(g, operation, DNN_OPERATION_MATMUL_A, a->descriptor);
  set_descriptor(g, operation, DNN_OPERATION_MATMUL_B, b->descriptor);
  set_descriptor(g, operation, DNN_OPERATION_MATMUL_C, c->descriptor);
  set_descriptor(g, operation, DNN_OPERATION_MATMUL_DESC, how);
  if (m && m->descriptor) set_descriptor(g, operation, DNN_OPERATION_MATMUL_M_OVERRIDE, m->descriptor);
  if (n && n->descriptor) set_descriptor(g, operation, DNN_OPERATION_MATMUL_N_OVERRIDE, n->descriptor);
  if (k && k->descriptor) set_descriptor(g, operation, DNN_OPERATION_MATMUL_K_OVERRIDE, k->descriptor);
  add_operation(g, operation, "a product");
}

static void reshape(struct graph *g, const struct tensor *x, const struct tensor *y) {
  dnn_descriptor operation = make(g, DNN_OPERATION_RESHAPE);
  set_descriptor(g, operation, DNN_OPERATION_RESHAPE_X, x->descriptor);
  set_descriptor(g, operation, DNN_OPERATION_RESHAPE_Y, y->descriptor);
  add_operation(g, operation, "a reshape");
}

/* ---- masks ---- */

/* The index of each score along an axis: 2 its query, 3 its key. */
static struct tensor index_of(struct graph *g, const struct tensor *scores, int64_t axis, int compute) {
  struct tensor index = virtual_like(g, DNN_INT32, scores);
  pointwise(g, DNN_GEN_INDEX, compute, axis, scores, NULL, NULL, &index);
  return index;
}

static struct tensor compare(struct graph *g, int mode, const struct tensor *x, const struct tensor *b, const struct tensor *scores) {
  struct tensor y = virtual_like(g, DNN_BOOLEAN, scores);
  pointwise(g, mode, DNN_BOOLEAN, 0, x, b, NULL, &y);
  return y;
}

/* Scores that are not seen become the value `id`. */
static struct tensor mask(struct graph *g, const struct tensor *scores, const struct tensor *seen, int64_t id) {
  struct tensor masked = value(g, id), y = virtual_like(g, DNN_FLOAT, scores);
  pointwise(g, DNN_BINARY_SELECT, DNN_FLOAT, 0, scores, &masked, seen, &y);
  return y;
}

static struct tensor mask_padding(struct graph *g, const struct tensor *scores) {
  struct tensor row = index_of(g, scores, 2, DNN_INT32), column = index_of(g, scores, 3, DNN_INT32);
  struct tensor row_seen = compare(g, DNN_CMP_LT, &row, &g->query_lengths, scores);
  struct tensor column_seen = compare(g, DNN_CMP_LT, &column, &g->key_lengths, scores);
  struct tensor seen = compare(g, DNN_LOGICAL_AND, &row_seen, &column_seen, scores);
  return mask(g, scores, &seen, ID_PADDED);
}

static struct tensor mask_causal(struct graph *g, const struct tensor *scores) {
  struct tensor row = index_of(g, scores, 2, DNN_FLOAT), column = index_of(g, scores, 3, DNN_FLOAT);
  struct tensor seen = compare(g, DNN_CMP_GE, &row, &column, scores);
  return mask(g, scores, &seen, ID_LATER);
}

static struct tensor apply_masks(struct graph *g, struct tensor scores) {
  if (g->shape->padded) scores = mask_padding(g, &scores);
  if (g->shape->causal) scores = mask_causal(g, &scores);
  return scores;
}

/* ---- the two graphs ---- */

static void build_forward(struct graph *g) {
  struct tensor q = query_operand(g, DNN_Q), k = turned_key_operand(g, DNN_K), v = key_operand(g, DNN_V);
  struct tensor o = query_operand(g, DNN_O), lse = real_rows(g, DNN_LSE), scale = value(g, ID_SCALE);
  struct tensor scores = virtual_scores(g, DNN_FLOAT), most = virtual_rows(g), sum = virtual_rows(g), p = virtual_scores(g, g->dtype);
  multiply(g, &q, &k, &scores, &g->query_lengths, &g->key_lengths, NULL);
  scores = apply_masks(g, binary_like(g, DNN_MUL, &scores, &scale));
  reduce(g, DNN_REDUCE_MAX, &scores, &most);
  struct tensor below = binary_like(g, DNN_SUB, &scores, &most), powers = unary_like(g, DNN_EXP, &below);
  reduce(g, DNN_REDUCE_ADD, &powers, &sum);
  struct tensor log_sum = unary_like(g, DNN_LOG, &sum);
  binary(g, DNN_ADD, &most, &log_sum, &lse);
  binary(g, DNN_DIV, &powers, &sum, &p);
  multiply(g, &p, &v, &o, &g->query_lengths, NULL, &g->key_lengths);
}

/* out [B,groups,L,D] = the sum over each group's heads of a^T b, a being scores. */
static void multiply_to_keys(struct graph *g, const struct tensor *a, const struct tensor *b, const struct tensor *out) {
  const struct dnn_attention *s = g->shape;
  struct tensor turned = virtual_turned_scores(g);
  reshape(g, a, &turned);
  if (s->heads == s->groups) {
    multiply(g, &turned, b, out, &g->key_lengths, NULL, &g->query_lengths);
    return;
  }
  int64_t dims[4] = {s->batch, s->heads, s->keys, s->width}, strides[4] = {s->heads * s->keys * s->width, s->keys * s->width, s->width, 1};
  struct tensor all = virtual_tensor(g, g->dtype, dims, strides);
  multiply(g, &turned, b, &all, &g->key_lengths, NULL, &g->query_lengths);
  reduce(g, DNN_REDUCE_ADD, &all, out);
}

/* rowsum(grad_o * o), kept in the workspace. */
static struct tensor sum_rows(struct graph *g, const struct tensor *grad_o) {
  const struct dnn_attention *s = g->shape;
  struct tensor o = query_operand(g, DNN_O), one = value(g, ID_ONE), sum = virtual_rows(g), kept = real_rows(g, ID_ROW_SUMS);
  int64_t strides[4] = {s->heads * s->queries * s->width, s->queries * s->width, s->heads * s->width, 1};
  struct tensor products = virtual_tensor(g, DNN_FLOAT, o.dims, strides);
  binary(g, DNN_MUL, grad_o, &o, &products);
  reduce(g, DNN_REDUCE_ADD, &products, &sum);
  binary(g, DNN_MUL, &sum, &one, &kept);
  return kept;
}

/* dq = scores k, summed in f32 in the workspace. */
static void multiply_to_queries(struct graph *g, const struct tensor *scores, const struct tensor *turned_k) {
  const struct dnn_attention *s = g->shape;
  struct tensor dq = query_operand(g, DNN_DQ);
  int64_t k_dims[4] = {s->batch, s->groups, s->keys, s->width}, k_strides[4] = {s->stride[DNN_K][0], s->stride[DNN_K][1], s->stride[DNN_K][2], 1};
  int64_t strides[4] = {s->heads * s->queries * s->width, s->queries * s->width, s->width, 1};
  struct tensor k = virtual_tensor(g, DNN_FLOAT, k_dims, k_strides), sums = make_tensor(g, ID_DQ_SUMS, DNN_FLOAT, dq.dims, strides, false, false);
  reshape(g, turned_k, &k);
  multiply(g, scores, &k, &sums, &g->query_lengths, NULL, &g->key_lengths);
  unary(g, DNN_IDENTITY, &sums, &dq);
}

static void build_backward(struct graph *g) {
  struct tensor q = query_operand(g, DNN_Q), k = turned_key_operand(g, DNN_K), v = turned_key_operand(g, DNN_V), grad_o = query_operand(g, DNN_GRAD_O);
  struct tensor lse = real_rows(g, DNN_LSE), scale = value(g, ID_SCALE), dk = key_operand(g, DNN_DK), dv = key_operand(g, DNN_DV);
  struct tensor row_sums = sum_rows(g, &grad_o), scores = virtual_scores(g, DNN_FLOAT), dp = virtual_scores(g, DNN_FLOAT);
  multiply(g, &q, &k, &scores, &g->query_lengths, &g->key_lengths, NULL);
  scores = binary_like(g, DNN_MUL, &scores, &scale);
  scores = apply_masks(g, binary_like(g, DNN_SUB, &scores, &lse));
  struct tensor p = unary_like(g, DNN_EXP, &scores);
  multiply_to_keys(g, &p, &grad_o, &dv);
  multiply(g, &grad_o, &v, &dp, &g->query_lengths, &g->key_lengths, NULL);
  dp = binary_like(g, DNN_SUB, &dp, &row_sums);
  dp = binary_like(g, DNN_MUL, &dp, &p);
  dp = binary_like(g, DNN_MUL, &dp, &scale);
  multiply_to_keys(g, &dp, &q, &dk);
  multiply_to_queries(g, &dp, &k);
}

/* ---- plans ---- */

static dnn_descriptor make_operation_graph(struct graph *g) {
  dnn_descriptor graph = make(g, DNN_OPERATION_GRAPH);
  set(g, graph, DNN_GRAPH_HANDLE, DNN_TYPE_HANDLE, 1, &g->dnn->handle);
  set(g, graph, DNN_GRAPH_OPS, DNN_TYPE_DESCRIPTOR, g->operation_count, g->operations);
  finalize(g, graph, "putting operations together");
  return graph;
}

/* The engine configurations that the library's heuristics propose, best first. */
static int64_t propose(struct graph *g, dnn_descriptor configs[CONFIGS]) {
  dnn_descriptor graph = make_operation_graph(g), heuristics = make(g, DNN_HEURISTICS);
  int64_t count = 0;
  set_descriptor(g, heuristics, DNN_HEURISTICS_GRAPH, graph);
  set_enum(g, heuristics, DNN_HEURISTICS_MODE, DNN_TYPE_HEUR_MODE, DNN_HEUR_MODE_A);
  finalize(g, heuristics, "asking for an engine");
  for (int i = 0; i < CONFIGS; i++) configs[i] = make(g, DNN_ENGINE_CONFIG);
  if (g->status == DNN_SUCCESS)
    fail(g, g->dnn->get_attribute(heuristics, DNN_HEURISTICS_RESULTS, DNN_TYPE_DESCRIPTOR, CONFIGS, &count, configs), "reading the engines");
  return g->status == DNN_SUCCESS && count < CONFIGS ? count : g->status == DNN_SUCCESS ? CONFIGS : 0;
}

/* An execution plan of the first configuration that makes one; NULL: none. */
static dnn_descriptor make_execution_plan(struct graph *g) {
  struct dnn *dnn = g->dnn;
  dnn_descriptor configs[CONFIGS];
  int64_t count = propose(g, configs);
  int status = -1;
  for (int64_t i = 0; i < count; i++) {
    dnn_descriptor plan = make(g, DNN_EXECUTION_PLAN);
    set(g, plan, DNN_PLAN_HANDLE, DNN_TYPE_HANDLE, 1, &dnn->handle);
    set_descriptor(g, plan, DNN_PLAN_ENGINE_CONFIG, configs[i]);
    if (g->status != DNN_SUCCESS) return NULL;
    status = dnn->finalize(plan);
    if (status == DNN_SUCCESS) return plan;
  }
  fail(g, status, count ? "finishing a plan" : "finding an engine");
  return NULL;
}

static uint64_t align(uint64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* Places the scratch tensors. */
static void lay_out(struct dnn_plan *plan, const struct dnn_attention *s) {
  uint64_t rows = (uint64_t)(s->batch * s->heads * s->queries) * sizeof(float);
  if (!s->backward) return;
  plan->scratch[ID_ROW_SUMS] = 0;
  plan->scratch[ID_DQ_SUMS] = align(rows);
  plan->scratch_bytes = plan->scratch[ID_DQ_SUMS] + align(rows * (uint64_t)s->width);
}

int dnn_needs_lengths(const struct dnn *dnn, const struct dnn_attention *shape) {
  return shape->backward && dnn->version <= 91500 && shape->keys % 128 != 0; /* wrong gradients without a padding mask */
}

static void build(struct graph *g) {
  const struct dnn_attention *s = g->shape;
  int64_t bytes = 0, count = 0;
  if (s->padded) {
    g->query_lengths = lengths(g, DNN_QUERY_LENGTHS);
    g->key_lengths = lengths(g, DNN_KEY_LENGTHS);
  }
  if (s->backward) build_backward(g);
  else build_forward(g);
  g->plan->plan = make_execution_plan(g);
  if (g->status == DNN_SUCCESS)
    fail(g, g->dnn->get_attribute(g->plan->plan, DNN_PLAN_WORKSPACE_SIZE, DNN_TYPE_INT64, 1, &count, &bytes), "reading the workspace's size");
  g->plan->own_bytes = (uint64_t)bytes;
}

struct dnn_plan *dnn_plan_make(struct dnn *dnn, const struct dnn_attention *shape, char *text, uint64_t text_bytes) {
  struct dnn_plan *plan = calloc(1, sizeof *plan);
  if (!plan) {
    snprintf(text, text_bytes, "out of host memory");
    return NULL;
  }
  struct graph g = {.dnn = dnn, .shape = shape, .plan = plan, .dtype = shape->dtype == TRAINER_BF16 ? DNN_BFLOAT16 : DNN_HALF};
  plan->dnn = dnn;
  plan->scale = shape->scale;
  plan->masked = -INFINITY;
  plan->one = 1.0f;
  lay_out(plan, shape);
  pthread_mutex_lock(&dnn->lock);
  build(&g);
  pthread_mutex_unlock(&dnn->lock);
  if (g.status == DNN_SUCCESS) return plan;
  snprintf(text, text_bytes, "cuDNN does not do this attention: %s: %s", g.doing, g.status > 0 ? dnn->error_string(g.status) : "none fits");
  dnn_plan_free(plan);
  return NULL;
}

void dnn_plan_free(struct dnn_plan *plan) {
  if (!plan) return;
  while (plan->made_count > 0) plan->dnn->destroy_descriptor(plan->made[--plan->made_count]);
  free(plan);
}

uint64_t dnn_plan_workspace(const struct dnn_plan *plan) { return plan->scratch_bytes + plan->own_bytes; }

int dnn_plan_is_padded(const struct dnn_plan *plan) { return plan->used[DNN_KEY_LENGTHS]; }

/* The address of a tensor: of the caller, a value on the host, or scratch. */
static void *address_of(struct dnn_plan *plan, int id, void *const tensors[DNN_TENSORS], void *workspace) {
  switch (id) {
  case ID_SCALE: return &plan->scale;
  case ID_PADDED:
  case ID_LATER: return &plan->masked;
  case ID_ONE: return &plan->one;
  case ID_ROW_SUMS:
  case ID_DQ_SUMS: return (char *)workspace + plan->scratch[id];
  default: return tensors[id];
  }
}

static int execute(struct dnn_plan *plan, dnn_descriptor pack, void *const tensors[DNN_TENSORS], void *workspace, cudaStream_t stream) {
  struct dnn *dnn = plan->dnn;
  int64_t ids[IDS], count = 0;
  void *addresses[IDS], *own = (char *)workspace + plan->scratch_bytes;
  for (int id = 0; id < IDS; id++) {
    if (!plan->used[id]) continue;
    ids[count] = id;
    addresses[count++] = address_of(plan, id, tensors, workspace);
  }
  int status = dnn->set_attribute(pack, DNN_PACK_DATA_POINTERS, DNN_TYPE_VOID_PTR, count, addresses);
  if (status == DNN_SUCCESS) status = dnn->set_attribute(pack, DNN_PACK_UNIQUE_IDS, DNN_TYPE_INT64, count, ids);
  if (status == DNN_SUCCESS) status = dnn->set_attribute(pack, DNN_PACK_WORKSPACE, DNN_TYPE_VOID_PTR, 1, &own);
  if (status == DNN_SUCCESS) status = dnn->finalize(pack);
  if (status != DNN_SUCCESS) return status;
  pthread_mutex_lock(&dnn->lock);
  status = dnn->set_stream(dnn->handle, stream);
  if (status == DNN_SUCCESS) status = dnn->execute(dnn->handle, plan->plan, pack);
  pthread_mutex_unlock(&dnn->lock);
  return status;
}

int32_t dnn_plan_run(struct dnn_plan *plan, void *const tensors[DNN_TENSORS], void *workspace, cudaStream_t stream, char *text, uint64_t text_bytes) {
  struct dnn *dnn = plan->dnn;
  dnn_descriptor pack = NULL;
  int status = dnn->create_descriptor(DNN_VARIANT_PACK, &pack);
  if (status == DNN_SUCCESS) status = execute(plan, pack, tensors, workspace, stream);
  if (pack) dnn->destroy_descriptor(pack);
  if (status == DNN_SUCCESS) return TRAINER_OK;
  snprintf(text, text_bytes, "cuDNN's attention failed: %s", dnn->error_string(status));
  return TRAINER_INTERNAL;
}
