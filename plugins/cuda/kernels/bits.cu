/* bits.cu - PACK and UNPACK: i32 values of 1, 2, 4 or 8 bits in bytes. */
#include "strided.cuh"

static int32_t check(const struct call *call, const struct view *values, const struct view *packed, char *text, uint64_t bytes) {
  const trainer_attr_bits *attr = (const trainer_attr_bits *)call->attr;
  if (call->n_out != 1 || call->n_in != 1 || call->attr_bytes < sizeof *attr)
    return refuse(text, bytes, TRAINER_INVALID, "pack and unpack need dst, src and their attributes");
  if ((attr->bits != 1 && attr->bits != 2 && attr->bits != 4 && attr->bits != 8) || attr->order > 1)
    return refuse(text, bytes, TRAINER_UNSUPPORTED, "bits must be 1, 2, 4 or 8 and order 0 or 1");
  if (!is_dtype(values, TRAINER_I32) || !is_dtype(packed, TRAINER_U8) || !is_contiguous(values) || !is_contiguous(packed))
    return refuse(text, bytes, TRAINER_INVALID, "values must be i32 and packed u8, both without gaps");
  int64_t per_byte = 8 / attr->bits;
  if (packed->count != divide_up(values->count, per_byte))
    return refuse(text, bytes, TRAINER_INVALID, "packed must have ceil(n * bits / 8) bytes");
  return TRAINER_OK;
}

struct bits {
  uint32_t bits;
  uint32_t per_byte;
  uint32_t order;

  /* Position of a byte's value number `place`. */
  __device__ __forceinline__ uint32_t shift(uint32_t place) const { return (order ? place : per_byte - 1 - place) * bits; }
  __device__ __forceinline__ uint32_t mask() const { return (1u << bits) - 1; }
};

static struct bits bits_of(const struct call *call) {
  const trainer_attr_bits *attr = (const trainer_attr_bits *)call->attr;
  return {attr->bits, 8 / attr->bits, attr->order};
}

static int32_t unpack_check(const struct call *call, char *text, uint64_t bytes) { return check(call, call->out, call->in, text, bytes); }
static int32_t pack_check(const struct call *call, char *text, uint64_t bytes) { return check(call, call->in, call->out, text, bytes); }

static int32_t unpack_run(const struct call *call, char *text, uint64_t bytes) {
  struct bits b = bits_of(call);
  int32_t *values = (int32_t *)call->out[0].data;
  const uint8_t *packed = (const uint8_t *)call->in[0].data;
  flat_launch<1>(call, call->out[0].count, [=] __device__(int64_t i, int64_t) {
    values[i] = (int32_t)((packed[i / b.per_byte] >> b.shift((uint32_t)(i % b.per_byte))) & b.mask());
  });
  return launched(text, bytes);
}

static int32_t pack_run(const struct call *call, char *text, uint64_t bytes) {
  struct bits b = bits_of(call);
  const int32_t *values = (const int32_t *)call->in[0].data;
  uint8_t *packed = (uint8_t *)call->out[0].data;
  int64_t n = call->in[0].count;
  flat_launch<1>(call, call->out[0].count, [=] __device__(int64_t byte, int64_t) {
    uint32_t out = 0;
    for (uint32_t place = 0; place < b.per_byte; place++) {
      int64_t i = byte * b.per_byte + place;
      if (i < n) out |= ((uint32_t)values[i] & b.mask()) << b.shift(place);
    }
    packed[byte] = (uint8_t)out;
  });
  return launched(text, bytes);
}

const struct kernel kernel_unpack = {.op = TRAINER_OP_UNPACK, .name = "unpack", .check = unpack_check, .run = unpack_run};
const struct kernel kernel_pack = {.op = TRAINER_OP_PACK, .name = "pack", .check = pack_check, .run = pack_run};
