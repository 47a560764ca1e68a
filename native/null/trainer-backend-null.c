/* trainer-backend-null.c - a backend that can do nothing yet: the skeleton to fill in.
 *
 * Memory, queues, timelines and the checking of lists work, on the host's processor. What
 * is missing is every op: the table `ops` below says of each what it must do. Write one,
 * put it into the table, and `trainer backend check` judges it. When all pass, the backend
 * trains models. Then let a device do the work: everything a device must do itself stands
 * under "the device".
 */
#include <fenv.h>
#include <stdlib.h>

#include "../entry.h"
#include "../handle.h"
#include "../meter.h"
#include "../progress.h"
#include "../resolve.h"
#include "../thread.h"
#include "../timeline.h"
#ifdef WITH_DEVICE
#include "device.h"
#endif

#define BACKEND_NAME "null"
#define LIST_BYTES_MAX ((uint64_t)1 << 30)
#define ALIGNMENT 64u /* of operand offsets, in bytes */

/* Read by the host without loading the file. cpu_features: what the code needs before it
 * can choose, as "avx2". open_seconds: the longest that opening a device takes. */
TRAINER_EXPORT const char trainer_backend_manifest[] =
    "{\"name\":\"" BACKEND_NAME "\",\"version\":\"0.1.0\",\"vendor\":\"\","
    "\"description\":\"A backend that can do nothing yet\","
    "\"abi_major\":0,\"abi_minor\":2,\"cpu_features\":[],\"open_seconds\":10}";

/* ---- ops ----------------------------------------------------------------- *
 * Views come outputs first: record->views[0] is the first output, record->views[n_out] the
 * first input. A view's data is NULL and present is 0 where an operand is absent. Elements
 * lie stride elements apart; a stride of 0 repeats an input. record->attr is the op's
 * attribute struct. The header defines every op at its TRAINER_OP_; the page of that
 * name in the documentation adds the tolerance and the cases.
 *
 * check says whether the op can run on these operands: TRAINER_OK, or a status and one
 * sentence. Views have no data yet. run does it. Ops of tier 0 must take f32, bf16 and f16
 * storage (computed in f32), and i32 and u8 where the header says so. */
struct op {
  uint32_t id;
  const char *name;
  int32_t (*check)(const struct resolved_record *record, char *text, uint64_t text_bytes);
  void (*run)(const struct resolved_record *record);
};

static const struct op ops[] = {
    /* dst <- src, same dtype and shape, any strides: move bytes, change none. Begin here:
     * uploads and downloads are copies too, of u8. */
    {TRAINER_OP_COPY, "copy", NULL, NULL},
    /* Sets every element of dst to attr_fill.value_bits: f32 bits for a float dst (rounded
     * to its dtype), else the integer. */
    {TRAINER_OP_FILL, "fill", NULL, NULL},
    /* dst <- src in another dtype. Floats round to nearest even; float to integer truncates,
     * saturates and turns NaN into 0; i32 to u8 keeps the low 8 bits. */
    {TRAINER_OP_CAST, "cast", NULL, NULL},
    /* dst <- f(src), f by attr_unary.code (TRAINER_UNARY_*), computed in f32. dst may be src. */
    {TRAINER_OP_UNARY, "unary", NULL, NULL},
    /* dst <- f(a, b), f by attr_binary.code (TRAINER_BINARY_*); f32 or i32, which wraps
     * around. Comparisons give 1 or 0 in dst's dtype. dst may be a or b. */
    {TRAINER_OP_BINARY, "binary", NULL, NULL},
    /* dst <- cond != 0 ? a : b, element by element. NaN is not 0. a and b have the dtype of dst, or
     * all three are floats. */
    {TRAINER_OP_SELECT, "select", NULL, NULL},
    /* Sum or maximum over the dimensions in which dst has extent 1. NaN wins a maximum; the
     * order of a sum must not depend on the number of threads. */
    {TRAINER_OP_REDUCE, "reduce", NULL, NULL},
    /* Row i of dst [n,f] is row index[i] of src [v,f]; zeros where index[i] < 0 or >= v. */
    {TRAINER_OP_GATHER, "gather", NULL, NULL},
    /* Adds row i of src [n,f] to row index[i] of dst [v,f], i ascending; indexes outside are
     * skipped. Equal runs must give equal bits. */
    {TRAINER_OP_SCATTER_ADD, "scatter_add", NULL, NULL},
    /* d = alpha a b + beta d over the last two dimensions, leading ones are batches. Inputs
     * are rounded to attr_matmul.compute, sums are f32. With beta 0 d is not read. Make this
     * one fast first: nearly all the time of training is here. */
    {TRAINER_OP_MATMUL, "matmul", NULL, NULL},
    /* Uniform f32 in [0,1) from Philox-4x32-10, counted by coordinates: equal on every
     * backend, bit for bit. philox.h has it. */
    {TRAINER_OP_RANDOM, "random", NULL, NULL},
    /* i32 numbers of 1, 2, 4 or 8 bits out of bytes, and back; attr_bits.order says from
     * which end of a byte. */
    {TRAINER_OP_UNPACK, "unpack", NULL, NULL},
    {TRAINER_OP_PACK, "pack", NULL, NULL},
    /* Every element of dst is its index along attr_iota.dim. */
    {TRAINER_OP_IOTA, "iota", NULL, NULL},
    /* Ops of tier 1 are composed of these until they stand here too. */
};

