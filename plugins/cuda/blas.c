/* blas.c - see blas.h. The functions and constants below are cuBLASLt's published C
 * interface (NVIDIA cuBLAS documentation, "Using the cuBLASLt API"), declared here so
 * that the plugin builds without it. */
#include "blas.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/abi/trainer_backend.h"
#include "library.h"

enum { COMPUTE_F32 = 68 };                             /* CUBLAS_COMPUTE_32F */
enum { TYPE_F32 = 0, TYPE_F16 = 2, TYPE_BF16 = 14 };   /* CUDA_R_32F, CUDA_R_16F, CUDA_R_16BF */
enum { OPERATION_N = 0, OPERATION_T = 1 };             /* CUBLAS_OP_N, CUBLAS_OP_T */
enum { DESC_TRANSA = 3, DESC_TRANSB = 4 };             /* CUBLASLT_MATMUL_DESC_* */
enum { LAYOUT_BATCH_COUNT = 5, LAYOUT_BATCH_STEP = 6 }; /* CUBLASLT_MATRIX_LAYOUT_* */
enum { PREFERENCE_WORKSPACE = 1, PREFERENCE_REDUCTION = 3, PREFERENCE_ALIGNMENT_A = 5 }; /* CUBLASLT_MATMUL_PREF_*; B, C, D follow A */
enum { REDUCTION_COMPUTE_TYPE = 2 }; /* parts of a split sum stay f32 until they are added, in fixed order */

typedef struct {
  uint64_t data[8];
} algorithm;

typedef struct {
  algorithm algo;
  size_t workspace;
  int32_t status;
  float waves;
  int32_t reserved[4];
} heuristic;

typedef void *handle, *description, *layout, *preference;

struct functions {
  int (*create)(handle *);
  int (*destroy)(handle);
  size_t (*version)(void);
  int (*desc_create)(description *, int compute, int scale_type);
  int (*desc_destroy)(description);
  int (*desc_set)(description, int attribute, const void *value, size_t bytes);
  int (*layout_create)(layout *, int type, uint64_t rows, uint64_t cols, int64_t pitch);
  int (*layout_destroy)(layout);
  int (*layout_set)(layout, int attribute, const void *value, size_t bytes);
  int (*preference_create)(preference *);
  int (*preference_destroy)(preference);
  int (*preference_set)(preference, int attribute, const void *value, size_t bytes);
  int (*choose)(handle, description, layout a, layout b, layout c, layout d, preference, int wanted, heuristic *results, int *found);
  int (*matmul)(handle, description, const void *alpha, const void *a, layout, const void *b, layout, const void *beta, const void *c, layout, void *d, layout,
                const algorithm *, void *workspace, size_t workspace_bytes, cudaStream_t);
};

static const char *const function_names[] = {
    "cublasLtCreate",
    "cublasLtDestroy",
    "cublasLtGetVersion",
    "cublasLtMatmulDescCreate",
    "cublasLtMatmulDescDestroy",
    "cublasLtMatmulDescSetAttribute",
    "cublasLtMatrixLayoutCreate",
    "cublasLtMatrixLayoutDestroy",
    "cublasLtMatrixLayoutSetAttribute",
    "cublasLtMatmulPreferenceCreate",
    "cublasLtMatmulPreferenceDestroy",
    "cublasLtMatmulPreferenceSetAttribute",
    "cublasLtMatmulAlgoGetHeuristic",
    "cublasLtMatmul",
};

#define FUNCTIONS (sizeof function_names / sizeof *function_names)
_Static_assert(sizeof(struct functions) == FUNCTIONS * sizeof(void *), "one name a function");

struct blas {
  void *library;
  struct functions f;
  handle handle;
  char name[256];
};

struct blas_plan {
  description desc;
  layout a, b, c, d; /* of the row-major operands */
  algorithm algo;
  uint64_t workspace;
};

static const char *const library_names[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};

/* Fills the table; 0 if a function is missing. */
static int find_functions(struct blas *blas) {
  for (size_t i = 0; i < FUNCTIONS; i++) {
    void *address = dlsym(blas->library, function_names[i]);
    if (!address) return 0;
    memcpy((char *)&blas->f + i * sizeof address, &address, sizeof address);
  }
  return 1;
}

static struct blas *fail(struct blas *blas, char *text, uint64_t text_bytes, const char *why) {
  snprintf(text, text_bytes, "%s %s", blas->name, why);
  blas_close(blas);
  return NULL;
}

struct blas *blas_open(char *text, uint64_t text_bytes) {
  struct blas *blas = calloc(1, sizeof *blas);
  if (!blas) {
    snprintf(text, text_bytes, "no memory to open cuBLASLt");
    return NULL;
  }
  blas->library = library_open(library_names, blas->name, sizeof blas->name);
  if (!blas->library) return fail(blas, text, text_bytes, "(products take a slower path)");
  if (!find_functions(blas)) return fail(blas, text, text_bytes, "lacks a function of cuBLASLt");
  if (blas->f.create(&blas->handle)) {
    blas->handle = NULL;
    return fail(blas, text, text_bytes, "does not work on this device");
  }
  char path[sizeof blas->name];
  snprintf(path, sizeof path, "%s", blas->name);
  snprintf(blas->name, sizeof blas->name, "%.200s, version %zu", path, blas->f.version());
  return blas;
}

