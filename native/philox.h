/* philox.h - Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as
 * easy as 1, 2, 3; 2011), the only source of random numbers. */
#ifndef TRAINER_NATIVE_PHILOX_H
#define TRAINER_NATIVE_PHILOX_H

#include <stdint.h>

/* The same code for the processor and, where nvcc compiles it, for the GPU. */
#if defined(__CUDACC__)
#define PHILOX_FUNCTION static __host__ __device__ __forceinline__
#define PHILOX_UNROLL _Pragma("unroll")
#else
#define PHILOX_FUNCTION static inline
#define PHILOX_UNROLL _Pragma("GCC unroll 10") /* so that a loop over counters vectorises */
#endif

struct philox_key {
  uint32_t word[2];
};

/* The key of a site: what attr_random in trainer_backend.h says. */
PHILOX_FUNCTION struct philox_key philox_key_of(const int32_t seed[2], uint32_t site_lo, uint32_t site_hi) {
  struct philox_key key = {{(uint32_t)seed[0] ^ site_lo, (uint32_t)seed[1] ^ site_hi}};
  return key;
}

/* Four random words for one counter. */
PHILOX_FUNCTION void philox(uint32_t out[4], struct philox_key key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  uint32_t k0 = key.word[0], k1 = key.word[1];
  PHILOX_UNROLL
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = 0xD2511F53ull * c0;
    uint64_t p1 = 0xCD9E8D57ull * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)p1;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/* A random word as f32 in [0, 1): its upper 24 bits. */
PHILOX_FUNCTION float philox_uniform(uint32_t word) { return (float)(int32_t)(word >> 8) * (1.0f / 16777216.0f); }

#endif
