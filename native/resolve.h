/* resolve.h - a list made ready to run: copied, checked, its operands as views, and later
 * bound to addresses. What a record does is the backend's. */
#ifndef TRAINER_NATIVE_RESOLVE_H
#define TRAINER_NATIVE_RESOLVE_H

#include "buffer.h"
#include "record.h"

struct resolved {
  uint64_t serial;
  uint32_t record_count;
  uint32_t slot_count;
  uint64_t params_bytes;
  uint64_t bytes; /* of all memory below */
  struct record *records;
  trainer_list *list; /* own copy */
  struct view *views;
  struct bound *bounds;
  struct buffer **buffers; /* referenced; slot_count of them, then the workspace's */
  uint8_t *workspace;      /* NULL: none bound */
  uint64_t workspace_bytes;
};

/* Copies and checks a list of at most list_bytes_max bytes and makes its views. If it
 * fails, *bad_record says where, and resolved_free still has to be called. */
int32_t resolve(struct resolved *resolved, const trainer_list *list, uint64_t list_bytes_max, uint32_t *bad_record, trainer_error *error);
void resolved_free(struct resolved *resolved);

/* What the bindings of a submit must satisfy. */
struct binding_rules {
  struct device *device;
  uint64_t workspace_bytes; /* needed */
  uint32_t workspace_alignment;
  void *params; /* the address of operands in TRAINER_SLOT_PARAMS */
};

/* Gives the views their addresses and references the buffers they lie in. Once. */
int32_t resolved_bind(struct resolved *resolved, const struct binding_rules *rules, const trainer_binding *bindings, uint32_t count, const trainer_binding *workspace, trainer_error *error);

/* Sets bounded dimensions to their extents of now, never above what was checked. For a
 * backend whose host reads the device's memory. */
void record_apply_bounds(const struct record *record);

/* Fills error for one record of the list, and returns status. */
int32_t resolved_fail(const struct resolved *resolved, uint32_t record, int32_t status, const char *text, trainer_error *error);

/* The same as why work did not happen; record may be TRAINER_NO_RECORD. */
struct failure resolved_failure(const struct resolved *resolved, uint32_t record, int32_t status, const char *text);

#endif
