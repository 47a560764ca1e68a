#define GEMM_ISA gemm_isa_neon
#include "gemm_body.h"
