/* strided.c - see strided.h. */
#include "strided.h"

/* Whether dimension dim and the one kept last before it are one run in every view. */
static int mergeable(const struct strided *strided, const struct view *const *views, uint32_t dim) {
  for (uint32_t k = 0; k < strided->n; k++)
    if (strided->stride[k][strided->rank - 1] != views[k]->stride[dim] * views[k]->shape[dim]) return 0;
  return 1;
}

void strided_make(struct strided *strided, const struct view *const *views, uint32_t n) {
  *strided = (struct strided){.n = n, .count = views[0]->count};
  for (uint32_t dim = 0; dim < views[0]->rank; dim++) {
    int64_t size = views[0]->shape[dim];
    if (size == 1) continue;
    int merge = strided->rank > 0 && mergeable(strided, views, dim);
    if (!merge) strided->shape[strided->rank++] = 1;
    strided->shape[strided->rank - 1] *= size;
    for (uint32_t k = 0; k < n; k++) strided->stride[k][strided->rank - 1] = views[k]->stride[dim];
  }
  if (strided->rank > 0) return;
  strided->rank = 1; /* one element */
  strided->shape[0] = 1;
  for (uint32_t k = 0; k < n; k++) strided->stride[k][0] = 1;
}

void strided_walk(const struct strided *strided, int64_t begin, int64_t end, strided_fn fn, const void *arg) {
  uint32_t inner = strided->rank - 1;
  struct strided_row row = {.index = begin};
  while (row.index < end) {
    int64_t rest = row.index / strided->shape[inner], at = row.index % strided->shape[inner];
    for (uint32_t k = 0; k < strided->n; k++) {
      row.step[k] = strided->stride[k][inner];
      row.offset[k] = at * row.step[k];
    }
    for (uint32_t dim = inner; dim-- > 0; rest /= strided->shape[dim])
      for (uint32_t k = 0; k < strided->n; k++) row.offset[k] += rest % strided->shape[dim] * strided->stride[k][dim];
    int64_t left = strided->shape[inner] - at;
    if (left > end - row.index) left = end - row.index;
    while (left > 0) {
      row.n = left < STRIDED_ROW ? left : STRIDED_ROW;
      fn(arg, &row);
      for (uint32_t k = 0; k < strided->n; k++) row.offset[k] += row.n * row.step[k];
      row.index += row.n;
      left -= row.n;
    }
  }
}

struct strided_job {
  const struct strided *strided;
  strided_fn fn;
  const void *arg;
};

static void strided_task(void *arg, int64_t task, uint32_t worker) {
  const struct strided_job *job = arg;
  int64_t begin = task * STRIDED_GRAIN, end = begin + STRIDED_GRAIN;
  (void)worker;
  strided_walk(job->strided, begin, end < job->strided->count ? end : job->strided->count, job->fn, job->arg);
}

void strided_run(struct pool *pool, const struct strided *strided, strided_fn fn, const void *arg) {
  struct strided_job job = {strided, fn, arg};
  pool_run(pool, (strided->count + STRIDED_GRAIN - 1) / STRIDED_GRAIN, strided_task, &job);
}

const float *row_load(float *buffer, const struct view *view, int64_t offset, int64_t step, int64_t n) {
  uint32_t size = dtype_bytes(view->dtype);
  const char *data = (const char *)view->data + offset * size;
  if (step == 1 && view->dtype == TRAINER_F32) return (const float *)(const void *)data;
  if (step == 1) {
    load_f32(buffer, data, view->dtype, n);
  } else if (step == 0) {
    load_f32(buffer, data, view->dtype, 1);
    for (int64_t i = 1; i < n; i++) buffer[i] = buffer[0];
  } else {
    for (int64_t i = 0; i < n; i++) load_f32(buffer + i, data + i * step * size, view->dtype, 1);
  }
  return buffer;
}

float *row_target(float *buffer, const struct view *view, int64_t offset, int64_t step) {
  return step == 1 && view->dtype == TRAINER_F32 ? (float *)view->data + offset : buffer;
}

void row_commit(const float *target, const struct view *view, int64_t offset, int64_t step, int64_t n) {
  uint32_t size = dtype_bytes(view->dtype);
  char *data = (char *)view->data + offset * size;
  if (step == 1 && view->dtype == TRAINER_F32) return;
  if (step == 1) {
    store_f32(data, view->dtype, target, n);
  } else {
    for (int64_t i = 0; i < n; i++) store_f32(data + i * step * size, view->dtype, target + i, 1);
  }
}
