/* resolve.c - see resolve.h. */
#include "resolve.h"

#include <stdlib.h>

#include "list.h"

void resolved_free(struct resolved *resolved) {
  for (uint32_t i = 0; resolved->buffers && i <= resolved->slot_count; i++)
    if (resolved->buffers[i]) object_release(&resolved->buffers[i]->object);
  free(resolved->buffers);
  free(resolved->bounds);
  free(resolved->views);
  free(resolved->records);
  free(resolved->list);
}

struct failure resolved_failure(const struct resolved *resolved, uint32_t record, int32_t status, const char *text) {
  struct failure failure = {.status = status, .record = record, .serial = resolved->serial};
  const char *name = record != TRAINER_NO_RECORD && resolved->records ? resolved->records[record].name : NULL;
  if (record == TRAINER_NO_RECORD) snprintf(failure.text, sizeof failure.text, "%.400s", text);
  else if (name) snprintf(failure.text, sizeof failure.text, "record %u (%s): %.400s", (unsigned)record, name, text);
  else snprintf(failure.text, sizeof failure.text, "record %u: %.400s", (unsigned)record, text);
  return failure;
}

int32_t resolved_fail(const struct resolved *resolved, uint32_t record, int32_t status, const char *text, trainer_error *error) {
  struct failure failure = resolved_failure(resolved, record, status, text);
  return trainer_fail_at(error, status, failure.serial, record, failure.text);
}

/* ---- from list to views ---- */

/* calloc that counts; never asks for nothing. */
static void *keep(struct resolved *resolved, uint64_t n, uint64_t size) {
  uint64_t bytes = (n ? n : 1) * size;
  resolved->bytes += bytes;
  return calloc(n ? n : 1, size);
}

/* Copies the list, so that nobody changes it behind our back. */
static int32_t copy_list(struct resolved *resolved, const trainer_list *given, uint64_t list_bytes_max, trainer_error *error) {
  trainer_list head;
  if (!given || (uintptr_t)given % 8 != 0 || trainer_struct_size(given) < sizeof head)
    return trainer_fail(error, TRAINER_INVALID, "the list is missing, not aligned to 8 bytes, or its struct_size is too small");
  memcpy(&head, given, sizeof head);
  resolved->serial = head.serial;
  if (head.bytes < sizeof head || head.bytes > list_bytes_max)
    return trainer_fail_at(error, TRAINER_INVALID, head.serial, TRAINER_NO_RECORD, "bytes of the list is too small or above list_bytes_max");
  resolved->list = keep(resolved, 1, head.bytes);
  if (!resolved->list) return trainer_fail(error, TRAINER_OOM, "no memory for a copy of the list");
  memcpy(resolved->list, given, head.bytes);
  resolved->list->bytes = head.bytes;
  return TRAINER_OK;
}

static int32_t walk_open(const struct resolved *resolved, struct list_walk *walk, char *text, uint64_t bytes, trainer_error *error) {
  int32_t status = list_open(walk, resolved->list, resolved->list->bytes, text, bytes);
  return status ? trainer_fail_at(error, status, resolved->serial, TRAINER_NO_RECORD, text) : TRAINER_OK;
}

static int is_bound(const trainer_operand *operand) { return operand->slot != TRAINER_SLOT_NONE && operand->bound_by != 0; }

/* Walks the whole list once, checking it, and allocates what its records need. */
static int32_t measure(struct resolved *resolved, uint32_t *bad_record, trainer_error *error) {
  char text[256];
  struct list_walk walk;
  struct list_record record;
  uint64_t operands = 0, bounds = 0;
  int more = 1;
  int32_t status = walk_open(resolved, &walk, text, sizeof text, error);
  if (status) return status;
  while (more) {
    status = list_next(&walk, &record, &more);
    if (status) {
      *bad_record = walk.index;
      return resolved_fail(resolved, walk.index, status, text, error);
    }
    for (uint32_t i = 0; more && i < record.n_operands; i++) bounds += is_bound(&record.operands[i]);
    operands += more ? record.n_operands : 0;
  }
  /* Every operand takes bytes of the list, so the counts are bounded by its size. */
  resolved->record_count = walk.head.record_count;
  resolved->slot_count = walk.head.slot_count;
  resolved->params_bytes = walk.head.params_bytes;
  resolved->records = keep(resolved, resolved->record_count, sizeof *resolved->records);
  resolved->views = keep(resolved, operands, sizeof *resolved->views);
  resolved->bounds = keep(resolved, bounds, sizeof *resolved->bounds);
  resolved->bytes += ((uint64_t)resolved->slot_count + 1) * sizeof(struct buffer *); /* made by resolved_bind */
  if (resolved->records && resolved->views && resolved->bounds) return TRAINER_OK;
  return trainer_fail(error, TRAINER_OOM, "no memory to resolve the list");
}