static const struct op *op_of(uint32_t id) {
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
    if (ops[i].id == id) return &ops[i];
  return NULL;
}

/* Whether an op runs natively, for a dtype, a compute dtype and a weight format. What is
 * claimed here must run. */
static trainer_op_answer answer(const trainer_op_query *query, const void *arg) {
  (void)arg;
  const struct op *op = op_of(query->op);
  int runs = op && op->run && query->version <= 1;
  return (trainer_op_answer){.level = runs ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE, .deterministic = 1};
}

/* ---- the device ---------------------------------------------------------- *
 * Here it is the host's processor. Open a driver with dlopen in device_count, never by
 * linking it, and answer UNAVAILABLE with what to install where it is absent. */
struct device {
  struct object object; /* first, so that the two can be cast */
  struct meter meter;
  struct timelines timelines;
};

/* Describes the device truthfully; must be cheap. */
static void describe(trainer_device_info *info) {
  *info = (trainer_device_info){
#ifdef WITH_DEVICE
      .device_class = TRAINER_DEVICE_INTEGRATED, /* DISCRETE once its memory is its own */
#else
      .device_class = TRAINER_DEVICE_CPU,
#endif
      .flags = TRAINER_FLAG_UNIFIED | TRAINER_FLAG_DETERMINISTIC | TRAINER_FLAG_HOST_SLOTS,
      .numerics = TRAINER_NUMERICS_IEEE,
      .memory_total = (uint64_t)4 << 30,
      .memory_free = (uint64_t)4 << 30,
      .buffer_max = (uint64_t)2 << 30,
      .list_bytes_max = LIST_BYTES_MAX,
      .storage_dtypes = 1u << TRAINER_F32 | 1u << TRAINER_BF16 | 1u << TRAINER_F16 | 1u << TRAINER_I32 | 1u << TRAINER_U8,
      .compute_dtypes = 1u << TRAINER_F32,
      .alignment = ALIGNMENT,
      .lanes = 1,
  };
  snprintf(info->name, sizeof info->name, "%s", BACKEND_NAME);
  snprintf(info->uuid, sizeof info->uuid, "%s-0", BACKEND_NAME);
}

#ifndef WITH_DEVICE
static int device_present(char *text, uint64_t text_bytes) {
  (void)text, (void)text_bytes;
  return 1;
}

