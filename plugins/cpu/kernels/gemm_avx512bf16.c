/* gemm_avx512bf16.c - products of bf16 numbers two at a time, summed in f32. */
#include <immintrin.h>

#define GEMM_ISA gemm_isa_avx512bf16
#define GEMM_PAIRS
#define MICRO_FMA(a, b, c) _mm512_dpbf16_ps(c, (__m512bh)(a), (__m512bh)(b))
#include "gemm_body.h"
