/* bits.c - PACK and UNPACK: i32 values of 1 to 8 bits in bytes, eight values at a time. */
#include "../../../native/bits.h"
#include "check.h"

#define WORDS_PER_TASK 4096

static int32_t check(const struct call *call, const struct view *values, const struct view *packed, char *text, uint64_t bytes) {
  const trainer_attr_bits *attr = call->attr;
  if (call->n_out != 1 || call->n_in != 1 || call->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "pack and unpack need dst, src and their attributes");
  if (!bits_has_order(attr->bits, attr->order))
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "bits must be 1, 2, 4 or 8 in order 0, and 1 to 8 in order 1");
  if (!is_dtype(values, TRAINER_I32) || !is_dtype(packed, TRAINER_U8) || !is_contiguous(values) || !is_contiguous(packed))
    return refuse(text, bytes, TRAINER_INVALID, "values must be i32 and packed u8, both without gaps");
  if (packed->count != bits_bytes(values->count, attr->bits))
    return refuse(text, bytes, TRAINER_INVALID, "packed must have ceil(n * bits / 8) bytes");
  return TRAINER_OK;
}

struct bits {
  int32_t *values;
  uint8_t *packed;
  int64_t n;
  int64_t words;
  uint32_t bits;
  uint32_t order;
};

static void run(const struct call *call, const struct view *values, const struct view *packed, void (*task)(void *arg, int64_t task, uint32_t worker)) {
  const trainer_attr_bits *attr = call->attr;
  struct bits b = {values->data, packed->data, values->count, (values->count + 7) / 8, attr->bits, attr->order};
  pool_run(call->pool, (b.words + WORDS_PER_TASK - 1) / WORDS_PER_TASK, task, &b);
}

static int64_t word_end(const struct bits *b, int64_t task) {
  int64_t end = (task + 1) * WORDS_PER_TASK;
  return end < b->words ? end : b->words;
}

/* How many values a word holds: eight, but for the last one. */
static uint32_t values_of(const struct bits *b, int64_t word) { return b->n - word * 8 < 8 ? (uint32_t)(b->n - word * 8) : 8; }

static void unpack_task(void *arg, int64_t task, uint32_t worker) {
  const struct bits *b = arg;
  uint32_t mask = (1u << b->bits) - 1;
  (void)worker;
  for (int64_t w = task * WORDS_PER_TASK; w < word_end(b, task); w++) {
    uint32_t n = values_of(b, w);
    uint64_t word = bits_load(b->packed + w * b->bits, (int)bits_bytes(n, b->bits), b->bits, b->order);
    for (uint32_t i = 0; i < n; i++) b->values[w * 8 + i] = (int32_t)(word >> bits_shift(i, b->bits, b->order) & mask);
  }
}

static void pack_task(void *arg, int64_t task, uint32_t worker) {
  const struct bits *b = arg;
  uint32_t mask = (1u << b->bits) - 1;
  (void)worker;
  for (int64_t w = task * WORDS_PER_TASK; w < word_end(b, task); w++) {
    uint32_t n = values_of(b, w);
    uint64_t word = 0;
    for (uint32_t i = 0; i < n; i++) word |= (uint64_t)((uint32_t)b->values[w * 8 + i] & mask) << bits_shift(i, b->bits, b->order);
    bits_store(b->packed + w * b->bits, (int)bits_bytes(n, b->bits), word, b->bits, b->order);
  }
}

static int32_t unpack_check(const struct call *call, char *text, uint64_t bytes) { return check(call, call->out, call->in, text, bytes); }
static int32_t pack_check(const struct call *call, char *text, uint64_t bytes) { return check(call, call->in, call->out, text, bytes); }
static void unpack_run(const struct call *call) { run(call, call->out, call->in, unpack_task); }
static void pack_run(const struct call *call) { run(call, call->in, call->out, pack_task); }

const struct kernel kernel_unpack = {.op = TRAINER_OP_UNPACK, .name = "unpack", .check = unpack_check, .run = unpack_run};
const struct kernel kernel_pack = {.op = TRAINER_OP_PACK, .name = "pack", .check = pack_check, .run = pack_run};