/* Zeroed memory, or NULL. STAGING must be visible to the host. */
static void *memory_new(uint64_t bytes) {
  uint64_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  void *base = rounded >= bytes ? aligned_alloc(ALIGNMENT, rounded) : NULL;
  if (base) memset(base, 0, rounded);
  return base;
}

static void memory_end(void *base) { free(base); }
#endif

/* ---- entries: devices ---------------------------------------------------- */

static void device_release(struct object *object) {
  struct device *device = (struct device *)object;
  timelines_destroy(&device->timelines);
  free(device);
}

struct device *device_get(uint64_t handle, trainer_error *error) {
  struct device *device = (struct device *)handle_get(handle, OBJECT_DEVICE, NULL);
  if (!device) trainer_fail(error, TRAINER_STALE, "the device is not open");
  return device;
}

struct timelines *device_timelines(struct device *device) { return &device->timelines; }

static int32_t device_count(uint32_t *count, trainer_error *error) {
  char text[256] = "";
  if (!count) return trainer_fail(error, TRAINER_INVALID, "the result of device_count is missing");
  if (!device_present(text, sizeof text)) return trainer_fail(error, TRAINER_UNAVAILABLE, "%s", text);
  *count = 1;
  return TRAINER_OK;
}

static int32_t device_info(uint32_t index, trainer_device_info *info, trainer_error *error) {
  trainer_device_info own;
  if (index != 0) return trainer_fail(error, TRAINER_INVALID, "there is no device %u", (unsigned)index);
  if (!info) return trainer_fail(error, TRAINER_INVALID, "the result of device_info is missing");
  describe(&own);
  TRAINER_WRITE(info, own);
  return TRAINER_OK;
}

/* Makes a context: threads, streams, compiled kernels. Everything slow belongs here. */
static int32_t device_open(uint32_t index, const trainer_device_options *given, uint64_t *handle, trainer_error *error) {
  trainer_device_options options = {0};
  if (index != 0) return trainer_fail(error, TRAINER_INVALID, "there is no device %u", (unsigned)index);
  if (!handle || (given && !TRAINER_READ(options, given)))
    return trainer_fail(error, TRAINER_INVALID, "the options or the result of device_open are missing or too small");
  struct device *device = calloc(1, sizeof *device);
  if (!device) return trainer_fail(error, TRAINER_OOM, "no memory for a device");
  object_init(&device->object, OBJECT_DEVICE, NULL, device_release);
  meter_init(&device->meter, options.memory_limit);
  timelines_init(&device->timelines);
  uint64_t made = handle_new(&device->object);
  if (!made) {
    object_release(&device->object);
    return trainer_fail(error, TRAINER_OOM, "no memory for a handle");
  }
  *handle = made;
  return TRAINER_OK;
}

struct queue;
static void queue_stop(struct queue *queue);

/* Ends everything the device still owns, then the device. */
static void device_end(struct device *device) {
  struct object *object;
  while ((object = handle_take_any(device))) {
    if (object->kind == OBJECT_QUEUE) queue_stop((struct queue *)object);
    if (object->kind == OBJECT_TIMELINE) timeline_end(&device->timelines, (struct timeline *)object);
    object_release(object);
  }
  object_release(&device->object);
}

static int32_t device_close(uint64_t handle, trainer_error *error) {
  struct device *device = (struct device *)handle_take(handle, OBJECT_DEVICE, NULL);
  if (!device) return trainer_fail(error, TRAINER_STALE, "the device is not open");
  device_end(device);
  return TRAINER_OK;
}

static int32_t device_stats(uint64_t handle, trainer_device_stats *stats, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  trainer_device_stats own = {0};
  meter_read(&device->meter, &own.memory_used, &own.memory_peak);
  object_release(&device->object);
  TRAINER_WRITE(stats, own);
  return TRAINER_OK;
}

static int32_t query_ops(uint64_t handle, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  int32_t status = trainer_answer_ops(queries, count, answers, answer, NULL, error);
  object_release(&device->object);
  return status;
}

