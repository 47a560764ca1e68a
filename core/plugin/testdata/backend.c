/* A backend that moves no data, for tests of finding, loading and calling. Each macro
 * that a test defines makes it misbehave in one way. */
#include "trainer_backend.h"

#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#ifndef FEATURES
#define FEATURES ""
#endif
#ifndef MANIFEST
#define MANIFEST "{\"name\":\"tiny\",\"version\":\"1.0\",\"abi_major\":0,\"abi_minor\":1,\"cpu_features\":[" FEATURES "]}"
#endif
#if defined(MANIFEST_LONG)
TRAINER_EXPORT const char trainer_backend_manifest[70000] = {[0 ... 69998] = ' '};
#elif !defined(NO_MANIFEST)
TRAINER_EXPORT const char trainer_backend_manifest[] = MANIFEST;
#endif

static void crash(void) { *(volatile int *)16 = 1; }
static void hang(void) { for (;;) pause(); }
static void *wait_forever(void *none) { hang(); return none; }
static void leave_thread(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, wait_forever, NULL);
}
static void replace(int descriptor) {
  int null = open("/dev/zero", O_RDWR);
  if (null >= 0) dup2(null, descriptor);
}
static void lower_limit(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = 64;
  setrlimit(RLIMIT_NOFILE, &limit);
}
static void block_signals(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
}
static volatile int depth, zero;
static int deeper(int n) { /* of frames that the compiler cannot join */
  volatile char frame[4096];
  frame[0] = (char)n;
  depth++;
  return n < 0 ? 0 : deeper(n + 1) + frame[0];
}
#ifdef UNDEFINED
void absent_function(void);
#endif

__attribute__((constructor)) static void load(void) {
#if defined(LOAD_CRASHES)
  crash();
#elif defined(LOAD_ABORTS)
  abort();
#elif defined(LOAD_HANGS)
  hang();
#elif defined(LOAD_SPINS)
  for (volatile unsigned i = 0;; i++) continue;
#elif defined(LOAD_DIVIDES)
  depth = 12345 / zero;
#elif defined(LOAD_OVERFLOWS_STACK)
  depth = deeper(0);
#elif defined(LOAD_TRAPS)
  __builtin_trap();
#elif defined(LOAD_STOPS)
  raise(SIGSTOP);
#elif defined(LOAD_BLOCKS_SIGNALS)
  block_signals();
#elif defined(LOAD_CHANGES_LIMIT)
  lower_limit();
#elif defined(LOAD_CHANGES_LOCALE)
  setlocale(LC_ALL, "C.UTF-8");
#elif defined(LOAD_CHANGES_ENVIRONMENT)
  setenv("TRAINER_ZOO", "1", 1);
#elif defined(LOAD_CHANGES_ROUNDING)
  fesetround(FE_UPWARD);
#elif defined(LOAD_CLOSES_INPUT)
  close(0);
#elif defined(LOAD_REPLACES_OUTPUT)
  replace(2);
#elif defined(LOAD_PRINTS)
  puts("hello from a backend");
#elif defined(LOAD_SPAWNS_THREAD)
  leave_thread();
#elif defined(UNDEFINED)
  absent_function();
#elif defined(LOAD_EXITS)
  exit(0);
#elif defined(LOAD_EXITS_AT_ONCE)
  _exit(1);
#elif defined(LOAD_IS_KILLED)
  signal(SIGILL, SIG_DFL), raise(SIGKILL);
#elif defined(LOAD_TAKES_SIGTERM)
  signal(SIGTERM, SIG_IGN);
#elif defined(LOAD_CHANGES_FOLDER)
  if (chdir("/")) _exit(3);
#elif defined(LOAD_CHANGES_UMASK)
  umask(0);
#elif defined(LOAD_FLUSHES_DENORMALS)
  _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(LOAD_CLOSES_ANSWER)
  close(3);
#elif defined(LOAD_WRITES_ANSWER)
  if (write(3, "hello\n", 6) != 6) _exit(3);
#elif defined(LOAD_LEAVES_PROCESS)
  if (fork() == 0) hang();
#endif
  (void)crash, (void)hang;
}

static int32_t fail(trainer_error *e, int32_t status, const char *text) {
  if (e) snprintf(e->text, sizeof e->text, "%s", text);
  return status;
}

static uint64_t timelines[16];
static uint64_t failed_list;
static int lost;

