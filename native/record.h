/* record.h - one record of a list, resolved: an op, its operands as views and its attributes.
 * C and C++. */
#ifndef TRAINER_NATIVE_RECORD_H
#define TRAINER_NATIVE_RECORD_H

#include "view.h"

/* A dimension whose extent stands in memory when the record runs. */
struct bound {
  struct view *view;
  const struct view *by;
  uint32_t dim;
  int64_t limit; /* the shape the list states */
};

struct record {
  uint32_t op;
  uint32_t n_out;
  uint32_t n_in;
  uint32_t attr_bytes;
  uint32_t n_bounds;
  uint32_t n_after;
  uint32_t lane;
  const uint32_t *after; /* records of other lanes that this one comes after */
  struct view *out;
  struct view *in; /* right behind the outputs */
  const void *attr;
  struct bound *bounds;
  const char *name; /* of the op, for error texts; the backend sets it */
};

#endif