/* The host calls it once, last. */
static int32_t backend_shutdown(trainer_error *error) {
  (void)error;
  struct object *device;
  while ((device = handle_take_any(NULL))) device_end((struct device *)device);
  return TRAINER_OK;
}

/* ---- entries: buffers ---------------------------------------------------- */

/* Its last reference is gone: the handle's, or that of the last work that used it. */
static void buffer_release(struct object *object) {
  struct buffer *buffer = (struct buffer *)object;
  memory_end(buffer->base);
  meter_remove(&object->device->meter, buffer->bytes);
  free(buffer);
}

/* A referenced buffer, or NULL: then nothing has changed. */
static struct buffer *buffer_create(struct device *device, uint64_t bytes) {
  if (!meter_add(&device->meter, bytes)) return NULL;
  struct buffer *buffer = calloc(1, sizeof *buffer);
  void *base = buffer ? memory_new(bytes) : NULL;
  if (!base) {
    free(buffer);
    meter_cancel(&device->meter, bytes);
    return NULL;
  }
  *buffer = (struct buffer){.base = base, .bytes = bytes, .host = 1};
  object_init(&buffer->object, OBJECT_BUFFER, device, buffer_release);
  return buffer;
}

static int32_t buffer_alloc(uint64_t handle, const trainer_buffer_desc *given, trainer_buffer *out, trainer_error *error) {
  trainer_buffer_desc desc;
  if (!TRAINER_READ(desc, given) || trainer_struct_size(out) < sizeof *out)
    return trainer_fail(error, TRAINER_INVALID, "the description or the result of buffer_alloc is missing or too small");
  if (desc.bytes == 0) return trainer_fail(error, TRAINER_INVALID, "a buffer needs at least one byte");
  if (desc.memory > TRAINER_MEMORY_STAGING) return trainer_fail(error, TRAINER_UNSUPPORTED, "there is no memory kind %u", (unsigned)desc.memory);
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct buffer *buffer = buffer_create(device, desc.bytes);
  trainer_buffer own = {.handle = buffer ? handle_new(&buffer->object) : 0};
  if (buffer && !own.handle) object_release(&buffer->object);
  object_release(&device->object);
  if (!own.handle) return trainer_fail(error, TRAINER_OOM, "no room for a buffer of %llu bytes", (unsigned long long)desc.bytes);
  if (desc.memory == TRAINER_MEMORY_STAGING) own.host_pointer = buffer->base;
  TRAINER_WRITE(out, own);
  return TRAINER_OK;
}

static int32_t buffer_free(uint64_t handle, uint64_t buffer, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct object *object = handle_take(buffer, OBJECT_BUFFER, device);
  object_release(object);
  object_release(&device->object);
  return object ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the buffer is not alive");
}

/* ---- lists --------------------------------------------------------------- */

/* A list that was checked. With a handle of its own it would be a plan. */
struct program {
  struct object object;
  struct resolved list;
  void *params; /* what operands in TRAINER_SLOT_PARAMS address */
};

static void program_release(struct object *object) {
  struct program *program = (struct program *)object;
  resolved_free(&program->list);
  free(program->params);
  free(program);
}

static int32_t check_record(struct resolved_record *record, char *text, uint64_t text_bytes) {
  const struct op *op = op_of(record->op);
  if (!op) {
    snprintf(text, text_bytes, "there is no op 0x%x", (unsigned)record->op);
    return TRAINER_UNSUPPORTED;
  }
  record->name = op->name;
  if (op->run) return op->check ? op->check(record, text, text_bytes) : TRAINER_OK;
  snprintf(text, text_bytes, "%s has no %s yet", BACKEND_NAME, op->name);
  return TRAINER_UNSUPPORTED;
}

