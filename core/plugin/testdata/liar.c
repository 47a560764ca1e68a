/* A backend that lets another one do the work and lies about it in one way, for tests of what
 * the host makes of lies. The environment says what:
 *   TRAINER_LIAR  the file that works
 *   TRAINER_LIE   one of
 *     set FIELD VALUE       FIELD of a struct that the backend fills, as info.alignment; of text
 *                           fields every byte
 *     over STRUCT           64 bytes behind a struct are written
 *     CALL K status N       the K-th call of a function answers N and does nothing
 *     CALL K text N         the same, with a text that does not end
 *     CALL K over N         the same, and writes behind the error
 *     CALL K crash|abort|exit|hang
 *     CALL K device-lost    answers DEVICE_LOST, and so does every call from then on
 *     op ID value|last|nan|before|after|input|none|refused
 *                           lists with that op give a wrong result, or are refused
 *     op ID kernel          a thread crashes where such a list comes to that op
 *     times none|back|over  of the records of a list
 *     never                 a timeline never moves
 *     early                 lists are dropped, and waits for them answer OK
 *     twin FIELD            a handle is given twice
 *   TRAINER_LIE_TOLD  a file that is made when the lie is told */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trainer_backend.h"

TRAINER_EXPORT const char trainer_backend_manifest[] = "{\"name\":\"liar\",\"version\":\"1.0\",\"abi_major\":0,\"abi_minor\":3,\"cpu_features\":[]}";

static trainer_backend_table real, table;

/* ---- the lie ---- */

static char verb[32], word[48], action[16]; /* set info.alignment | submit status */
static unsigned long long number, kth;      /* the value, or which call */
static int lost;

static void told(void) {
  const char *path = getenv("TRAINER_LIE_TOLD");
  int fd = path ? open(path, O_CREAT | O_WRONLY, 0600) : -1;
  if (fd >= 0) close(fd);
}

static int lie_is(const char *name) { return strcmp(verb, name) == 0; }

__attribute__((constructor)) static void read_lie(void) {
  const char *lie = getenv("TRAINER_LIE");
  if (!lie) return;
  sscanf(lie, "%31s", verb);
  if (lie_is("set")) sscanf(lie, "set %47s %llu", word, &number);
  else if (lie_is("over") || lie_is("twin")) sscanf(lie, "%*s %47s", word);
  else if (lie_is("op")) sscanf(lie, "op %llu %15s", &number, action);
  else if (lie_is("times")) sscanf(lie, "times %15s", action);
  else sscanf(lie, "%*s %llu %15s %llu", &kth, action, &number);
}

static int32_t fail(trainer_error *error, int32_t status, const char *text) {
  if (error) snprintf(error->text, sizeof error->text, "%s", text);
  return status;
}

/* Whether this call of a function answers *status at once. */
static int strikes(const char *call, unsigned long long *calls, int32_t *status, trainer_error *error) {
  ++*calls;
  if (lost) return *status = fail(error, TRAINER_DEVICE_LOST, "it fell off the bus");
  if (!lie_is(call) || *calls != kth) return 0;
  told();
  if (strcmp(action, "crash") == 0) *(volatile int *)16 = 1;
  if (strcmp(action, "abort") == 0) abort();
  if (strcmp(action, "exit") == 0) _exit(0);
  while (strcmp(action, "hang") == 0) pause();
  if (strcmp(action, "over") == 0) memset((char *)error + sizeof *error, 0xEE, 64);
  if (strcmp(action, "device-lost") == 0) number = TRAINER_DEVICE_LOST, lost = 1;
  fail(error, 0, "so it says");
  if (strcmp(action, "text") == 0) memset(error->text, 'x', sizeof error->text);
  *status = (int32_t)number;
  return 1;
}

