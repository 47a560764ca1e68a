/* A backend that lets another one do the work and breaks one demand of the border.
 * TRAINER_LIE names the lie, TRAINER_BACKEND the file that works. Tests load it to see that
 * the judge finds the lie and names the demand. */
#include <dlfcn.h>
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "trainer_backend.h"

TRAINER_EXPORT const char trainer_backend_manifest[] =
    "{\"name\":\"liar\",\"version\":\"1.0\",\"abi_major\":0,\"abi_minor\":1,\"cpu_features\":[]}";
TRAINER_EXPORT int liar_surplus;
int liar_surplus; /* a symbol more than the border has */

static trainer_backend_table real, table;

static int lie(const char *name) {
  const char *now = getenv("TRAINER_LIE");
  return now && strcmp(now, name) == 0;
}

/* Whether the lie begins so. */
static int lying(const char *prefix) {
  const char *now = getenv("TRAINER_LIE");
  return now && strncmp(now, prefix, strlen(prefix)) == 0;
}

static int32_t fail(trainer_error *error, int32_t status) {
  if (error && error->struct_size >= sizeof *error) {
    error->status = status;
    snprintf(error->text, sizeof error->text, "a lie");
  }
  return status;
}

/* ---- the process ---- */

static void *sleeper(void *arg) {
  for (;;) sleep(1000);
  return arg;
}

static void handler(int number) { (void)number; }

static void disturb(void) {
  pthread_t thread;
  if (lie("process.signal")) signal(SIGUSR2, handler);
  if (lie("process.umask")) umask(0);
  if (lie("process.folder") && chdir("/")) abort();
  if (lie("process.float")) fesetround(FE_UPWARD);
  if (lie("process.locale")) setlocale(LC_ALL, "C.UTF-8");
  if (lie("process.threads") && pthread_create(&thread, NULL, sleeper, NULL)) abort();
  if (lie("process.files") && open("/dev/null", O_RDONLY) < 0) abort();
  if (lie("process.silent")) printf("hello"), fflush(stdout);
  if (lie("process.exit")) exit(0);
}

/* ---- devices ---- */

static int32_t device_info(uint32_t index, trainer_device_info *info, trainer_error *error) {
  trainer_device_info own = {.struct_size = sizeof own};
  if (lie("id.index")) index = 0;
  if (lie("error.struct") && index) return TRAINER_INVALID;
  if (lie("error.status") && index) return real.device_info(index, info, error), TRAINER_INTERNAL;
  if (lie("error.null") && !error) return TRAINER_OK;
  if (lie("error.size") && index && error) return memset((char *)error + sizeof(uint32_t), 0, sizeof *error - sizeof(uint32_t)), error->text[0] = 'x', TRAINER_INVALID;
  int32_t status = real.device_info(index, info, error);
  if (status) return status;
  if (lie("info.alignment") && info->struct_size >= sizeof *info) info->alignment = 3;
  if (lie("info.name") && info->struct_size >= sizeof *info) memset(info->name, 0xFF, sizeof info->name);
  if (lie("struct.output")) {
    uint32_t size = info->struct_size;
    real.device_info(index, &own, error);
    memcpy(info, &own, sizeof own);
    info->struct_size = size;
  }
  return status;
}

static unsigned opened;

static int32_t device_open(uint32_t index, const trainer_device_options *options, uint64_t *device, trainer_error *error) {
  trainer_device_options own = {.struct_size = sizeof own};
  disturb();
  if (lie("device.reopen") && opened) return fail(error, TRAINER_BUSY);
  if (lie("memory.limit")) options = &own;
  if (lie("struct.short")) memcpy(&own, options, sizeof own), own.struct_size = sizeof own, options = &own;
  int32_t status = real.device_open(index, options, device, error);
  opened += status == TRAINER_OK;
  return status;
}

static unsigned alive; /* buffers */

static int32_t device_close(uint64_t device, trainer_error *error) {
  if (lie("device.close") && alive > 2) return fail(error, TRAINER_INTERNAL);
  int32_t status = real.device_close(device, error);
  opened -= status == TRAINER_OK;
  alive = 0;
  return status;
}