/* Copies and checks a list. *bad says at which record that failed. */
static int32_t program_create(struct device *device, const trainer_list *list, struct program **out, uint32_t *bad, trainer_error *error) {
  char text[256] = "";
  struct program *program = calloc(1, sizeof *program);
  if (!program) return trainer_fail(error, TRAINER_OOM, "no memory for a program");
  object_init(&program->object, OBJECT_PROGRAM, device, program_release);
  int32_t status = resolve(&program->list, list, LIST_BYTES_MAX, bad, error);
  for (uint32_t i = 0; !status && i < program->list.record_count; i++) {
    status = check_record(&program->list.records[i], text, sizeof text);
    if (!status) continue;
    *bad = i;
    resolved_fail(&program->list, i, status, text, error);
  }
  if (!status && !(program->params = calloc(1, program->list.params_bytes + 1)))
    status = trainer_fail(error, TRAINER_OOM, "no memory for params");
  if (status) object_release(&program->object);
  else *out = program;
  return status;
}

/* Sets bounded dimensions to their extents of now, never above what was checked. */
static void apply_bounds(const struct resolved_record *record) {
  for (uint32_t i = 0; i < record->n_bounds; i++) {
    const struct bound *bound = &record->bounds[i];
    int64_t extent = *(const int32_t *)bound->by->data;
    if (extent > bound->limit) extent = bound->limit;
    bound->view->shape[bound->dim] = extent > 0 ? extent : 0;
    bound->view->count = 1;
    for (uint32_t dim = 0; dim < bound->view->rank; dim++) bound->view->count *= bound->view->shape[dim];
  }
}

/* Running all records in order is always right. */
static void program_run(const struct program *program, struct progress *progress) {
  for (uint32_t i = 0; i < program->list.record_count; i++) {
    apply_bounds(&program->list.records[i]);
    op_of(program->list.records[i].op)->run(&program->list.records[i]);
    progress_add(progress, 1);
  }
}

static int32_t list_check(uint64_t handle, const trainer_list *list, trainer_list_report *report, trainer_error *error) {
  trainer_list_report own = {.bad_record = TRAINER_NO_RECORD};
  struct program *program = NULL;
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  int32_t status = program_create(device, list, &program, &own.bad_record, error);
  if (!status) object_release(&program->object);
  object_release(&device->object);
  TRAINER_WRITE(report, own);
  return status;
}

/* ---- queues: a thread each, which runs jobs in order --------------------- */

#define JOBS_MAX 64u

struct job {
  struct job *next;
  struct program *program; /* referenced */
  uint32_t wait_count;
  uint32_t signal_count;
  struct point points[]; /* waits, then signals */
};

struct queue {
  struct object object;
  struct progress progress; /* by which the host sees that the queue works */
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct job *first, *last;
  uint32_t jobs;
  _Atomic int stopping;
};

/* Waits until every timeline is where the job wants it, or one cannot get there. */
static struct failure wait_points(struct queue *queue, const struct job *job) {
  struct timelines *timelines = &queue->object.device->timelines;
  struct failure failure = {.record = TRAINER_NO_RECORD, .serial = job->program->list.serial};
  pthread_mutex_lock(&timelines->lock);
  for (uint32_t i = 0; i < job->wait_count && !failure.status;) {
    const struct timeline *timeline = job->points[i].timeline;
    if (timeline->value >= job->points[i].value) i++;
    else if (timeline->failure.status) failure = timeline->failure;
    else if (timeline->destroyed || atomic_load(&queue->stopping)) failure.status = TRAINER_STALE;
    else pthread_cond_wait(&timelines->moved, &timelines->lock);
  }
  pthread_mutex_unlock(&timelines->lock);
  return failure;
}

static void run_job(struct queue *queue, struct job *job) {
  struct failure failure = {.status = TRAINER_STALE, .record = TRAINER_NO_RECORD, .serial = job->program->list.serial};
  if (!atomic_load(&queue->stopping)) failure = wait_points(queue, job);
  if (failure.status) progress_add(&queue->progress, job->program->list.record_count);
  else program_run(job->program, &queue->progress);
  points_settle(&queue->object.device->timelines, job->points + job->wait_count, job->signal_count, &failure);
  points_drop(job->points, job->wait_count + job->signal_count);
  object_release(&job->program->object);
  free(job);
}