#define STRIKE(call)                                            \
  static unsigned long long calls;                              \
  int32_t status;                                               \
  if (strikes(#call, &calls, &status, error)) return status

/* Overwrites a field of a struct, or what is behind it, where the lie says so. */
static void lie_about(const char *name, void *at, size_t bytes) {
  if (!lie_is("set") || strcmp(word, name) != 0) return;
  told();
  if (bytes > 8) memset(at, (int)number, bytes);
  else memcpy(at, &number, bytes);
}

static void lie_behind(const char *name, void *at, size_t bytes) {
  if (!lie_is("over") || strcmp(word, name) != 0) return;
  told();
  memset((char *)at + bytes, 0xEE, 64);
}

#define FIELD(kind, at, field) lie_about(#kind "." #field, &(at)->field, sizeof (at)->field)
#define BEHIND(kind, at) lie_behind(#kind, at, sizeof *(at))

/* A handle, 0 or one given before. */
static void lie_handle(const char *name, uint64_t *handle) {
  static uint64_t first;
  lie_about(name, handle, sizeof *handle);
  if (!lie_is("twin") || strcmp(word, name) != 0) return;
  if (first) told(), *handle = first;
  first = *handle;
}

/* ---- memory and lists, remembered ---- */

#define MOST 4096
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static trainer_buffer buffers[MOST];
static unsigned buffer_count;
static struct known_plan {
  uint64_t handle;
  trainer_list *list;
  trainer_binding *bindings;
} plans[MOST];
static unsigned plan_count;

static unsigned char *bytes_of(const trainer_binding *binding) {
  for (unsigned i = buffer_count; i-- > 0;)
    if (buffers[i].handle == binding->buffer) return (unsigned char *)buffers[i].host_pointer + binding->offset;
  return NULL;
}

static const struct known_plan *plan_of(uint64_t handle) {
  for (unsigned i = plan_count; i-- > 0;)
    if (plans[i].handle == handle) return &plans[i];
  return NULL;
}

static const trainer_record *first_record(const trainer_list *list) {
  return (const trainer_record *)(const void *)((const char *)list + list->struct_size);
}

static const trainer_record *next_record(const trainer_record *record) {
  return (const trainer_record *)(const void *)((const char *)record + record->size);
}

static int has_op(const trainer_list *list) {
  const trainer_record *record = first_record(list);
  for (uint32_t i = 0; i < list->record_count; i++, record = next_record(record))
    if (record->op == number) return 1;
  return 0;
}

static void *copy_of(const void *from, size_t bytes) {
  void *to = malloc(bytes);
  return to ? memcpy(to, from, bytes) : NULL;
}

/* ---- wrong results ---- */

static uint64_t element_bytes(uint32_t dtype) {
  if (dtype == TRAINER_BF16 || dtype == TRAINER_F16) return 2;
  return dtype == TRAINER_U8 || dtype == TRAINER_I8 ? 1 : 4;
}

static void spoil(unsigned char *at, const trainer_operand *o) {
  uint64_t size = element_bytes(o->dtype);
  if (strcmp(action, "value") == 0) at[size - 1] ^= 0x41;
  if (strcmp(action, "last") == 0) at[o->bytes - 1] ^= 0x41;
  if (strcmp(action, "nan") == 0) memset(at, 0xFF, size);
  if (strcmp(action, "before") == 0) at[-1] ^= 1;
  if (strcmp(action, "after") == 0) at[o->bytes] ^= 1;
}

/* What the outputs of the op hold before a list, to be put back behind it. */
static void each_output(const trainer_list *list, const trainer_binding *bindings, void (*visit)(unsigned char *at, const trainer_operand *o)) {
  const trainer_record *record = first_record(list);
  for (uint32_t i = 0; i < list->record_count; i++, record = next_record(record)) {
    const trainer_operand *operands = (const trainer_operand *)(const void *)(record + 1);
    int input = strcmp(action, "input") == 0;
    uint32_t from = input ? record->n_outputs : 0, to = input ? record->n_outputs + record->n_inputs : record->n_outputs;
    if (record->op != number) continue;
    for (uint32_t k = from; k < to; k++) {
      const trainer_operand *o = &operands[k];
      if (o->slot >= TRAINER_SLOT_PARAMS || o->bytes == 0) continue;
      unsigned char *at = bytes_of(&bindings[o->slot]);
      if (at) told(), visit(at + o->offset, o);
      break;
    }
  }
}

static void spoil_input(unsigned char *at, const trainer_operand *o) {
  (void)o;
  at[0] ^= 1;
}

static unsigned char kept[1 << 20];

static void keep(unsigned char *at, const trainer_operand *o) { memcpy(kept, at, o->bytes < sizeof kept ? o->bytes : sizeof kept); }
static void put_back(unsigned char *at, const trainer_operand *o) { memcpy(at, kept, o->bytes < sizeof kept ? o->bytes : sizeof kept); }

/* Runs a list to its end and spoils what it wrote. */
/* A kernel that crashes on a thread of the backend: records count up to it. */
static uint64_t *counter_of_queue;

static void *crash_later(void *arg) {
  const trainer_list *list = arg;
  const trainer_record *record = first_record(list);
  for (uint32_t i = 0; i < list->record_count && record->op != number; i++, record = next_record(record))
    if (counter_of_queue) __atomic_fetch_add(counter_of_queue, 1, __ATOMIC_SEQ_CST);
  usleep(100000);
  *(volatile int *)16 = 1;
  return NULL;
}

static int32_t crash_in_kernel(const trainer_list *list) {
  pthread_t thread;
  told();
  return pthread_create(&thread, NULL, crash_later, (void *)(uintptr_t)list) ? TRAINER_OOM : TRAINER_OK;
}

static int32_t run_wrongly(uint64_t device, uint64_t queue, const trainer_submit *given, trainer_error *error) {
  const struct known_plan *plan = given->plan ? plan_of(given->plan) : NULL;
  const trainer_list *list = plan ? plan->list : given->list;
  const trainer_binding *bindings = plan ? plan->bindings : given->bindings;
  if (strcmp(action, "kernel") == 0) return has_op(list) ? crash_in_kernel(copy_of(list, list->bytes)) : real.submit(device, queue, given, error);
  int none = strcmp(action, "none") == 0;
  for (uint32_t i = 0; i < given->wait_count; i++) real.timeline_wait(device, given->waits[i].timeline, given->waits[i].value, 10000000000u, error);
  if (none) each_output(list, bindings, keep);
  int32_t status = real.submit(device, queue, given, error);
  if (status != TRAINER_OK) return status;
  status = real.timeline_wait(device, given->signals[0].timeline, given->signals[0].value, 10000000000u, error);
  each_output(list, bindings, none ? put_back : strcmp(action, "input") == 0 ? spoil_input : spoil);
  return status;
}

static int32_t lie_about_times(uint64_t device, uint64_t queue, const trainer_submit *given, trainer_error *error) {
  trainer_submit own = *given;
  uint32_t n = given->list->record_count;
  told();
  if (strcmp(action, "none") == 0) own.times = NULL;
  int32_t status = real.submit(device, queue, &own, error);
  if (!status) status = real.timeline_wait(device, given->signals[0].timeline, given->signals[0].value, 10000000000u, error);
  if (strcmp(action, "back") == 0) given->times[n] = given->times[0] - 1;
  if (strcmp(action, "over") == 0) given->times[n + 1] = given->times[n];
  return status;
}

/* ---- the functions ---- */

static int32_t shutdown_(trainer_error *error) {
  STRIKE(shutdown);
  return real.shutdown(error);
}

static int32_t device_count(uint32_t *count, trainer_error *error) {
  STRIKE(device_count);
  status = real.device_count(count, error);
  lie_about("count", count, sizeof *count);
  lie_behind("count", count, sizeof(uint64_t));
  return status;
}

static int32_t device_info(uint32_t index, trainer_device_info *info, trainer_error *error) {
  STRIKE(device_info);
  status = real.device_info(index, info, error);
  FIELD(info, info, struct_size), FIELD(info, info, device_class), FIELD(info, info, flags), FIELD(info, info, numerics);
  FIELD(info, info, memory_total), FIELD(info, info, memory_free), FIELD(info, info, buffer_max), FIELD(info, info, list_bytes_max);
  FIELD(info, info, storage_dtypes), FIELD(info, info, compute_dtypes), FIELD(info, info, alignment), FIELD(info, info, lanes);
  FIELD(info, info, tile_m), FIELD(info, info, tile_n), FIELD(info, info, tile_k), FIELD(info, info, threads);
  FIELD(info, info, name), FIELD(info, info, uuid), FIELD(info, info, isa);
  BEHIND(info, info);
  return status;
}

static int32_t device_open(uint32_t index, const trainer_device_options *options, uint64_t *device, trainer_error *error) {
  STRIKE(device_open);
  status = real.device_open(index, options, device, error);
  lie_handle("device", device);
  lie_behind("device", device, sizeof *device);
  return status;
}

static int32_t device_close(uint64_t device, trainer_error *error) {
  STRIKE(device_close);
  return real.device_close(device, error);
}

static int32_t query_ops(uint64_t device, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error) {
  STRIKE(query_ops);
  status = real.query_ops(device, queries, count, answers, error);
  for (uint32_t i = 0; i < count; i++) FIELD(answer, &answers[i], level), FIELD(answer, &answers[i], deterministic), FIELD(answer, &answers[i], struct_size);
  return status;
}

/* All memory is staging memory, so that it can be spoilt from here. */
static int32_t buffer_alloc(uint64_t device, const trainer_buffer_desc *desc, trainer_buffer *buffer, trainer_error *error) {
  STRIKE(buffer_alloc);
  trainer_buffer_desc visible = *desc;
  visible.memory = TRAINER_MEMORY_STAGING;
  status = real.buffer_alloc(device, &visible, buffer, error);
  pthread_mutex_lock(&lock);
  if (status == TRAINER_OK && buffer_count < MOST) buffers[buffer_count++] = *buffer;
  pthread_mutex_unlock(&lock);
  lie_handle("buffer.handle", &buffer->handle);
  FIELD(buffer, buffer, host_pointer), FIELD(buffer, buffer, struct_size);
  BEHIND(buffer, buffer);
  return status;
}

static int32_t buffer_free(uint64_t device, uint64_t buffer, trainer_error *error) {
  STRIKE(buffer_free);
  return real.buffer_free(device, buffer, error);
}

static int32_t queue_create(uint64_t device, uint32_t kind, uint64_t *queue, trainer_error *error) {
  STRIKE(queue_create);
  status = real.queue_create(device, kind, queue, error);
  lie_handle("queue", queue);
  lie_behind("queue", queue, sizeof *queue);
  return status;
}

static int32_t queue_destroy(uint64_t device, uint64_t queue, trainer_error *error) {
  STRIKE(queue_destroy);
  return real.queue_destroy(device, queue, error);
}

static int32_t list_check(uint64_t device, const trainer_list *list, trainer_list_report *report, trainer_error *error) {
  STRIKE(list_check);
  if (lie_is("op") && strcmp(action, "refused") == 0 && has_op(list)) return told(), fail(error, TRAINER_UNSUPPORTED, "it cannot do this op after all");
  status = real.list_check(device, list, report, error);
  FIELD(report, report, struct_size), FIELD(report, report, bad_record), FIELD(report, report, workspace_bytes), FIELD(report, report, plan_bytes);
  BEHIND(report, report);
  return status;
}

static int32_t submit(uint64_t device, uint64_t queue, const trainer_submit *given, trainer_error *error) {
  STRIKE(submit);
  if (lie_is("early")) return told(), TRAINER_OK;
  if (lie_is("op")) return run_wrongly(device, queue, given, error);
  if (lie_is("times") && given->times) return lie_about_times(device, queue, given, error);
  return real.submit(device, queue, given, error);
}

static int32_t timeline_create(uint64_t device, uint64_t value, uint64_t *timeline, trainer_error *error) {
  STRIKE(timeline_create);
  status = real.timeline_create(device, value, timeline, error);
  lie_handle("timeline", timeline);
  lie_behind("timeline", timeline, sizeof *timeline);
  return status;
}

static int32_t timeline_destroy(uint64_t device, uint64_t timeline, trainer_error *error) {
  STRIKE(timeline_destroy);
  return real.timeline_destroy(device, timeline, error);
}

static int32_t timeline_read(uint64_t device, uint64_t timeline, uint64_t *value, trainer_error *error) {
  STRIKE(timeline_read);
  status = real.timeline_read(device, timeline, value, error);
  lie_about("value", value, sizeof *value);
  lie_behind("value", value, sizeof *value);
  return status;
}

static int32_t timeline_wait(uint64_t device, uint64_t timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error) {
  STRIKE(timeline_wait);
  if (lie_is("early")) return TRAINER_OK;
  if (lie_is("never")) return told(), usleep((useconds_t)(timeout_ns / 1000)), fail(error, TRAINER_TIMEOUT, "not yet");
  return real.timeline_wait(device, timeline, value, timeout_ns, error);
}

static int32_t device_stats(uint64_t device, trainer_device_stats *stats, trainer_error *error) {
  STRIKE(device_stats);
  status = real.device_stats(device, stats, error);
  FIELD(stats, stats, struct_size), FIELD(stats, stats, memory_used), FIELD(stats, stats, memory_peak);
  BEHIND(stats, stats);
  return status;
}

static int32_t plan_create(uint64_t device, const trainer_plan_desc *desc, trainer_plan *plan, trainer_error *error) {
  STRIKE(plan_create);
  status = real.plan_create(device, desc, plan, error);
  pthread_mutex_lock(&lock);
  if (status == TRAINER_OK && plan_count < MOST)
    plans[plan_count++] = (struct known_plan){plan->handle, copy_of(desc->list, desc->list->bytes), copy_of(desc->bindings, desc->binding_count * sizeof *desc->bindings)};
  pthread_mutex_unlock(&lock);
  lie_handle("plan.handle", &plan->handle);
  FIELD(plan, plan, struct_size), FIELD(plan, plan, bytes);
  BEHIND(plan, plan);
  return status;
}

static int32_t plan_destroy(uint64_t device, uint64_t plan, trainer_error *error) {
  STRIKE(plan_destroy);
  return real.plan_destroy(device, plan, error);
}

static int32_t queue_progress(uint64_t device, uint64_t queue, uint64_t *counter, trainer_error *error) {
  STRIKE(queue_progress);
  lie_about("counter", counter, sizeof *counter);
  counter_of_queue = counter;
  return real.queue_progress(device, queue, counter, error);
}

/* ---- the query ---- */

#define FUNCTIONS(X)                                                                                                                    \
  X(device_count) X(device_info) X(device_open) X(device_close) X(query_ops) X(buffer_alloc) X(buffer_free) X(queue_create)             \
  X(queue_destroy) X(list_check) X(submit) X(timeline_create) X(timeline_destroy) X(timeline_read) X(timeline_wait) X(device_stats)     \
  X(plan_create) X(plan_destroy) X(queue_progress)

static int32_t query(const trainer_host_info *host, trainer_reply *reply, trainer_error *error) {
  STRIKE(query);
  int32_t (*asked)(const trainer_host_info *, trainer_reply *);
  void *library = dlopen(getenv("TRAINER_LIAR"), RTLD_NOW);
  if (!library) return fail(error, TRAINER_UNAVAILABLE, "TRAINER_LIAR names no backend");
  *(void **)&asked = dlsym(library, "trainer_backend_query_v1");
  status = asked(host, reply);
  if (status != TRAINER_OK) return status;
  table = real = *reply->table;
#define TAKE(name) table.name = name;
  FUNCTIONS(TAKE)
  table.shutdown = shutdown_;
#define HIDE(name) FIELD(table, &table, name);
  FUNCTIONS(HIDE)
  FIELD(table, &table, shutdown), FIELD(table, &table, struct_size);
  reply->table = &table;
  FIELD(reply, reply, struct_size), FIELD(reply, reply, abi_major), FIELD(reply, reply, abi_minor), FIELD(reply, reply, table);
  BEHIND(reply, reply);
  return status;
}

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply) { return query(host, reply, &reply->error); }
