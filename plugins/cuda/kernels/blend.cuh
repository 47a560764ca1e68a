/* blend.cuh - moves matrices: casts, copies, scales, drops out, adds. Many in one launch. */
#ifndef TRAINER_CUDA_BLEND_CUH
#define TRAINER_CUDA_BLEND_CUH

#include "matrix.cuh"

/* dst = factor * src * mask + add, in f32, rounded once. Without src the product is 0. src
 * lies over dst from column `first` on and is 0 elsewhere. mask: bit k%8 of byte k/8 of a
 * row, NULL = all ones. add has dst's shape (a stride of 0 repeats), may be dst. */
struct blend {
  struct matrix dst;
  struct matrix src;
  struct matrix add;
  int64_t first;
  const uint8_t *mask;
  int64_t mask_row, mask_col;
  float factor;
};

#define BLEND_MOST 8

/* Blends to be launched together: they must not depend on each other. */
struct blends {
  struct blend job[BLEND_MOST];
  int64_t end[BLEND_MOST]; /* first block behind each */
  int wide[BLEND_MOST];    /* eight columns a thread */
  int n;
  int dry; /* launch nothing */
  cudaStream_t stream;
};

static inline struct blends blends_on(cudaStream_t stream) {
  struct blends blends = {};
  blends.stream = stream;
  return blends;
}

/* dst = src. */
struct blend blend_copy(struct matrix dst, struct matrix src);
/* dst = src under the mask [rows, ceil(cols/8)] times keep_scale; without a mask src. */
struct blend blend_drop(struct matrix dst, struct matrix src, const struct view *mask, float keep_scale);

/* Takes one up; launches what was taken up before when there is no room. */
void blends_add(struct blends *blends, struct blend job);
/* Launches the rest. */
void blends_run(struct blends *blends);

#endif
