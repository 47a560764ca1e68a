#define GEMM_ISA gemm_isa_avx512
#include "gemm_body.h"