uint64_t blas_version(void) {
  char found[256];
  void *library = library_open(library_names, found, sizeof found);
  size_t (*version)(void) = NULL;
  if (library) *(void **)&version = dlsym(library, "cublasLtGetVersion");
  return version ? version() : 0; /* the library stays loaded, as blas_open leaves it */
}

void blas_close(struct blas *blas) {
  if (!blas) return;
  if (blas->handle) blas->f.destroy(blas->handle);
  /* The library stays loaded: it has state in the device's context. */
  free(blas);
}

const char *blas_name(const struct blas *blas) { return blas->name; }

/* ---- plans ---- */

static int type_of(uint32_t dtype) { return dtype == TRAINER_F32 ? TYPE_F32 : dtype == TRAINER_BF16 ? TYPE_BF16 : TYPE_F16; }

/* The library thinks in columns: it sees a row-major matrix [rows, cols] as [cols, rows]. */
static int describe(struct blas *blas, layout *at, const struct blas_matrix *matrix, int64_t rows, int64_t cols, int64_t batch) {
  int64_t lines = matrix->transposed ? cols : rows, length = matrix->transposed ? rows : cols;
  int32_t count = (int32_t)batch;
  if (blas->f.layout_create(at, type_of(matrix->dtype), (uint64_t)length, (uint64_t)lines, matrix->pitch)) return 0;
  if (batch == 1) return 1;
  return !blas->f.layout_set(*at, LAYOUT_BATCH_COUNT, &count, sizeof count) && !blas->f.layout_set(*at, LAYOUT_BATCH_STEP, &matrix->step, sizeof matrix->step);
}

/* d^T = b^T a^T: the library's first operand is b and its second is a. */
static int describe_product(struct blas *blas, struct blas_plan *plan, const struct blas_product *p) {
  int32_t first = p->b.transposed ? OPERATION_T : OPERATION_N, second = p->a.transposed ? OPERATION_T : OPERATION_N;
  if (blas->f.desc_create(&plan->desc, COMPUTE_F32, TYPE_F32)) return 0;
  if (blas->f.desc_set(plan->desc, DESC_TRANSA, &first, sizeof first) || blas->f.desc_set(plan->desc, DESC_TRANSB, &second, sizeof second)) return 0;
  return describe(blas, &plan->a, &p->a, p->m, p->k, p->batch) && describe(blas, &plan->b, &p->b, p->k, p->n, p->batch) &&
         describe(blas, &plan->c, &p->c, p->m, p->n, p->batch) && describe(blas, &plan->d, &p->d, p->m, p->n, p->batch);
}

static int set_preference(struct blas *blas, preference choice) {
  uint64_t workspace = BLAS_WORKSPACE;
  uint32_t reduction = REDUCTION_COMPUTE_TYPE, alignment = BLAS_ALIGNMENT;
  int failed = blas->f.preference_set(choice, PREFERENCE_WORKSPACE, &workspace, sizeof workspace) ||
               blas->f.preference_set(choice, PREFERENCE_REDUCTION, &reduction, sizeof reduction);
  for (int i = 0; i < 4 && !failed; i++) failed = blas->f.preference_set(choice, PREFERENCE_ALIGNMENT_A + i, &alignment, sizeof alignment);
  return !failed;
}

static int choose(struct blas *blas, struct blas_plan *plan) {
  preference choice = NULL;
  heuristic best = {.status = -1};
  int found = 0;
  if (blas->f.preference_create(&choice)) return 0;
  int ok = set_preference(blas, choice) && !blas->f.choose(blas->handle, plan->desc, plan->b, plan->a, plan->c, plan->d, choice, 1, &best, &found);
  blas->f.preference_destroy(choice);
  plan->algo = best.algo;
  plan->workspace = best.workspace;
  return ok && found == 1 && best.status == 0;
}

struct blas_plan *blas_plan_create(struct blas *blas, const struct blas_product *product) {
  struct blas_plan *plan = calloc(1, sizeof *plan);
  if (plan && describe_product(blas, plan, product) && choose(blas, plan)) return plan;
  blas_plan_destroy(blas, plan);
  return NULL;
}

void blas_plan_destroy(struct blas *blas, struct blas_plan *plan) {
  if (!plan) return;
  layout layouts[] = {plan->a, plan->b, plan->c, plan->d};
  for (int i = 0; i < 4; i++)
    if (layouts[i]) blas->f.layout_destroy(layouts[i]);
  if (plan->desc) blas->f.desc_destroy(plan->desc);
  free(plan);
}

uint64_t blas_plan_workspace(const struct blas_plan *plan) { return plan->workspace; }

int blas_run(struct blas *blas, const struct blas_plan *plan, float alpha, const void *a, const void *b, float beta, const void *c, void *d,
             void *workspace, cudaStream_t stream) {
  return blas->f.matmul(blas->handle, plan->desc, &alpha, b, plan->b, a, plan->a, &beta, c, plan->c, d, plan->d, &plan->algo, workspace, plan->workspace,
                        stream);
}
