/* dnn_api.h - the part of cuDNN's C backend API that is used, declared here because the
 * library is found at run time: names, numbers and signatures are those of cudnn_graph.h,
 * version 9. */
#ifndef TRAINER_CUDA_DNN_API_H
#define TRAINER_CUDA_DNN_API_H

#include <pthread.h>

#include "../../core/abi/trainer_backend.h"
#include "dnn.h"

typedef void *dnn_handle;
typedef void *dnn_descriptor;

/* cudnnStatus_t */
enum { DNN_SUCCESS = 0 };

/* cudnnBackendDescriptorType_t */
enum {
  DNN_POINTWISE = 0,
  DNN_ENGINE_CONFIG = 3,
  DNN_HEURISTICS = 4,
  DNN_EXECUTION_PLAN = 5,
  DNN_OPERATION_POINTWISE = 13,
  DNN_OPERATION_GRAPH = 15,
  DNN_VARIANT_PACK = 16,
  DNN_TENSOR = 17,
  DNN_MATMUL = 18,
  DNN_OPERATION_MATMUL = 19,
  DNN_REDUCTION = 21,
  DNN_OPERATION_REDUCTION = 22,
  DNN_OPERATION_RESHAPE = 31,
};

/* cudnnBackendAttributeType_t */
enum {
  DNN_TYPE_HANDLE = 0,
  DNN_TYPE_DATA_TYPE = 1,
  DNN_TYPE_BOOLEAN = 2,
  DNN_TYPE_INT64 = 3,
  DNN_TYPE_VOID_PTR = 6,
  DNN_TYPE_HEUR_MODE = 8,
  DNN_TYPE_POINTWISE_MODE = 14,
  DNN_TYPE_DESCRIPTOR = 15,
  DNN_TYPE_REDUCTION_OPERATOR = 18,
};

/* cudnnBackendAttributeName_t */
enum {
  DNN_POINTWISE_MODE = 0,
  DNN_POINTWISE_MATH_PREC = 1,
  DNN_POINTWISE_AXIS = 9,
  DNN_HEURISTICS_MODE = 200,
  DNN_HEURISTICS_GRAPH = 201,
  DNN_HEURISTICS_RESULTS = 202,
  DNN_PLAN_HANDLE = 400,
  DNN_PLAN_ENGINE_CONFIG = 401,
  DNN_PLAN_WORKSPACE_SIZE = 402,
  DNN_OPERATION_POINTWISE_DESC = 750,
  DNN_OPERATION_POINTWISE_X = 751,
  DNN_OPERATION_POINTWISE_B = 752,
  DNN_OPERATION_POINTWISE_Y = 753,
  DNN_OPERATION_POINTWISE_T = 758,
  DNN_GRAPH_HANDLE = 800,
  DNN_GRAPH_OPS = 801,
  DNN_TENSOR_BYTE_ALIGNMENT = 900,
  DNN_TENSOR_DATA_TYPE = 901,
  DNN_TENSOR_DIMENSIONS = 902,
  DNN_TENSOR_STRIDES = 903,
  DNN_TENSOR_UNIQUE_ID = 906,
  DNN_TENSOR_IS_VIRTUAL = 907,
  DNN_TENSOR_IS_BY_VALUE = 908,
  DNN_PACK_UNIQUE_IDS = 1000,
  DNN_PACK_DATA_POINTERS = 1001,
  DNN_PACK_WORKSPACE = 1003,
  DNN_MATMUL_COMP_TYPE = 1500,
  DNN_OPERATION_MATMUL_A = 1520,
  DNN_OPERATION_MATMUL_B = 1521,
  DNN_OPERATION_MATMUL_C = 1522,
  DNN_OPERATION_MATMUL_DESC = 1523,
  DNN_OPERATION_MATMUL_M_OVERRIDE = 1525,
  DNN_OPERATION_MATMUL_N_OVERRIDE = 1526,
  DNN_OPERATION_MATMUL_K_OVERRIDE = 1527,
  DNN_REDUCTION_OPERATOR = 1600,
  DNN_REDUCTION_COMP_TYPE = 1601,
  DNN_OPERATION_REDUCTION_X = 1610,
  DNN_OPERATION_REDUCTION_Y = 1611,
  DNN_OPERATION_REDUCTION_DESC = 1612,
  DNN_OPERATION_RESHAPE_X = 2200,
  DNN_OPERATION_RESHAPE_Y = 2201,
};

/* cudnnDataType_t */
enum { DNN_FLOAT = 0, DNN_HALF = 2, DNN_INT32 = 4, DNN_BFLOAT16 = 9, DNN_BOOLEAN = 11 };

/* cudnnPointwiseMode_t */
enum {
  DNN_ADD = 0,
  DNN_MUL = 1,
  DNN_DIV = 6,
  DNN_SUB = 9,
  DNN_EXP = 13,
  DNN_LOG = 15,
  DNN_IDENTITY = 21,
  DNN_CMP_GE = 303,
  DNN_CMP_LT = 304,
  DNN_LOGICAL_AND = 400,
  DNN_GEN_INDEX = 501,
  DNN_BINARY_SELECT = 601,
};

/* cudnnReduceTensorOp_t */
enum { DNN_REDUCE_ADD = 0, DNN_REDUCE_MAX = 3 };

/* cudnnBackendHeurMode_t */
enum { DNN_HEUR_MODE_A = 3 };

struct dnn {
  void *library;
  char path[512];
  int64_t version; /* 10000 * major + 100 * minor + patch */
  dnn_handle handle;
  pthread_mutex_t lock; /* the handle carries the stream from call to call */

  size_t (*get_version)(void);
  size_t (*get_cudart_version)(void);
  int (*create)(dnn_handle *handle);
  int (*destroy)(dnn_handle handle);
  int (*set_stream)(dnn_handle handle, cudaStream_t stream);
  const char *(*error_string)(int status);
  int (*create_descriptor)(int type, dnn_descriptor *descriptor);
  int (*destroy_descriptor)(dnn_descriptor descriptor);
  int (*finalize)(dnn_descriptor descriptor);
  int (*set_attribute)(dnn_descriptor descriptor, int name, int type, int64_t count, const void *values);
  int (*get_attribute)(dnn_descriptor descriptor, int name, int type, int64_t requested, int64_t *count, void *values);
  int (*execute)(dnn_handle handle, dnn_descriptor plan, dnn_descriptor pack);
};

#endif
