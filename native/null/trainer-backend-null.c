/* trainer-backend-null.c - a backend that can do nothing yet: the skeleton to fill in.
 *
 * Memory, queues, timelines, plans and the checking of lists work, on the host's processor.
 * What is missing is every op: the table `ops` below says of each what it must do. Write one,
 * put it into the table, and `trainer backend check` judges it. When all pass, the backend
 * trains models. Then let a device do the work: everything a device must do itself stands
 * under "the device". The functions `backend_...` are what the support asks of a backend;
 * its backend.h says what each must do.
 */
#include <stdlib.h>

#include "../backend.h"
#include "../check.h"
#include "../entry.h"
#ifdef WITH_DEVICE
#include "device.h"
#endif

#define BACKEND_NAME "null"
#define ALIGNMENT 64u /* of operand offsets and workspaces, in bytes */

/* Read by the host without loading the file. cpu_features: what the code needs before it
 * can choose, as "avx2". open_seconds: the longest that opening a device takes. */
TRAINER_EXPORT const char trainer_backend_manifest[] =
    "{\"name\":\"" BACKEND_NAME "\",\"version\":\"0.1.0\",\"vendor\":\"\","
    "\"description\":\"A backend that can do nothing yet\","
    "\"abi_major\":0,\"abi_minor\":3,\"cpu_features\":[],\"open_seconds\":10}";

/* ---- ops ----------------------------------------------------------------- *
 * record->out[0] is the first output, record->in[0] the first input. A view's data is NULL
 * and present is 0 where an operand is absent. Elements lie stride elements apart; a stride
 * of 0 repeats an input. record->attr is the op's attribute struct. The header defines every
 * op at its TRAINER_OP_; the page of that name in the documentation adds the tolerance and
 * the cases.
 *
 * check says whether the operands are what the op wants: check.h has one for every op. Add
 * what yours cannot do. Views have no data yet. run does it. Ops of tier 0 must take f32,
 * bf16 and f16 storage (computed in f32), and i32 and u8 where the header says so. */
struct op {
  uint32_t id;
  const char *name;
  record_check *check;
  void (*run)(const struct record *record);
};

static const struct op ops[] = {
    /* dst <- src, same dtype and shape, any strides: move bytes, change none. Begin here:
     * uploads and downloads are copies too, of u8. */
    {TRAINER_OP_COPY, "copy", check_copy, NULL},
    /* Sets every element of dst to attr_fill.value_bits: f32 bits for a float dst (rounded
     * to its dtype), else the integer. */
    {TRAINER_OP_FILL, "fill", check_fill, NULL},
    /* dst <- src in another dtype. Floats round to nearest even; float to integer truncates,
     * saturates and turns NaN into 0; i32 to u8 keeps the low 8 bits. */
    {TRAINER_OP_CAST, "cast", check_cast, NULL},
    /* dst <- f(src), f by attr_unary.code (TRAINER_UNARY_*), computed in f32. dst may be src. */
    {TRAINER_OP_UNARY, "unary", check_unary, NULL},
    /* dst <- f(a, b), f by attr_binary.code (TRAINER_BINARY_*); f32 or i32, which wraps
     * around. Comparisons give 1 or 0 in dst's dtype. dst may be a or b. */
    {TRAINER_OP_BINARY, "binary", check_binary, NULL},
    /* dst <- cond != 0 ? a : b, element by element. NaN is not 0. a and b have the dtype of dst, or
     * all three are floats. */
    {TRAINER_OP_SELECT, "select", check_select, NULL},
    /* Sum or maximum over the dimensions in which dst has extent 1. NaN wins a maximum; the
     * order of a sum must not depend on the number of threads. */
    {TRAINER_OP_REDUCE, "reduce", check_reduce, NULL},
    /* Row i of dst [n,f] is row index[i] of src [v,f]; zeros where index[i] < 0 or >= v. */
    {TRAINER_OP_GATHER, "gather", check_gather, NULL},
    /* Adds row i of src [n,f] to row index[i] of dst [v,f], i ascending; indexes outside are
     * skipped. Equal runs must give equal bits. */
    {TRAINER_OP_SCATTER_ADD, "scatter_add", check_scatter_add, NULL},
    /* d = alpha a b + beta d over the last two dimensions, leading ones are batches. Inputs
     * are rounded to attr_matmul.compute, sums are f32. With beta 0 d is not read. Make this
     * one fast first: nearly all the time of training is here. */
    {TRAINER_OP_MATMUL, "matmul", check_matmul, NULL},
    /* Uniform f32 in [0,1) from Philox-4x32-10, counted by coordinates: equal on every
     * backend, bit for bit. philox.h has it. */
    {TRAINER_OP_RANDOM, "random", check_random, NULL},
    /* i32 numbers of attr_bits.bits bits out of bytes, and back. Of order 0 they begin at the
     * high bits of a byte; order 1 is a stream of bits in which a number may lie in two. */
    {TRAINER_OP_UNPACK, "unpack", check_unpack, NULL},
    {TRAINER_OP_PACK, "pack", check_pack, NULL},
    /* Every element of dst is its index along attr_iota.dim. */
    {TRAINER_OP_IOTA, "iota", check_iota, NULL},
    /* Ops of tier 1 are composed of these until they stand here too. */
};

static const struct op *op_of(uint32_t id) {
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
    if (ops[i].id == id) return &ops[i];
  return NULL;
}

