/* program.c - lists become programs: copied, checked record by record, and resolved to
 * kernel calls on addresses. Running one allocates nothing. */
#include <stdlib.h>

#include "../../native/list.h"
#include "backend.h"

static void program_release(struct object *object) {
  struct program *program = (struct program *)object;
  for (uint32_t i = 0; program->buffers && i <= program->slot_count; i++)
    if (program->buffers[i]) object_release(&program->buffers[i]->object);
  memory_uncount(object->device, program->counted);
  pthread_mutex_destroy(&program->run_lock);
  free(program->buffers);
  free(program->bounds);
  free(program->views);
  free(program->calls);
  free(program->params);
  free(program->list);
  free(program);
}

/* calloc that counts; never asks for nothing. */
static void *keep(struct program *program, uint64_t n, uint64_t size) {
  uint64_t bytes = (n ? n : 1) * size;
  program->bytes += bytes;
  return calloc(n ? n : 1, size);
}

/* Records an error about record `index` of the program's list. */
static int32_t fail_record(const struct program *program, uint32_t index, const char *name, int32_t status, const char *text, trainer_error *error) {
  char sentence[sizeof error->text];
  if (name) snprintf(sentence, sizeof sentence, "record %u (%s): %.400s", (unsigned)index, name, text);
  else snprintf(sentence, sizeof sentence, "record %u: %.400s", (unsigned)index, text);
  return trainer_fail_at(error, status, program->serial, index, sentence);
}

/* Copies the list, so that nobody changes it behind our back. */
static int32_t copy_list(struct program *program, const trainer_list *given, trainer_error *error) {
  trainer_list head;
  if (!given || (uintptr_t)given % 8 != 0 || trainer_struct_size(given) < sizeof head)
    return trainer_fail(error, TRAINER_INVALID, "the list is missing, not aligned to 8 bytes, or its struct_size is too small");
  memcpy(&head, given, sizeof head);
  program->serial = head.serial;
  if (head.bytes < sizeof head || head.bytes > LIST_BYTES_MAX)
    return trainer_fail_at(error, TRAINER_INVALID, head.serial, TRAINER_NO_RECORD, "bytes of the list is too small or above list_bytes_max");
  program->list = keep(program, 1, head.bytes);
  if (!program->list) return trainer_fail(error, TRAINER_OOM, "no memory for a copy of the list");
  memcpy(program->list, given, head.bytes);
  program->list->bytes = head.bytes;
  return TRAINER_OK;
}

static int32_t walk_open(const struct program *program, struct list_walk *walk, char *text, uint64_t bytes, trainer_error *error) {
  int32_t status = list_open(walk, program->list, program->list->bytes, text, bytes);
  return status ? trainer_fail_at(error, status, program->serial, TRAINER_NO_RECORD, text) : TRAINER_OK;
}