static int32_t shutdown_(trainer_error *e) {
  (void)e;
#if defined(SHUTDOWN_CRASHES)
  crash();
#elif defined(SHUTDOWN_HANGS)
  hang();
#endif
  return TRAINER_OK;
}

static int32_t device_count(uint32_t *count, trainer_error *e) {
  *count = 1;
#if defined(DEVICES_NONE)
  *count = 0;
#elif defined(DEVICES_MANY)
  *count = 100000;
#elif defined(DRIVER_ABSENT)
  return fail(e, TRAINER_UNAVAILABLE, "libvendor.so.1 not found: install the driver");
#endif
  (void)e;
  return TRAINER_OK;
}

static int32_t device_info(uint32_t index, trainer_device_info *info, trainer_error *e) {
  (void)index, (void)e;
#if defined(INFO_CRASHES)
  crash();
#elif defined(INFO_HANGS)
  hang();
#elif defined(INFO_OVERFLOWS)
  memset((char *)info + 4, 0, sizeof *info);
#endif
  info->device_class = TRAINER_DEVICE_CPU;
  info->memory_total = 1ull << 30;
  info->memory_free = info->buffer_max = 1ull << 29;
  info->storage_dtypes = 1ull << TRAINER_F32 | 1ull << TRAINER_I32 | 1ull << TRAINER_U8;
  info->compute_dtypes = 1ull << TRAINER_F32;
  info->alignment = 64;
  info->lanes = 1;
  snprintf(info->name, sizeof info->name, "tiny");
  snprintf(info->uuid, sizeof info->uuid, "tiny-0");
#if defined(INFO_ALIGNMENT)
  info->alignment = 3;
#elif defined(INFO_MEMORY)
  info->memory_total = UINT64_MAX;
#elif defined(INFO_CLASS)
  info->device_class = 77;
#elif defined(INFO_UNTERMINATED)
  memset(info->name, 'x', sizeof info->name);
#endif
  return TRAINER_OK;
}

static int32_t device_open(uint32_t index, const trainer_device_options *o, uint64_t *device, trainer_error *e) {
  (void)index, (void)e;
  *device = 1000 + o->threads;
  lost = 0;
  return TRAINER_OK;
}

static int32_t device_close(uint64_t device, trainer_error *e) {
  (void)device, (void)e;
  return TRAINER_OK;
}

static int32_t query_ops(uint64_t device, const trainer_op_query *q, uint32_t count, trainer_op_answer *a, trainer_error *e) {
  (void)device, (void)e;
  for (uint32_t i = 0; i < count; i++) a[i].level = q[i].op == TRAINER_OP_COPY ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE;
  return TRAINER_OK;
}

static int32_t buffer_alloc(uint64_t device, const trainer_buffer_desc *desc, trainer_buffer *buffer, trainer_error *e) {
  (void)device;
  if (desc->bytes > 1ull << 29) return fail(e, TRAINER_OOM, "half a GiB is all there is");
  void *memory = calloc(1, desc->bytes);
  buffer->handle = (uint64_t)(uintptr_t)memory;
  buffer->host_pointer = desc->memory == TRAINER_MEMORY_STAGING ? memory : NULL;
  return TRAINER_OK;
}

static int32_t buffer_free(uint64_t device, uint64_t buffer, trainer_error *e) {
  (void)device, (void)e;
  free((void *)(uintptr_t)buffer);
  return TRAINER_OK;
}

static int32_t queue_create(uint64_t device, uint32_t kind, uint64_t *queue, trainer_error *e) {
  (void)device, (void)e;
  *queue = 7 + kind;
  return TRAINER_OK;
}

static int32_t queue_destroy(uint64_t device, uint64_t queue, trainer_error *e) {
  (void)device, (void)queue, (void)e;
  return TRAINER_OK;
}

static int32_t list_check(uint64_t device, const trainer_list *list, trainer_list_report *report, trainer_error *e) {
  (void)device;
  if (list->magic != TRAINER_LIST_MAGIC || list->record_count == 0) {
    e->list_serial = list->serial;
    e->record_index = 0;
    return fail(e, TRAINER_INVALID, "no record");
  }
  report->workspace_bytes = 4096;
  return TRAINER_OK;
}

/* Runs nothing: the first binding gets the params, and the signals are given. List 13
 * fails when it is waited for, list 14 loses the device. */
