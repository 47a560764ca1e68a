#define GEMM_ISA gemm_isa_avx2
#include "gemm_body.h"