static void *queue_main(void *arg) {
  struct queue *queue = arg;
  fesetenv(FE_DFL_ENV);
  pthread_mutex_lock(&queue->lock);
  for (;;) {
    while (!queue->first && !atomic_load(&queue->stopping)) pthread_cond_wait(&queue->changed, &queue->lock);
    struct job *job = queue->first;
    if (!job) break;
    if (!(queue->first = job->next)) queue->last = NULL;
    pthread_mutex_unlock(&queue->lock);
    run_job(queue, job);
    pthread_mutex_lock(&queue->lock);
    queue->jobs--;
  }
  pthread_mutex_unlock(&queue->lock);
  return NULL;
}

static void queue_release(struct object *object) {
  struct queue *queue = (struct queue *)object;
  pthread_mutex_destroy(&queue->lock);
  pthread_cond_destroy(&queue->changed);
  free(queue);
}

static int32_t queue_create(uint64_t handle, uint32_t kind, uint64_t *out, trainer_error *error) {
  if (!out) return trainer_fail(error, TRAINER_INVALID, "the result of queue_create is missing");
  if (kind > TRAINER_QUEUE_TRANSFER) return trainer_fail(error, TRAINER_UNSUPPORTED, "there is no queue kind %u", (unsigned)kind);
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  uint64_t made = 0;
  struct queue *queue = calloc(1, sizeof *queue);
  if (queue) {
    object_init(&queue->object, OBJECT_QUEUE, device, queue_release);
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    int started = thread_start(&queue->thread, queue_main, queue) == 0;
    made = started ? handle_new(&queue->object) : 0;
    if (started && !made) queue_stop(queue);
    if (!made) object_release(&queue->object);
  }
  object_release(&device->object);
  if (!made) return trainer_fail(error, TRAINER_OOM, "no memory or no thread for a queue");
  *out = made;
  return TRAINER_OK;
}

/* Cancels what has not begun, waits for what has, ends the thread. Once a queue. */
static void queue_stop(struct queue *queue) {
  struct timelines *timelines = &queue->object.device->timelines;
  pthread_mutex_lock(&queue->lock);
  atomic_store(&queue->stopping, 1);
  pthread_cond_broadcast(&queue->changed);
  pthread_mutex_unlock(&queue->lock);
  pthread_mutex_lock(&timelines->lock);
  pthread_cond_broadcast(&timelines->moved);
  pthread_mutex_unlock(&timelines->lock);
  pthread_join(queue->thread, NULL);
}

static int32_t queue_destroy(uint64_t handle, uint64_t queue, trainer_error *error) {
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct queue *ended = (struct queue *)handle_take(queue, OBJECT_QUEUE, device);
  if (ended) {
    queue_stop(ended);
    object_release(&ended->object);
  }
  object_release(&device->object);
  return ended ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the queue is not alive");
}

static int32_t queue_progress(uint64_t handle, uint64_t queue, uint64_t *counter, trainer_error *error) {
  if (!counter || (uintptr_t)counter % sizeof *counter) return trainer_fail(error, TRAINER_INVALID, "the counter is missing or not aligned");
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct queue *found = (struct queue *)handle_get(queue, OBJECT_QUEUE, device);
  if (found) progress_begin(&found->progress, counter);
  if (found) object_release(&found->object);
  object_release(&device->object);
  return found ? TRAINER_OK : trainer_fail(error, TRAINER_STALE, "the queue is not alive");
}