/* Walks the whole list once and allocates what its records need. */
static int32_t measure(struct program *program, uint32_t *bad_record, trainer_error *error) {
  char text[256];
  struct list_walk walk;
  struct list_record record;
  uint64_t operands = 0, bounds = 0;
  int more = 1;
  int32_t status = walk_open(program, &walk, text, sizeof text, error);
  if (status) return status;
  while (more) {
    status = list_next(&walk, &record, &more);
    if (status) {
      *bad_record = walk.index;
      return fail_record(program, walk.index, NULL, status, text, error);
    }
    for (uint32_t i = 0; more && i < record.n_operands; i++) {
      operands++;
      bounds += record.operands[i].slot != TRAINER_SLOT_NONE && record.operands[i].bound_by != 0;
    }
  }
  /* Every operand takes bytes of the list, so the counts are bounded by its size. */
  program->call_count = walk.head.record_count;
  program->slot_count = walk.head.slot_count;
  program->params_bytes = walk.head.params_bytes;
  program->calls = keep(program, program->call_count, sizeof *program->calls);
  program->views = keep(program, operands, sizeof *program->views);
  program->bounds = keep(program, bounds, sizeof *program->bounds);
  program->bytes += ((uint64_t)program->slot_count + 1) * sizeof(struct buffer *); /* made by program_bind */
  program->params = keep(program, 1, program->params_bytes + 1);
  if (program->calls && program->views && program->bounds && program->params) return TRAINER_OK;
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

/* Makes the call of one record and lets its kernel check it. */
static int32_t make_call(struct program *program, struct program_call *made, const struct list_record *record, struct view *views, char *text, uint64_t text_bytes) {
  struct device *device = program->object.device;
  made->kernel = kernel_of(record->head->op);
  if (!made->kernel) {
    snprintf(text, text_bytes, "there is no op 0x%x", (unsigned)record->head->op);
    return TRAINER_UNSUPPORTED;
  }
  for (uint32_t i = 0; i < record->n_operands; i++) make_view(&views[i], &record->operands[i]);
  made->call = (struct call){
      .out = views,
      .in = views + record->head->n_outputs,
      .n_out = record->head->n_outputs,
      .n_in = record->head->n_inputs,
      .attr = record->attr,
      .attr_bytes = record->head->attr_bytes,
      .isa = device->isa,
      .pool = device->pool,
  };
  int32_t status = made->kernel->check ? made->kernel->check(&made->call, text, text_bytes) : TRAINER_OK;
  if (status || !made->kernel->workspace) return status;
  uint64_t workspace = made->kernel->workspace(&made->call, pool_threads(device->pool));
  if (workspace > program->workspace_bytes) program->workspace_bytes = workspace;
  return TRAINER_OK;
}

static struct bound *make_bounds(struct program_call *made, const struct list_record *record, struct view *views, struct bound *next) {
  made->bounds = next;
  for (uint32_t i = 0; i < record->n_operands; i++) {
    const trainer_operand *operand = &record->operands[i];
    if (operand->slot == TRAINER_SLOT_NONE || operand->bound_by == 0) continue;
    *next++ = (struct bound){&views[i], &views[operand->bound_by - 1], operand->bound_dim, operand->shape[operand->bound_dim]};
    made->n_bounds++;
  }
  return next;
}

static int32_t resolve(struct program *program, uint32_t *bad_record, trainer_error *error) {
  char text[256] = "";
  struct list_walk walk;
  struct list_record record;
  struct view *views = program->views;
  struct bound *bounds = program->bounds;
  int32_t status = walk_open(program, &walk, text, sizeof text, error);
  for (uint32_t i = 0; status == TRAINER_OK && i < program->call_count; i++) {
    int more;
    struct program_call *made = &program->calls[i];
    status = list_next(&walk, &record, &more);
    if (!status) status = make_call(program, made, &record, views, text, sizeof text);
    if (status) {
      *bad_record = i;
      return fail_record(program, i, made->kernel ? made->kernel->name : NULL, status, text, error);
    }
    bounds = make_bounds(made, &record, views, bounds);
    views += record.n_operands;
  }
  return status;
}

int32_t program_create(struct device *device, const trainer_list *list, struct program **out, uint32_t *bad_record, trainer_error *error) {
  uint32_t bad = TRAINER_NO_RECORD;
  struct program *program = calloc(1, sizeof *program);
  if (!program) return trainer_fail(error, TRAINER_OOM, "no memory for a program");
  object_init(&program->object, OBJECT_PROGRAM, device, program_release);
  pthread_mutex_init(&program->run_lock, NULL);
  program->bytes = sizeof *program;
  int32_t status = copy_list(program, list, error);
  if (!status) status = measure(program, &bad, error);
  if (!status) status = resolve(program, &bad, error);
  if (bad_record) *bad_record = bad;
  if (status) object_release(&program->object);
  else *out = program;
  return status;
}

/* References the buffer of a binding into *buffer and gives its address. */
static int32_t bind_one(struct program *program, struct buffer **buffer, const trainer_binding *binding, const char *what, uint32_t index, trainer_error *error) {
  if (binding->buffer == 0) return TRAINER_OK;
  *buffer = (struct buffer *)handle_get(binding->buffer, OBJECT_BUFFER, program->object.device);
  if (!*buffer) return trainer_fail(error, TRAINER_STALE, "the buffer of %s %u is not alive", what, (unsigned)index);
  if (binding->offset > (*buffer)->bytes || binding->bytes > (*buffer)->bytes - binding->offset)
    return trainer_fail(error, TRAINER_INVALID, "the binding of %s %u ends behind its buffer", what, (unsigned)index);
  return TRAINER_OK;
}

static int32_t bind_operand(struct program *program, struct view *view, const trainer_operand *operand, const trainer_binding *bindings, char *text, uint64_t text_bytes) {
  static char nothing[8];
  uint8_t *base = program->params;
  if (operand->slot != TRAINER_SLOT_PARAMS) {
    const trainer_binding *binding = &bindings[operand->slot];
    uint64_t room = binding->buffer ? binding->bytes : 0;
    if (operand->offset > room || operand->bytes > room - operand->offset) {
      snprintf(text, text_bytes, "an operand ends behind the binding of slot %u", (unsigned)operand->slot);
      return TRAINER_INVALID;
    }
    base = binding->buffer ? program->buffers[operand->slot]->base + binding->offset : NULL;
  }
  view->data = base ? base + operand->offset : (uint8_t *)nothing;
  if ((uintptr_t)view->data % dtype_bytes(view->dtype) == 0) return TRAINER_OK;
  snprintf(text, text_bytes, "the binding of slot %u is not aligned to the operand's elements", (unsigned)operand->slot);
  return TRAINER_INVALID;
}

static int32_t bind_views(struct program *program, const trainer_binding *bindings, trainer_error *error) {
  char text[256] = "";
  struct list_walk walk;
  struct list_record record;
  struct view *views = program->views;
  int more;
  int32_t status = walk_open(program, &walk, text, sizeof text, error);
  for (uint32_t i = 0; status == TRAINER_OK && i < program->call_count; i++) {
    status = list_next(&walk, &record, &more);
    for (uint32_t k = 0; !status && k < record.n_operands; k++)
      if (views[k].present) status = bind_operand(program, &views[k], &record.operands[k], bindings, text, sizeof text);
    if (status) return fail_record(program, i, program->calls[i].kernel->name, status, text, error);
    views += record.n_operands;
  }
  return status;
}

int32_t program_bind(struct program *program, const trainer_binding *bindings, uint32_t count, const trainer_binding *workspace, trainer_error *error) {
  if (count != program->slot_count || (count && !bindings))
    return trainer_fail(error, TRAINER_INVALID, "the list has %u slots, but %u bindings are given", (unsigned)program->slot_count, (unsigned)count);
  program->buffers = calloc((size_t)count + 1, sizeof *program->buffers);
  if (!program->buffers) return trainer_fail(error, TRAINER_OOM, "no memory to bind %u slots", (unsigned)count);
  int32_t status = TRAINER_OK;
  for (uint32_t i = 0; !status && i < count; i++) status = bind_one(program, &program->buffers[i], &bindings[i], "slot", i, error);
  struct buffer **scratch = &program->buffers[count];
  if (!status) status = bind_one(program, scratch, workspace, "workspace", 0, error);
  if (status) return status;
  if (program->workspace_bytes > (*scratch ? workspace->bytes : 0))
    return trainer_fail(error, TRAINER_INVALID, "the list needs a workspace of %llu bytes", (unsigned long long)program->workspace_bytes);
  if (*scratch && workspace->offset % WORKSPACE_ALIGNMENT != 0)
    return trainer_fail(error, TRAINER_INVALID, "the workspace is not aligned to %u bytes", WORKSPACE_ALIGNMENT);
  for (uint32_t i = 0; *scratch && i < program->call_count; i++) {
    program->calls[i].call.workspace = (*scratch)->base + workspace->offset;
    program->calls[i].call.workspace_bytes = workspace->bytes;
  }
  return bind_views(program, bindings, error);
}

/* Sets bounded dimensions to their extents of now, never above what was checked. */
static void apply_bounds(const struct program_call *call) {
  for (uint32_t i = 0; i < call->n_bounds; i++) {
    const struct bound *bound = &call->bounds[i];
    int64_t extent = *(const int32_t *)bound->by->data;
    if (extent > bound->limit) extent = bound->limit;
    bound->view->shape[bound->dim] = extent > 0 ? extent : 0;
    bound->view->count = 1;
    for (uint32_t dim = 0; dim < bound->view->rank; dim++) bound->view->count *= bound->view->shape[dim];
  }
}

void program_run(struct program *program, const void *params, struct pool *pool) {
  pthread_mutex_lock(&program->run_lock);
  if (program->params_bytes) memcpy(program->params, params, program->params_bytes);
  for (uint32_t i = 0; i < program->call_count; i++) {
    struct program_call *next = &program->calls[i];
    apply_bounds(next);
    next->call.pool = pool;
    next->kernel->run(&next->call);
  }
  pthread_mutex_unlock(&program->run_lock);
}

int32_t cpu_list_check(uint64_t handle, const trainer_list *list, trainer_list_report *report, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  trainer_list_report own = {.bad_record = TRAINER_NO_RECORD};
  struct program *program = NULL;
  int32_t status = program_create(device, list, &program, &own.bad_record, error);
  if (!status) {
    own.workspace_bytes = program->workspace_bytes;
    own.plan_bytes = program->bytes;
    object_release(&program->object);
  }
  object_release(&device->object);
  TRAINER_WRITE(report, own);
  return status;
}
