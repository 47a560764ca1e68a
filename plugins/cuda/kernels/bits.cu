/* bits.cu - PACK and UNPACK: i32 values of 1 to 8 bits in bytes, eight values a thread. */
#include "../../../native/bits.h"
#include "strided.cuh"

/* A word is eight values, but for the last one. */
static int32_t unpack_run(const struct call *call, char *text, uint64_t bytes) {
  const trainer_attr_bits attr = *(const trainer_attr_bits *)call->attr;
  int32_t *values = (int32_t *)call->out[0].data;
  const uint8_t *packed = (const uint8_t *)call->in[0].data;
  int64_t n = call->out[0].count;
  flat_launch<1>(call, divide_up(n, 8), [=] __device__(int64_t w, int64_t) {
    int count = n - w * 8 < 8 ? (int)(n - w * 8) : 8;
    uint64_t word = bits_load(packed + w * attr.bits, (int)bits_bytes(count, attr.bits), attr.bits, attr.order);
    for (int i = 0; i < count; i++) values[w * 8 + i] = (int32_t)(word >> bits_shift(i, attr.bits, attr.order) & ((1u << attr.bits) - 1));
  });
  return launched(text, bytes);
}

static int32_t pack_run(const struct call *call, char *text, uint64_t bytes) {
  const trainer_attr_bits attr = *(const trainer_attr_bits *)call->attr;
  const int32_t *values = (const int32_t *)call->in[0].data;
  uint8_t *packed = (uint8_t *)call->out[0].data;
  int64_t n = call->in[0].count;
  flat_launch<1>(call, divide_up(n, 8), [=] __device__(int64_t w, int64_t) {
    int count = n - w * 8 < 8 ? (int)(n - w * 8) : 8;
    uint64_t word = 0;
    for (int i = 0; i < count; i++) word |= (uint64_t)((uint32_t)values[w * 8 + i] & ((1u << attr.bits) - 1)) << bits_shift(i, attr.bits, attr.order);
    bits_store(packed + w * attr.bits, (int)bits_bytes(count, attr.bits), word, attr.bits, attr.order);
  });
  return launched(text, bytes);
}

const struct kernel kernel_unpack = {.op = TRAINER_OP_UNPACK, .name = "unpack", .check = check_unpack, .run = unpack_run};
const struct kernel kernel_pack = {.op = TRAINER_OP_PACK, .name = "pack", .check = check_pack, .run = pack_run};