static void make_view(struct view *view, const trainer_operand *operand) {
  if (operand->slot == TRAINER_SLOT_NONE) return;
  view->dtype = operand->dtype;
  view->rank = operand->rank;
  view->count = 1;
  view->present = 1;
  for (uint32_t dim = 0; dim < operand->rank; dim++) {
    view->shape[dim] = operand->shape[dim];
    view->stride[dim] = operand->stride[dim];
    view->count *= operand->shape[dim];
  }
}

static void make_record(struct record *made, const struct list_record *record, struct view *views, struct bound *bounds) {
  *made = (struct record){
      .op = record->head->op,
      .n_out = record->head->n_outputs,
      .n_in = record->head->n_inputs,
      .attr_bytes = record->head->attr_bytes,
      .n_after = record->head->n_after,
      .lane = record->head->lane,
      .after = record->after,
      .out = views,
      .in = views + record->head->n_outputs,
      .attr = record->attr,
      .bounds = bounds,
  };
  for (uint32_t i = 0; i < record->n_operands; i++) {
    const trainer_operand *operand = &record->operands[i];
    make_view(&views[i], operand);
    if (!is_bound(operand)) continue;
    bounds[made->n_bounds++] = (struct bound){&views[i], &views[operand->bound_by - 1], operand->bound_dim, operand->shape[operand->bound_dim]};
  }
}

int32_t resolve(struct resolved *resolved, const trainer_list *list, uint64_t list_bytes_max, uint32_t *bad_record, trainer_error *error) {
  char text[256] = "";
  struct list_walk walk;
  struct list_record record;
  int more;
  *resolved = (struct resolved){0};
  *bad_record = TRAINER_NO_RECORD;
  int32_t status = copy_list(resolved, list, list_bytes_max, error);
  if (!status) status = measure(resolved, bad_record, error);
  if (!status) status = walk_open(resolved, &walk, text, sizeof text, error);
  struct view *views = resolved->views;
  struct bound *bounds = resolved->bounds;
  for (uint32_t i = 0; !status && i < resolved->record_count; i++) {
    status = list_next(&walk, &record, &more); /* cannot fail: measure walked the same bytes */
    if (status) return resolved_fail(resolved, i, status, text, error);
    make_record(&resolved->records[i], &record, views, bounds);
    views += record.n_operands;
    bounds += resolved->records[i].n_bounds;
  }
  return status;
}

/* ---- addresses ---- */

/* References the buffer of a binding into *buffer. */
static int32_t take_buffer(const struct binding_rules *rules, struct buffer **buffer, const trainer_binding *binding, const char *what, uint32_t index, trainer_error *error) {
  if (binding->buffer == 0) return TRAINER_OK;
  *buffer = (struct buffer *)handle_get(binding->buffer, OBJECT_BUFFER, rules->device);
  if (!*buffer) return trainer_fail(error, TRAINER_STALE, "the buffer of %s %u is not alive", what, (unsigned)index);
  if (binding->offset > (*buffer)->bytes || binding->bytes > (*buffer)->bytes - binding->offset)
    return trainer_fail(error, TRAINER_INVALID, "the binding of %s %u ends behind its buffer", what, (unsigned)index);
  return TRAINER_OK;
}

