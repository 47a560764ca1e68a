/* rowmath.c - the variant for any processor, and the choice. */
#define ROWMATH rowmath_scalar
#include "rowmath_rows.h"

#if defined(__x86_64__)
extern const struct rowmath rowmath_avx2, rowmath_avx512;
#endif

const struct rowmath *rowmath_for(enum isa isa) {
#if defined(__x86_64__)
  if (isa == ISA_AVX512 || isa == ISA_AVX512BF16) return &rowmath_avx512;
  if (isa == ISA_AVX2) return &rowmath_avx2;
#endif
  (void)isa; /* aarch64: NEON is part of every processor, the compiler uses it here */
  return &rowmath_scalar;
}
