/* nf4.h - 4-bit NormalFloat (Dettmers et al. 2023, QLoRA) and the signed 8-bit dynamic
 * map (Dettmers 2015; Dettmers et al. 2022) that stores its scales, bit for bit as
 * bitsandbytes has them. */
#ifndef TRAINER_NATIVE_NF4_H
#define TRAINER_NATIVE_NF4_H

#include <math.h>
#include <stdint.h>

#define DYNAMIC_MAP_ENTRIES 256

/* The value of each code, ascending: quantiles of a normal distribution, code 7 is 0. */
static const float nf4_values[16] = {
    -0x1.000000p+0f, -0x1.647362p-1f, -0x1.0cd660p-1f, -0x1.946540p-2f, -0x1.23449ap-2f, -0x1.7a6a7ep-3f,
    -0x1.74f0e2p-4f, 0x0p+0f,         0x1.45f5fep-4f,  0x1.4995c6p-3f,  0x1.f809bap-3f,  0x1.5a0674p-2f,
    0x1.c34970p-2f,  0x1.200f56p-1f,  0x1.722766p-1f,  0x1.000000p+0f};

/* Writes between[i] = the middle of values i and i + 1, for nearest-code search. */
static inline void codes_between(float *between, const float *values, int n) {
  for (int i = 0; i + 1 < n; i++) between[i] = (values[i] + values[i + 1]) / 2.0f;
}

/* The nearest NF4 code of x in [-1, 1]; a tie takes the lower code, NaN code 0. */
static inline int32_t nf4_encode(float x, const float between[15]) {
  int32_t code = 0;
#ifndef __CUDACC__
#pragma GCC unroll 15 /* so that a loop over elements vectorises */
#endif
  for (int i = 0; i < 15; i++) code += x > between[i];
  return code;
}

/* x in [-1, 1] on the grid of 65,536 even steps on which bitsandbytes looks codes up. */
static inline float dynamic_map_grid(float x) {
  float step = floorf((x + 1.0f) * 32767.5f + 0.5f);
  return step * (2.0f / 65535.0f) - 1.0f;
}

/* The code nearest to x on its grid, in an ascending map of 256 values; a tie takes the
 * lower one. */
static inline uint8_t dynamic_map_encode(float x, const float between[DYNAMIC_MAP_ENTRIES - 1]) {
  x = dynamic_map_grid(x);
  int low = 0, high = DYNAMIC_MAP_ENTRIES - 1; /* the first i with x <= between[i] */
  while (low < high) {
    int middle = (low + high) / 2;
    if (x > between[middle]) low = middle + 1;
    else high = middle;
  }
  return (uint8_t)low;
}

/* n points from 0.1 to 1, built from both ends with one rounding each. */
static inline float dynamic_map_point(int i, int n) {
  float step = (1.0f - 0.1f) / (float)(n - 1);
  if (i < n / 2) return (float)((double)step * i + (double)0.1f);
  return (float)(1.0 - (double)step * (n - i - 1));
}

/* create_dynamic_map(signed=True, total_bits=8): for each of seven decades, middles of
 * 2^i equal steps from 0.1 to 1, with both signs; then 0 and 1. Ascending. */
static inline void dynamic_map(float map[DYNAMIC_MAP_ENTRIES]) {
  int at = 0;
  for (int decade = 0; decade < 7; decade++) {
    float scale = (float)pow(10.0, decade - 6);
    int items = 1 << decade;
    for (int i = 0; i < items; i++) {
      float low = dynamic_map_point(i, items + 1);
      float high = dynamic_map_point(i + 1, items + 1);
      float value = scale * ((low + high) / 2.0f);
      /* Values rise with decade and i: negatives fill from the front backwards. */
      map[128 + at] = value;
      map[126 - at] = -value;
      at++;
    }
  }
  map[127] = 0.0f;
  map[255] = 1.0f;
}

#endif