static int32_t lie_shutdown(trainer_error *error) {
  return lie("device.shutdown") ? fail(error, TRAINER_INTERNAL) : real.shutdown(error);
}

static int32_t query_ops(uint64_t device, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error) {
  if (lie("struct.array")) {
    for (uint32_t i = 0; i < count; i++) {
      trainer_op_query query = {.struct_size = sizeof query};
      trainer_op_answer answer = {.struct_size = sizeof answer};
      memcpy(&query, (const char *)queries + i * sizeof query, sizeof query);
      query.struct_size = sizeof query;
      int32_t status = real.query_ops(device, &query, 1, &answer, error);
      if (status) return status;
      memcpy((char *)answers + i * sizeof answer + 4, (char *)&answer + 4, sizeof answer - 4);
    }
    return TRAINER_OK;
  }
  int32_t status = real.query_ops(device, queries, count, answers, error);
  if (!status && count && queries->struct_size == sizeof *queries) {
    for (uint32_t i = 0; i < count; i++) {
      uint32_t op = queries[i].op;
      if (lie("id.unknown")) answers[i].level = TRAINER_LEVEL_OK;
      if (lie("op.mandatory") && op == TRAINER_OP_COPY) answers[i].level = TRAINER_LEVEL_NONE;
      if (lie("op.composition") && op == TRAINER_OP_SWIGLU) answers[i].level = TRAINER_LEVEL_NONE;
      if (lie("op.level")) answers[i].level = 7;
    }
  }
  return status;
}

/* ---- memory ---- */

#define BUFFERS 4096
static trainer_buffer buffers[BUFFERS];
static uint64_t sizes[BUFFERS];
static unsigned next;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int32_t buffer_alloc(uint64_t device, const trainer_buffer_desc *desc, trainer_buffer *buffer, trainer_error *error) {
  trainer_buffer_desc own = *desc;
  static unsigned char *shared;
  if (lie("struct.input") && desc->struct_size != sizeof *desc) return fail(error, TRAINER_INVALID);
  if (lie("process.survives") && desc->bytes == 4095) raise(SIGSEGV);
  if (lie("memory.use")) own.memory = TRAINER_MEMORY_STAGING;
  int32_t status = real.buffer_alloc(device, &own, buffer, error);
  if (status == TRAINER_OOM && lie("memory.oom")) return fail(error, TRAINER_INTERNAL);
  if (status) return status;
  pthread_mutex_lock(&lock);
  alive++;
  if (lie("memory.use")) buffers[next % BUFFERS] = *buffer, sizes[next++ % BUFFERS] = desc->bytes;
  pthread_mutex_unlock(&lock);
  if (lie("memory.host") && desc->memory == TRAINER_MEMORY_STAGING) buffer->host_pointer = calloc(1, desc->bytes);
  if (!shared) shared = calloc(1, 1 << 16);
  if (lie("memory.apart") && desc->memory == TRAINER_MEMORY_STAGING && desc->bytes < 1 << 16) buffer->host_pointer = shared;
  return status;
}

static int32_t buffer_free(uint64_t device, uint64_t buffer, trainer_error *error) {
  if (lie("memory.leak")) return TRAINER_OK;
  for (unsigned i = 0; lie("memory.use") && i < BUFFERS; i++)
    if (buffers[i].handle == buffer) memset(buffers[i].host_pointer, 0xDD, sizes[i]);
  int32_t status = real.buffer_free(device, buffer, error);
  if (!status) alive--;
  return status == TRAINER_STALE && lie("handle.stale") ? TRAINER_OK : status;
}

static int32_t device_stats(uint64_t device, trainer_device_stats *stats, trainer_error *error) {
  int32_t status = real.device_stats(device, stats, error);
  if (!status && lie("memory.stats")) stats->memory_used = stats->memory_peak = 0;
  return status;
}

/* ---- lists ---- */

static uint32_t first_op(const trainer_list *list) {
  const trainer_record *record = (const void *)((const char *)list + list->struct_size);
  return list->record_count ? record->op : 0;
}