/* Whether an op runs natively, for a dtype, a compute dtype and a weight format. What is
 * claimed here must run. */
trainer_op_answer backend_answer(const struct device *device, const trainer_op_query *query) {
  (void)device;
  const struct op *op = op_of(query->op);
  int runs = op && op->run && query->version <= 1;
  return (trainer_op_answer){.level = runs ? TRAINER_LEVEL_OK : TRAINER_LEVEL_NONE, .deterministic = 1};
}

/* ---- the device ---------------------------------------------------------- *
 * Here it is the host's processor. Open a driver with dlopen in device_count, never by
 * linking it, and answer UNAVAILABLE with what to install where it is absent. */

/* Describes the device truthfully; must be cheap. */
static void describe(trainer_device_info *info) {
  *info = (trainer_device_info){
#ifdef WITH_DEVICE
      .device_class = TRAINER_DEVICE_INTEGRATED, /* DISCRETE once its memory is its own */
#else
      .device_class = TRAINER_DEVICE_CPU,
#endif
      .flags = TRAINER_FLAG_UNIFIED | TRAINER_FLAG_DETERMINISTIC | TRAINER_FLAG_HOST_SLOTS | TRAINER_FLAG_TIMES,
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

/* ---- devices ------------------------------------------------------------- *
 * A device with more than all have is a struct of yours that begins with a struct device. */

static void device_release(struct object *object) {
  device_destroy((struct device *)object);
  free(object);
}

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
  device_init(device, options.memory_limit, device_release);
  device->alignment = ALIGNMENT;
  device->unified = 1;
  uint64_t made = handle_new(&device->object);
  if (!made) {
    object_release(&device->object);
    return trainer_fail(error, TRAINER_OOM, "no memory for a handle");
  }
  *handle = made;
  return TRAINER_OK;
}

int32_t backend_enter(struct device *device, trainer_error *error) {
  (void)device, (void)error;
  return TRAINER_OK;
}

/* ---- memory -------------------------------------------------------------- */

int32_t backend_buffer_open(struct buffer *buffer, trainer_error *error) {
  buffer->base = memory_new(buffer->bytes);
  if (buffer->base) return TRAINER_OK;
  return trainer_fail(error, TRAINER_OOM, "no room for a buffer of %llu bytes", (unsigned long long)buffer->bytes);
}

void backend_buffer_close(struct buffer *buffer) { memory_end(buffer->base); }

void *backend_params_new(struct program *program) { return calloc(1, program->list.params_bytes); }

void *backend_host_new(struct device *device, uint64_t bytes) {
  (void)device;
  return malloc(bytes);
}

void backend_host_end(struct device *device, void *memory) {
  (void)device;
  free(memory);
}

/* ---- programs: lists that were checked ----------------------------------- */

struct program *backend_program_new(void) { return calloc(1, sizeof(struct program)); }

int backend_program_open(struct program *program) {
  program->bytes = sizeof *program + program->list.bytes + program->list.params_bytes;
  return 1;
}

int32_t backend_record_open(struct program *program, uint32_t index, char *text, uint64_t text_bytes) {
  struct record *record = &program->list.records[index];
  const struct op *op = op_of(record->op);
  if (!op) {
    snprintf(text, text_bytes, "there is no op 0x%x", (unsigned)record->op);
    return TRAINER_UNSUPPORTED;
  }
  record->name = op->name;
  if (op->run) return op->check(record, text, text_bytes);
  snprintf(text, text_bytes, "%s has no %s yet", BACKEND_NAME, op->name);
  return TRAINER_UNSUPPORTED;
}

int32_t backend_plan_open(struct program *program, trainer_error *error) {
  (void)program, (void)error;
  return TRAINER_OK;
}

void backend_program_close(struct program *program) { free(program->params); }

/* Running all records in order is always right. */
static void program_run(const struct job *job) {
  struct program *program = job->program;
  pthread_mutex_lock(&program->run_lock);
  if (program->list.params_bytes) memcpy(program->params, job->params, program->list.params_bytes);
  job_mark(job, 0);
  for (uint32_t i = 0; i < program->list.record_count; i++) {
    record_apply_bounds(&program->list.records[i]);
    op_of(program->list.records[i].op)->run(&program->list.records[i]);
    job_mark(job, i + 1);
    progress_add(&job->queue->progress, 1);
  }
  pthread_mutex_unlock(&program->run_lock);
}

/* ---- queues: a thread each, which runs jobs in order --------------------- */

static void run(struct job *job) {
  if (job_wait(job)) progress_add(&job->queue->progress, job->program->list.record_count);
  else program_run(job);
  job_settle(job);
}

struct queue *backend_queue_new(void) { return calloc(1, sizeof(struct queue)); }

int32_t backend_queue_open(struct queue *queue, uint32_t kind, trainer_error *error) {
  (void)kind, (void)error;
  queue_add_stage(queue, run);
  return TRAINER_OK;
}

void backend_queue_close(struct queue *queue) { (void)queue; }

/* ---- the table ----------------------------------------------------------- *
 * Entries that are not named are optional and NULL. */
static const trainer_backend_table table = {
    .struct_size = sizeof table,
    BACKEND_ENTRIES,
    .device_count = device_count,
    .device_info = device_info,
    .device_open = device_open,
};

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply) {
  return trainer_answer_query(host, reply, &table);
}