static int32_t bind_operand(const struct resolved *resolved, struct view *view, const trainer_operand *operand, const trainer_binding *bindings, void *params, char *text, uint64_t text_bytes) {
  static char nothing[8];
  uint8_t *base = params;
  if (operand->slot != TRAINER_SLOT_PARAMS) {
    const trainer_binding *binding = &bindings[operand->slot];
    uint64_t room = binding->buffer ? binding->bytes : 0;
    if (operand->offset > room || operand->bytes > room - operand->offset) {
      snprintf(text, text_bytes, "an operand ends behind the binding of slot %u", (unsigned)operand->slot);
      return TRAINER_INVALID;
    }
    base = binding->buffer ? resolved->buffers[operand->slot]->base + binding->offset : NULL;
  }
  view->data = base ? base + operand->offset : (uint8_t *)nothing;
  if ((uintptr_t)view->data % list_dtype_bytes(view->dtype) == 0) return TRAINER_OK;
  snprintf(text, text_bytes, "the binding of slot %u is not aligned to the operand's elements", (unsigned)operand->slot);
  return TRAINER_INVALID;
}

static int32_t bind_views(struct resolved *resolved, const trainer_binding *bindings, void *params, trainer_error *error) {
  char text[256] = "";
  struct list_walk walk;
  struct list_record record;
  int more;
  int32_t status = walk_open(resolved, &walk, text, sizeof text, error);
  for (uint32_t i = 0; status == TRAINER_OK && i < resolved->record_count; i++) {
    struct view *views = resolved->records[i].out;
    status = list_next(&walk, &record, &more);
    for (uint32_t k = 0; !status && k < record.n_operands; k++)
      if (views[k].present) status = bind_operand(resolved, &views[k], &record.operands[k], bindings, params, text, sizeof text);
    if (status) return resolved_fail(resolved, i, status, text, error);
  }
  return status;
}

static int32_t bind_workspace(struct resolved *resolved, const struct binding_rules *rules, const trainer_binding *workspace, trainer_error *error) {
  struct buffer **buffer = &resolved->buffers[resolved->slot_count];
  int32_t status = take_buffer(rules, buffer, workspace, "workspace", 0, error);
  if (status) return status;
  if (rules->workspace_bytes > (*buffer ? workspace->bytes : 0))
    return trainer_fail(error, TRAINER_INVALID, "the list needs a workspace of %llu bytes", (unsigned long long)rules->workspace_bytes);
  if (*buffer && workspace->offset % rules->workspace_alignment != 0)
    return trainer_fail(error, TRAINER_INVALID, "the workspace is not aligned to %u bytes", (unsigned)rules->workspace_alignment);
  if (!*buffer) return TRAINER_OK;
  resolved->workspace = (*buffer)->base + workspace->offset;
  resolved->workspace_bytes = workspace->bytes;
  return TRAINER_OK;
}

int32_t resolved_bind(struct resolved *resolved, const struct binding_rules *rules, const trainer_binding *bindings, uint32_t count, const trainer_binding *workspace, trainer_error *error) {
  if (count != resolved->slot_count || (count && !bindings))
    return trainer_fail(error, TRAINER_INVALID, "the list has %u slots, but %u bindings are given", (unsigned)resolved->slot_count, (unsigned)count);
  resolved->buffers = calloc((size_t)count + 1, sizeof(struct buffer *));
  if (!resolved->buffers) return trainer_fail(error, TRAINER_OOM, "no memory to bind %u slots", (unsigned)count);
  int32_t status = TRAINER_OK;
  for (uint32_t i = 0; !status && i < count; i++) status = take_buffer(rules, &resolved->buffers[i], &bindings[i], "slot", i, error);
  if (!status) status = bind_workspace(resolved, rules, workspace, error);
  return status ? status : bind_views(resolved, bindings, rules->params, error);
}

void record_apply_bounds(const struct record *record) {
  for (uint32_t i = 0; i < record->n_bounds; i++) {
    const struct bound *bound = &record->bounds[i];
    int64_t extent = *(const int32_t *)bound->by->data;
    if (extent > bound->limit) extent = bound->limit;
    bound->view->shape[bound->dim] = extent > 0 ? extent : 0;
    bound->view->count = 1;
    for (uint32_t dim = 0; dim < bound->view->rank; dim++) bound->view->count *= bound->view->shape[dim];
  }
}
