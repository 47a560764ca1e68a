/* bits.c - PACK and UNPACK: i32 values of 1 to 8 bits in bytes, eight values at a time. */
#include "../../../native/bits.h"
#include "../kernel.h"

#define WORDS_PER_TASK 4096

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

static void unpack_run(const struct call *call) { run(call, call->out, call->in, unpack_task); }
static void pack_run(const struct call *call) { run(call, call->in, call->out, pack_task); }

const struct kernel kernel_unpack = {.op = TRAINER_OP_UNPACK, .name = "unpack", .check = check_unpack, .run = unpack_run};
const struct kernel kernel_pack = {.op = TRAINER_OP_PACK, .name = "pack", .check = check_pack, .run = pack_run};