/* Puts a job behind the others; with the queue's lock held. */
static int32_t enqueue(struct queue *queue, struct job *job, const trainer_submit *submit, trainer_error *error) {
  struct device *device = queue->object.device;
  uint32_t waits = submit->wait_count, signals = submit->signal_count;
  if (atomic_load(&queue->stopping)) return trainer_fail(error, TRAINER_STALE, "the queue is not alive");
  if (queue->jobs == JOBS_MAX) return trainer_fail(error, TRAINER_BUSY, "the queue holds %u jobs", JOBS_MAX);
  uint32_t found = points_take(device, job->points, submit->waits, waits);
  if (found == waits) found += points_take(device, job->points + waits, submit->signals, signals);
  int32_t status = TRAINER_OK;
  if (found != waits + signals) status = trainer_fail(error, TRAINER_STALE, "a timeline of the submit is not alive");
  else if (!points_promise(&device->timelines, job->points + waits, signals))
    status = trainer_fail(error, TRAINER_INVALID, "a signal's value is not higher than what its timeline has or was promised");
  if (status) {
    points_drop(job->points, found);
    return status;
  }
  job->wait_count = waits;
  job->signal_count = signals;
  if (queue->last) queue->last->next = job;
  else queue->first = job;
  queue->last = job;
  queue->jobs++;
  pthread_cond_signal(&queue->changed);
  return TRAINER_OK;
}

static int32_t bind_program(struct program *program, const trainer_submit *submit, trainer_error *error) {
  struct resolved *list = &program->list;
  if (submit->params_bytes != list->params_bytes || (submit->params_bytes && !submit->params))
    return trainer_fail(error, TRAINER_INVALID, "the list wants %llu bytes of params, %llu are given", (unsigned long long)list->params_bytes,
                        (unsigned long long)submit->params_bytes);
  if (submit->params_bytes) memcpy(program->params, submit->params, submit->params_bytes);
  struct binding_rules rules = {.device = program->object.device, .workspace_alignment = ALIGNMENT, .params = program->params};
  return resolved_bind(list, &rules, submit->bindings, submit->binding_count, &submit->workspace, error);
}

static int32_t submit_to(struct device *device, struct queue *queue, const trainer_submit *submit, trainer_error *error) {
  uint32_t bad;
  struct program *program = NULL;
  int32_t status = program_create(device, submit->list, &program, &bad, error);
  if (status) return status;
  status = bind_program(program, submit, error);
  struct job *job = status ? NULL : calloc(1, sizeof *job + ((size_t)submit->wait_count + submit->signal_count) * sizeof(struct point));
  if (!status && !job) status = trainer_fail(error, TRAINER_OOM, "no memory for the job");
  if (!status) {
    job->program = program;
    pthread_mutex_lock(&queue->lock);
    status = enqueue(queue, job, submit, error);
    pthread_mutex_unlock(&queue->lock);
  }
  if (status) {
    free(job);
    object_release(&program->object);
  }
  return status;
}

static int32_t submit(uint64_t handle, uint64_t queue_handle, const trainer_submit *given, trainer_error *error) {
  trainer_submit own;
  if (!TRAINER_READ(own, given) || (own.wait_count && !own.waits) || (own.signal_count && !own.signals) || own.wait_count > UINT16_MAX ||
      own.signal_count > UINT16_MAX)
    return trainer_fail(error, TRAINER_INVALID, "the submit is missing, too small, or its waits or signals are");
  if (own.plan) return trainer_fail(error, TRAINER_STALE, "the plan is not alive");
  struct device *device = device_get(handle, error);
  if (!device) return TRAINER_STALE;
  struct queue *queue = (struct queue *)handle_get(queue_handle, OBJECT_QUEUE, device);
  int32_t status = queue ? submit_to(device, queue, &own, error) : trainer_fail(error, TRAINER_STALE, "the queue is not alive");
  if (queue) object_release(&queue->object);
  object_release(&device->object);
  return status;
}

/* ---- the table ----------------------------------------------------------- *
 * Entries that are not named are optional and NULL. */
static const trainer_backend_table table = {
    .struct_size = sizeof table,
    .shutdown = backend_shutdown,
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
    .device_stats = device_stats,
    .queue_progress = queue_progress,
};

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply) {
  return trainer_answer_query(host, reply, &table);
}
