/* bits.c - PACK and UNPACK: i32 values of 1, 2, 4 or 8 bits in bytes. */
#include "check.h"

#define BYTES_PER_TASK 16384

static int32_t check(const struct call *call, const struct view *values, const struct view *packed, char *text, uint64_t bytes) {
  const trainer_attr_bits *attr = call->attr;
  if (call->n_out != 1 || call->n_in != 1 || call->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "pack and unpack need dst, src and their attributes");
  if ((attr->bits != 1 && attr->bits != 2 && attr->bits != 4 && attr->bits != 8) || attr->order > 1)
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "bits must be 1, 2, 4 or 8 and order 0 or 1");
  if (!is_dtype(values, TRAINER_I32) || !is_dtype(packed, TRAINER_U8) || !is_contiguous(values) || !is_contiguous(packed))
    return refuse(text, bytes, TRAINER_INVALID, "values must be i32 and packed u8, both without gaps");
  int64_t per_byte = 8 / attr->bits;
  if (packed->count != (values->count + per_byte - 1) / per_byte)
    return refuse(text, bytes, TRAINER_INVALID, "packed must have ceil(n * bits / 8) bytes");
  return TRAINER_OK;
}

struct bits {
  int32_t *values;
  uint8_t *packed;
  int64_t n;
  int64_t bytes;
  uint32_t bits;
  uint32_t order;
};

/* Position of value i inside its byte. */
static uint32_t shift_of(const struct bits *b, int64_t i) {
  uint32_t per_byte = 8 / b->bits, place = (uint32_t)(i % per_byte);
  return (b->order ? place : per_byte - 1 - place) * b->bits;
}

static void run(const struct call *call, const struct view *values, const struct view *packed, void (*task)(void *arg, int64_t task, uint32_t worker)) {
  const trainer_attr_bits *attr = call->attr;
  int64_t per_byte = 8 / attr->bits;
  struct bits b = {values->data, packed->data, values->count, (values->count + per_byte - 1) / per_byte, attr->bits, attr->order};
  pool_run(call->pool, (b.bytes + BYTES_PER_TASK - 1) / BYTES_PER_TASK, task, &b);
}

static int64_t byte_end(const struct bits *b, int64_t task) {
  int64_t end = (task + 1) * BYTES_PER_TASK;
  return end < b->bytes ? end : b->bytes;
}

static void unpack_task(void *arg, int64_t task, uint32_t worker) {
  const struct bits *b = arg;
  int64_t per_byte = 8 / b->bits, end = byte_end(b, task) * per_byte;
  (void)worker;
  if (end > b->n) end = b->n;
  for (int64_t i = task * BYTES_PER_TASK * per_byte; i < end; i++)
    b->values[i] = (int32_t)((b->packed[i / per_byte] >> shift_of(b, i)) & ((1u << b->bits) - 1));
}

static void pack_task(void *arg, int64_t task, uint32_t worker) {
  const struct bits *b = arg;
  int64_t per_byte = 8 / b->bits;
  (void)worker;
  for (int64_t byte = task * BYTES_PER_TASK; byte < byte_end(b, task); byte++) {
    uint32_t out = 0;
    for (int64_t i = byte * per_byte; i < (byte + 1) * per_byte && i < b->n; i++)
      out |= ((uint32_t)b->values[i] & ((1u << b->bits) - 1)) << shift_of(b, i);
    b->packed[byte] = (uint8_t)out;
  }
}

static int32_t unpack_check(const struct call *call, char *text, uint64_t bytes) { return check(call, call->out, call->in, text, bytes); }
static int32_t pack_check(const struct call *call, char *text, uint64_t bytes) { return check(call, call->in, call->out, text, bytes); }
static void unpack_run(const struct call *call) { run(call, call->out, call->in, unpack_task); }
static void pack_run(const struct call *call) { run(call, call->in, call->out, pack_task); }

const struct kernel kernel_unpack = {.op = TRAINER_OP_UNPACK, .name = "unpack", .check = unpack_check, .run = unpack_run};
const struct kernel kernel_pack = {.op = TRAINER_OP_PACK, .name = "pack", .check = pack_check, .run = pack_run};
