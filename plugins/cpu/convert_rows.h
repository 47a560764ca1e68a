/* convert_rows.h - the loops of convert.c, compiled once per instruction set. The
 * including file defines CONVERT(name). */
#include "../../native/half.h"

void CONVERT(bf16_load)(float *dst, const uint16_t *src, int64_t n);
void CONVERT(bf16_store)(uint16_t *dst, const float *src, int64_t n);
void CONVERT(f16_load)(float *dst, const uint16_t *src, int64_t n);
void CONVERT(f16_store)(uint16_t *dst, const float *src, int64_t n);

void CONVERT(bf16_load)(float *dst, const uint16_t *src, int64_t n) {
  for (int64_t i = 0; i < n; i++) dst[i] = bf16_to_f32(src[i]);
}

void CONVERT(bf16_store)(uint16_t *dst, const float *src, int64_t n) {
  for (int64_t i = 0; i < n; i++) dst[i] = bf16_from_f32(src[i]);
}

void CONVERT(f16_load)(float *dst, const uint16_t *src, int64_t n) {
  for (int64_t i = 0; i < n; i++) dst[i] = f16_to_f32(src[i]);
}

void CONVERT(f16_store)(uint16_t *dst, const float *src, int64_t n) {
  for (int64_t i = 0; i < n; i++) dst[i] = f16_from_f32(src[i]);
}
