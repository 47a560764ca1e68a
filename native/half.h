/* half.h - bfloat16 and IEEE-754 binary16 as bits, converted to and from f32.
 *
 * Rounding is to nearest, ties to even; overflow gives infinity; a NaN stays a NaN
 * (quiet) and keeps its sign. Written without branches so that loops vectorise. */
#ifndef TRAINER_NATIVE_HALF_H
#define TRAINER_NATIVE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline float f32_from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline float bf16_to_f32(uint16_t h) { return f32_from_bits((uint32_t)h << 16); }

static inline uint16_t bf16_from_f32(float x) {
  uint32_t bits = f32_bits(x);
  uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  uint32_t quiet = (bits >> 16) | 0x40u;
  return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
}

static inline float f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
  uint32_t magnitude = h & 0x7FFFu;
  uint32_t normal = (magnitude << 13) + (112u << 23); /* exponent bias 15 -> 127 */
  /* A subnormal is magnitude * 2^-24: exact in f32. */
  uint32_t subnormal = f32_bits((float)(int32_t)magnitude * 0x1p-24f);
  uint32_t special = (magnitude << 13) | 0x7F800000u;
  uint32_t bits = magnitude < 0x400u ? subnormal : normal;
  bits = magnitude >= 0x7C00u ? special : bits;
  return f32_from_bits(sign | bits);
}

static inline uint16_t f16_from_f32(float x) {
  uint32_t bits = f32_bits(x);
  uint32_t sign = (bits >> 16) & 0x8000u;
  uint32_t magnitude = bits & 0x7FFFFFFFu;
  uint32_t normal = (magnitude - (112u << 23) + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  /* Adding 0.5 places the subnormal's last bit at the end of the mantissa, so that the
   * addition itself rounds to nearest even. */
  uint32_t small = f32_bits(f32_from_bits(magnitude) + 0.5f) - 0x3F000000u;
  uint32_t half = magnitude < (113u << 23) ? small : normal;
  half = magnitude >= 0x477FF000u ? 0x7C00u : half; /* 65520 and above overflow */
  half = magnitude > 0x7F800000u ? 0x7E00u | ((magnitude >> 13) & 0x3FFu) : half;
  return (uint16_t)(sign | half);
}

#endif
