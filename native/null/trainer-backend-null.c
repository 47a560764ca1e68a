/* trainer-backend-null.c - a backend with one device that can do nothing: the skeleton
 * to clone. It loads and names its device; everything else answers UNSUPPORTED. Each
 * entry says what a real backend does there. */
#include "../entry.h"

TRAINER_EXPORT const char trainer_backend_manifest[] =
    "{\"name\":\"null\",\"version\":\"0.1.0\",\"vendor\":\"trainer\","
    "\"description\":\"A backend that can do nothing: the skeleton to clone\","
    "\"abi_major\":0,\"abi_minor\":2,\"cpu_features\":[],\"open_seconds\":10}";

static int32_t no(trainer_error *error, const char *what) {
  return trainer_fail(error, TRAINER_UNSUPPORTED, "the null backend has no %s", what);
}

/* Ends what outlives the devices (driver, threads). Called once, last; close devices first. */
static int32_t null_shutdown(trainer_error *error) {
  (void)error;
  return TRAINER_OK;
}

/* Counts the devices without touching them; UNAVAILABLE with what to install when the
 * driver is absent. Open vendor libraries here at run time, never by linking. */
static int32_t null_device_count(uint32_t *count, trainer_error *error) {
  if (!count) return trainer_fail(error, TRAINER_INVALID, "count is missing");
  *count = 1;
  return TRAINER_OK;
}

/* Describes a device truthfully: memory, limits, dtypes, alignment. Must be cheap. */
static int32_t null_device_info(uint32_t index, trainer_device_info *info, trainer_error *error) {
  trainer_device_info own = {.device_class = TRAINER_DEVICE_CPU, .alignment = 64, .lanes = 1};
  if (index != 0) return trainer_fail(error, TRAINER_INVALID, "there is no device %u", (unsigned)index);
  snprintf(own.name, sizeof own.name, "null");
  TRAINER_WRITE(info, own);
  return TRAINER_OK;
}

/* Makes a context: threads, streams, compiled kernels. Everything slow belongs here. The
 * handle must carry a generation, so that a stale one is answered with STALE. */
static int32_t null_device_open(uint32_t index, const trainer_device_options *options, uint64_t *device, trainer_error *error) {
  (void)index, (void)options, (void)device;
  return no(error, "device to open");
}

/* Ends the device's queues and frees all it still owns; its handles become stale. */
static int32_t null_device_close(uint64_t device, trainer_error *error) {
  (void)device;
  return trainer_fail(error, TRAINER_STALE, "no such device");
}

/* Answers in bulk which ops run natively. The answer is binding. Element i stands at
 * i * struct_size of the first. */
static int32_t null_query_ops(uint64_t device, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error) {
  (void)device, (void)queries, (void)count, (void)answers;
  return no(error, "ops");
}

/* Gives zeroed memory; STAGING with a host pointer. OOM leaves everything unchanged. */
static int32_t null_buffer_alloc(uint64_t device, const trainer_buffer_desc *desc, trainer_buffer *buffer, trainer_error *error) {
  (void)device, (void)desc, (void)buffer;
  return no(error, "memory");
}

/* Frees a buffer; memory that submitted work still uses is freed when that ends. */
static int32_t null_buffer_free(uint64_t device, uint64_t buffer, trainer_error *error) {
  (void)device, (void)buffer;
  return trainer_fail(error, TRAINER_STALE, "no such buffer");
}

/* Makes a queue: submits to it run in order. */
static int32_t null_queue_create(uint64_t device, uint32_t kind, uint64_t *queue, trainer_error *error) {
  (void)device, (void)kind, (void)queue;
  return no(error, "queues");
}

/* Ends a queue; what has not begun is cancelled and its timelines fail. */
static int32_t null_queue_destroy(uint64_t device, uint64_t queue, trainer_error *error) {
  (void)device, (void)queue;
  return trainer_fail(error, TRAINER_STALE, "no such queue");
}

/* Checks a list with list.h and every record with its kernel; reports the first bad
 * record and the workspace that the largest call needs. */
static int32_t null_list_check(uint64_t device, const trainer_list *list, trainer_list_report *report, trainer_error *error) {
  (void)device, (void)list, (void)report;
  return no(error, "ops");
}

/* Queues a list or a plan and returns at once; BUSY when the queue is full. */
static int32_t null_submit(uint64_t device, uint64_t queue, const trainer_submit *submit, trainer_error *error) {
  (void)device, (void)queue, (void)submit;
  return no(error, "queues");
}

/* Makes a timeline, a u64 that only grows. */
static int32_t null_timeline_create(uint64_t device, uint64_t value, uint64_t *timeline, trainer_error *error) {
  (void)device, (void)value, (void)timeline;
  return no(error, "timelines");
}

/* Ends a timeline; who still waits for it gets STALE. */
static int32_t null_timeline_destroy(uint64_t device, uint64_t timeline, trainer_error *error) {
  (void)device, (void)timeline;
  return trainer_fail(error, TRAINER_STALE, "no such timeline");
}

/* Reads the value without waiting; a failed timeline answers with its failure. */
static int32_t null_timeline_read(uint64_t device, uint64_t timeline, uint64_t *value, trainer_error *error) {
  (void)device, (void)timeline, (void)value;
  return trainer_fail(error, TRAINER_STALE, "no such timeline");
}

/* Waits on a monotonic clock until the value is reached, TIMEOUT, or failure. */
static int32_t null_timeline_wait(uint64_t device, uint64_t timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error) {
  (void)device, (void)timeline, (void)value, (void)timeout_ns;
  return trainer_fail(error, TRAINER_STALE, "no such timeline");
}

/* Entries that are not named are optional and NULL. */
static const trainer_backend_table table = {
    .struct_size = sizeof table,
    .shutdown = null_shutdown,
    .device_count = null_device_count,
    .device_info = null_device_info,
    .device_open = null_device_open,
    .device_close = null_device_close,
    .query_ops = null_query_ops,
    .buffer_alloc = null_buffer_alloc,
    .buffer_free = null_buffer_free,
    .queue_create = null_queue_create,
    .queue_destroy = null_queue_destroy,
    .list_check = null_list_check,
    .submit = null_submit,
    .timeline_create = null_timeline_create,
    .timeline_destroy = null_timeline_destroy,
    .timeline_read = null_timeline_read,
    .timeline_wait = null_timeline_wait,
};

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply) {
  return trainer_answer_query(host, reply, &table);
}