static int32_t list_check(uint64_t device, const trainer_list *list, trainer_list_report *report, trainer_error *error) {
  if (lie("list.refuse")) return TRAINER_OK;
  if (lie("op.claim") && first_op(list) == TRAINER_OP_SWIGLU) return fail(error, TRAINER_UNSUPPORTED);
  if (lie("op.composition") && first_op(list) != TRAINER_OP_COPY) return fail(error, TRAINER_INTERNAL);
  int32_t status = real.list_check(device, list, report, error);
  if (lie("list.where") && status) report->bad_record = 0;
  if (lie("list.total") && status) return fail(error, TRAINER_DEVICE_LOST);
  return status;
}

/* ---- timelines; with reused handles they are small numbers without a generation ---- */

#define TIMELINES 64
static uint64_t reused[TIMELINES];

static uint64_t own(uint64_t timeline) {
  if (!lie("handle.reuse")) return timeline;
  return timeline - 1 < TIMELINES ? reused[timeline - 1] : timeline;
}

static int32_t timeline_create(uint64_t device, uint64_t value, uint64_t *timeline, trainer_error *error) {
  if (lie("timeline.value")) value = 0;
  int32_t status = real.timeline_create(device, value, timeline, error);
  for (unsigned i = 0; !status && lie("handle.reuse") && i < TIMELINES; i++)
    if (!reused[i]) return reused[i] = *timeline, *timeline = i + 1, status;
  return status;
}

static int32_t timeline_destroy(uint64_t device, uint64_t timeline, trainer_error *error) {
  if (lie("timeline.destroy")) return TRAINER_OK;
  int32_t status = real.timeline_destroy(device, own(timeline), error);
  if (!status && lie("handle.reuse")) reused[timeline - 1] = 0;
  return status;
}

static int32_t timeline_read(uint64_t device, uint64_t timeline, uint64_t *value, trainer_error *error) {
  while (lie("process.ends")) sleep(1);
  return real.timeline_read(device, own(timeline), value, error);
}

static int32_t timeline_wait(uint64_t device, uint64_t timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error) {
  if (lie("timeline.timeout") && timeout_ns > UINT64_MAX / 4) timeout_ns = 1000000; /* as a deadline that overflows */
  if (lie("timeline.early")) timeout_ns /= 4;
  if (lie("thread.apart")) pthread_mutex_lock(&lock);
  int32_t status = real.timeline_wait(device, own(timeline), value, timeout_ns, error);
  if (lie("thread.apart")) pthread_mutex_unlock(&lock);
  return status == TRAINER_STALE && lie("timeline.failure") ? TRAINER_OK : status;
}

/* ---- queues ---- */

static int32_t queue_create(uint64_t device, uint32_t kind, uint64_t *queue, trainer_error *error) {
  if (lie("op.transfer") && kind == TRAINER_QUEUE_TRANSFER) return fail(error, TRAINER_UNSUPPORTED);
  return real.queue_create(device, kind, queue, error);
}

static struct {
  uint64_t device, queue;
  trainer_submit submit;
} held;

static void let_go(trainer_error *error) {
  if (held.queue) real.submit(held.device, held.queue, &held.submit, error);
  held.queue = 0;
}

/* ---- times ---- */

static uint64_t marks[1 << 13];

/* Has the work that is to be timed done, and tells other times than those it took. */
static int32_t submit_timed(uint64_t device, uint64_t queue, const trainer_submit *given, trainer_error *error) {
  trainer_submit mine = *given;
  uint32_t n = given->plan ? 0 : given->list->record_count; /* only lists are lied about */
  if (given->struct_size < sizeof *given || given->plan) return real.submit(device, queue, given, error);
  mine.times = lie("times.none") ? NULL : marks;
  int32_t status = real.submit(device, queue, &mine, error);
  if (status || lie("times.none")) return status;
  if ((status = real.timeline_wait(device, mine.signals->timeline, mine.signals->value, 5000000000ull, error))) return status;
  for (uint32_t i = 0; i <= n; i++) given->times[i] = lie("times.lump") && i ? marks[n] : marks[i];
  for (uint32_t i = 0; i <= n && lie("times.long"); i++) given->times[i] = 10 * marks[i];
  if (lie("times.back") && n > 1) given->times[1] = marks[2] + 1;
  if (lie("times.over")) given->times[n + 1] = marks[n];
  return TRAINER_OK;
}