static int32_t submit(uint64_t device, uint64_t queue, const trainer_submit *s, trainer_error *e) {
  (void)device, (void)queue;
  if (lost || s->list->serial == 14) {
    lost = 1;
    e->list_serial = s->list->serial;
    return fail(e, TRAINER_DEVICE_LOST, "it fell off the bus");
  }
  for (uint32_t i = 0; i < s->wait_count; i++)
    if (timelines[s->waits[i].timeline] < s->waits[i].value) return fail(e, TRAINER_INVALID, "a wait is not reached");
  if (s->binding_count > 0 && s->bindings[0].bytes >= s->params_bytes)
    memcpy((char *)(uintptr_t)s->bindings[0].buffer + s->bindings[0].offset, s->params, s->params_bytes);
  if (s->list->serial == 13) failed_list = 13;
  else
    for (uint32_t i = 0; i < s->signal_count; i++) timelines[s->signals[i].timeline] = s->signals[i].value;
  return TRAINER_OK;
}

static int32_t timeline_create(uint64_t device, uint64_t value, uint64_t *timeline, trainer_error *e) {
  static uint64_t next = 1;
  (void)device, (void)e;
  *timeline = next++ % 16;
  timelines[*timeline] = value;
  return TRAINER_OK;
}

static int32_t timeline_destroy(uint64_t device, uint64_t timeline, trainer_error *e) {
  (void)device, (void)timeline, (void)e;
  return TRAINER_OK;
}

static int32_t timeline_read(uint64_t device, uint64_t timeline, uint64_t *value, trainer_error *e) {
  (void)device, (void)e;
  *value = timelines[timeline];
  return TRAINER_OK;
}

static int32_t timeline_wait(uint64_t device, uint64_t timeline, uint64_t value, uint64_t timeout_ns, trainer_error *e) {
  (void)device;
  if (failed_list) {
    e->list_serial = failed_list;
    e->record_index = 2;
    failed_list = 0;
    return fail(e, TRAINER_INTERNAL, "division by a pony");
  }
  if (timelines[timeline] >= value) return TRAINER_OK;
  usleep((useconds_t)(timeout_ns / 1000));
  return fail(e, TRAINER_TIMEOUT, "not yet");
}

static trainer_backend_table table = {
    .struct_size = sizeof table,
    .shutdown = shutdown_,
    .device_count = device_count,
    .device_info = device_info,
    .device_open = device_open,
    .device_close = device_close,
    .query_ops = query_ops,
    .buffer_alloc = buffer_alloc,
    .buffer_free = buffer_free,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .list_check = list_check,
    .submit = submit,
    .timeline_create = timeline_create,
    .timeline_destroy = timeline_destroy,
    .timeline_read = timeline_read,
    .timeline_wait = timeline_wait,
};

#ifndef NO_ENTRY
TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply) {
  (void)host;
  reply->abi_major = TRAINER_ABI_MAJOR;
  reply->abi_minor = TRAINER_ABI_MINOR;
  reply->table = &table;
#if defined(QUERY_CRASHES)
  crash();
#elif defined(QUERY_HANGS)
  hang();
#elif defined(QUERY_EXITS)
  _exit(0);
#elif defined(QUERY_REFUSES)
  snprintf(reply->error.text, sizeof reply->error.text, "libvendor.so.1 is too old: install 2.0");
  return TRAINER_UNAVAILABLE;
#elif defined(QUERY_TAKES_SIGSEGV)
  signal(SIGSEGV, SIG_IGN);
#elif defined(REPLY_GARBAGE)
  memset(reply, 0xAA, sizeof *reply);
#elif defined(REPLY_OVERFLOWS)
  memset((char *)reply + sizeof *reply, 0, 64);
#elif defined(REPLY_MAJOR)
  reply->abi_major = 9;
#elif defined(REPLY_MINOR)
  reply->abi_minor = 900;
#elif defined(TABLE_NULL)
  reply->table = NULL;
#elif defined(TABLE_WILD)
  reply->table = (const trainer_backend_table *)(uintptr_t)0x123400;
#elif defined(TABLE_SMALL)
  table.struct_size = 64;
#elif defined(TABLE_OLD) /* of border minor 1, which had no queue_progress */
  reply->abi_minor = 1;
  table.struct_size = offsetof(trainer_backend_table, queue_progress);
  table.queue_progress = (void *)16;
#elif defined(TABLE_HUGE)
  table.struct_size = 1u << 30;
#elif defined(TABLE_LACKS_SUBMIT)
  table.submit = NULL;
#endif
  return TRAINER_OK;
}
#endif
