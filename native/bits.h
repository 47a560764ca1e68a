/* bits.h - numbers of 1 to 8 bits as a stream of bits, eight numbers in as many bytes as a
 * number has bits. Order 0 fills bytes from the high end (for 1, 2, 4 and 8 bits), order 1
 * from the low end. C and CUDA. */
#ifndef TRAINER_NATIVE_BITS_H
#define TRAINER_NATIVE_BITS_H

#include <stdint.h>

#ifdef __CUDACC__
#define NATIVE_INLINE static __host__ __device__ __forceinline__
#else
#define NATIVE_INLINE static inline
#endif

static inline int bits_has_order(uint32_t bits, uint32_t order) {
  if (order == 1) return bits >= 1 && bits <= 8;
  return order == 0 && (bits == 1 || bits == 2 || bits == 4 || bits == 8);
}

/* Bytes of n numbers. */
NATIVE_INLINE int64_t bits_bytes(int64_t n, uint32_t bits) { return (n * bits + 7) / 8; }

/* Where number i of eight lies in their word. */
NATIVE_INLINE uint32_t bits_shift(uint32_t i, uint32_t bits, uint32_t order) { return (order ? i : 7 - i) * bits; }

/* The word of eight numbers, of which `bytes` <= bits bytes are there. */
NATIVE_INLINE uint64_t bits_load(const uint8_t *at, int bytes, uint32_t bits, uint32_t order) {
  uint64_t word = 0;
  for (int i = 0; i < bytes; i++) word |= (uint64_t)at[i] << 8 * (order ? i : (int)bits - 1 - i);
  return word;
}

/* The inverse of bits_load. */
NATIVE_INLINE void bits_store(uint8_t *at, int bytes, uint64_t word, uint32_t bits, uint32_t order) {
  for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(word >> 8 * (order ? i : (int)bits - 1 - i));
}

#endif