static trainer_plan_desc kept;

static int32_t submit(uint64_t device, uint64_t queue, const trainer_submit *given, trainer_error *error) {
  trainer_submit mine = *given;
  trainer_timeline_point points[64];
  static __thread int first_thread;
  static int threads;
  if (lie("thread.any") && !first_thread) {
    first_thread = __atomic_add_fetch(&threads, 1, __ATOMIC_SEQ_CST);
    if (first_thread > 1) return fail(error, TRAINER_INTERNAL);
  }
  if (lie("handle.reuse") && mine.wait_count + mine.signal_count <= 64) {
    for (uint32_t i = 0; i < mine.wait_count; i++) points[i] = mine.waits[i], points[i].timeline = own(points[i].timeline);
    for (uint32_t i = 0; i < mine.signal_count; i++) points[mine.wait_count + i] = mine.signals[i], points[mine.wait_count + i].timeline = own(mine.signals[i].timeline);
    mine.waits = points, mine.signals = points + mine.wait_count;
  }
  if (lie("timeline.waits")) mine.wait_count = 0;
  if (lie("times.short") && mine.struct_size < sizeof mine) mine.struct_size = sizeof mine;
  if (lying("times.") && mine.times) return submit_timed(device, queue, &mine, error);
  if (lie("op.ends") && !mine.plan && first_op(mine.list) == TRAINER_OP_SWIGLU) return TRAINER_OK;
  if (lie("plan.copies") && mine.plan) mine.plan = 0, mine.list = kept.list, mine.bindings = kept.bindings, mine.binding_count = kept.binding_count;
  if (lie("submit.copies") || lie("submit.order")) {
    int keep = lie("submit.copies") ? mine.wait_count > 0 : !mine.signal_count && !mine.wait_count && !held.queue;
    if (keep) {
      held.device = device, held.queue = queue, held.submit = mine;
      return TRAINER_OK;
    }
    if (lie("submit.copies")) let_go(error);
  }
  int32_t status = real.submit(device, queue, &mine, error);
  if (lie("submit.order")) let_go(error);
  if (status == TRAINER_BUSY && lie("submit.busy")) usleep(800000);
  return status == TRAINER_INVALID && lie("bind.refuse") ? TRAINER_OK : status;
}

static int32_t plan_create(uint64_t device, const trainer_plan_desc *desc, trainer_plan *plan, trainer_error *error) {
  kept = *desc;
  int32_t status = real.plan_create(device, desc, plan, error);
  if (status == TRAINER_INVALID && lie("plan.checks")) return plan->handle = 77, TRAINER_OK;
  return status;
}

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply) {
  void *library = dlopen(getenv("TRAINER_BACKEND"), RTLD_NOW);
  int32_t (*query)(const trainer_host_info *, trainer_reply *);
  if (!library) return TRAINER_UNAVAILABLE;
  *(void **)&query = dlsym(library, "trainer_backend_query_v1");
  int32_t status = query(host, reply);
  if (lie("query.version") && status) return TRAINER_OK;
  if (status) return status;
  if (lie("query.minor") && host->struct_size > sizeof *host) reply->abi_minor = host->abi_minor + 1;
  table = real = *reply->table;
  table.struct_size = sizeof table;
  table.shutdown = lie_shutdown;
  table.device_info = device_info;
  table.device_open = device_open;
  table.device_close = device_close;
  table.query_ops = query_ops;
  table.buffer_alloc = buffer_alloc;
  table.buffer_free = buffer_free;
  table.device_stats = device_stats;
  table.list_check = list_check;
  table.timeline_create = timeline_create;
  table.timeline_destroy = timeline_destroy;
  table.timeline_read = timeline_read;
  table.timeline_wait = timeline_wait;
  table.queue_create = queue_create;
  table.submit = submit;
  table.plan_create = plan_create;
  reply->table = &table;
  return TRAINER_OK;
}
