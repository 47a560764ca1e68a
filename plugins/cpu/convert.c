/* convert.c - rows of stored floats to f32 and back. */
#include "convert.h"

#include <stdatomic.h>
#include <string.h>

#include "../../native/list.h"

#define CONVERT(name) name##_scalar
#include "convert_rows.h"

#if defined(__x86_64__)
void bf16_load_avx2(float *dst, const uint16_t *src, int64_t n);
void bf16_store_avx2(uint16_t *dst, const float *src, int64_t n);
void f16_load_avx2(float *dst, const uint16_t *src, int64_t n);
void f16_store_avx2(uint16_t *dst, const float *src, int64_t n);
#endif

static _Atomic int wide; /* 1: the processor has AVX2 and may use it */

void convert_choose(enum isa isa) {
  int has_avx2 = isa == ISA_AVX2 || isa == ISA_AVX512 || isa == ISA_AVX512BF16;
  atomic_store_explicit(&wide, has_avx2, memory_order_relaxed);
}

static int use_wide(void) { return atomic_load_explicit(&wide, memory_order_relaxed); }

#if defined(__x86_64__)
#define PICK(name) (use_wide() ? name##_avx2 : name##_scalar)
#else
#define PICK(name) (use_wide() ? name##_scalar : name##_scalar)
#endif

void load_f32(float *dst, const void *src, uint32_t dtype, int64_t n) {
  if (dtype == TRAINER_F32) {
    memcpy(dst, src, (size_t)n * sizeof *dst);
  } else if (dtype == TRAINER_BF16) {
    PICK(bf16_load)(dst, src, n);
  } else {
    PICK(f16_load)(dst, src, n);
  }
}

void store_f32(void *dst, uint32_t dtype, const float *src, int64_t n) {
  if (dtype == TRAINER_F32) {
    memcpy(dst, src, (size_t)n * sizeof *src);
  } else if (dtype == TRAINER_BF16) {
    PICK(bf16_store)(dst, src, n);
  } else {
    PICK(f16_store)(dst, src, n);
  }
}

uint32_t dtype_bytes(uint32_t dtype) { return list_dtype_bytes(dtype); }
