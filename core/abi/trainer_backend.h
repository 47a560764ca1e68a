/* trainer_backend.h - the border between trainer and a native backend.
 *
 * A backend is a shared library named trainer-backend-NAME.so (.dylib) that
 * exports exactly two symbols: the function trainer_backend_query_v1 and the data
 * symbol trainer_backend_manifest (a NUL-terminated JSON text in read-only data,
 * read by the host without loading the file: name, version, vendor, description,
 * abi_major, abi_minor, cpu_features, open_seconds). It links no driver, so that it can
 * be loaded anywhere and say what is missing. This header is all a backend needs.
 *
 * Rules that hold everywhere:
 *  - Every struct starts with struct_size and only ever grows at its end. A reader
 *    uses the first min(own, given) bytes; zero means default; reserved is zero. A
 *    writer writes no more than those and leaves struct_size as it was. Elements of an
 *    array of such structs lie struct_size of the first one apart.
 *  - Ids (ops, dtypes, formats, statuses) are numbers that are never reused.
 *    Ids from 0x80000000 on belong to vendors. One that is not known is answered with
 *    UNSUPPORTED or INVALID, by query_ops with level NONE.
 *  - Only fixed-width integers and pointers cross; f32 constants travel as the
 *    bits of an IEEE-754 float in a uint32_t. At most six 64-bit arguments.
 *  - Functions return a status; text goes to the caller's trainer_error, which may
 *    be NULL. A call that fails fills it, and all is as it was before. A backend never
 *    exits, aborts, throws, prints, installs signal handlers, changes process state
 *    (working directory, umask, locale, floating-point arithmetic), or keeps a pointer
 *    it was given in a call, except one it returned itself (host-visible buffers),
 *    the counter of queue_progress and the times of a submit. Its threads block all
 *    signals; threads, files and memory go with the device they served.
 *  - Any function may be called from any thread. The host serialises calls on one
 *    queue; calls on different objects may run at the same time.
 *  - No call waits for work but timeline_wait, whose time is bounded, and those that
 *    end a queue, a device or the backend, for what has begun.
 *  - Handles are opaque and never 0. One that was never given, has ended (also when its
 *    place is used again), is of another kind or belongs to another opening of a device
 *    is answered with STALE.
 */
#ifndef TRAINER_BACKEND_H
#define TRAINER_BACKEND_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRAINER_ABI_MAJOR 0u
#define TRAINER_ABI_MINOR 3u

/* ---- status ------------------------------------------------------------- */
#define TRAINER_OK 0
#define TRAINER_UNSUPPORTED 1 /* a valid request this backend cannot serve */
#define TRAINER_UNAVAILABLE 2 /* driver or device absent; text says what to install */
#define TRAINER_INVALID 3     /* the caller's mistake */
#define TRAINER_OOM 4         /* out of memory, or above memory_limit; nothing changed */
#define TRAINER_TIMEOUT 5     /* a bounded wait ended; nothing changed */
#define TRAINER_DEVICE_LOST 6 /* final for this device */
#define TRAINER_INTERNAL 7    /* a bug in the backend */
#define TRAINER_BUSY 8        /* queue full; nothing changed, try again */
#define TRAINER_STALE 9       /* a handle that is not alive */

/* ---- element types ------------------------------------------------------ */
#define TRAINER_F32 1u
#define TRAINER_BF16 2u
#define TRAINER_F16 3u
#define TRAINER_F8E4M3 4u
#define TRAINER_F8E5M2 5u
#define TRAINER_F64 6u
#define TRAINER_I32 16u
#define TRAINER_U8 17u
#define TRAINER_I8 18u
#define TRAINER_I64 19u

/* ---- weight formats ----------------------------------------------------- */
#define TRAINER_FORMAT_DENSE 0u  /* data [out, in] of any float dtype */
#define TRAINER_FORMAT_NF4 1u    /* 4-bit NormalFloat (QLoRA, bitsandbytes) */
#define TRAINER_FORMAT_FP4 2u    /* bitsandbytes' 4-bit float */
#define TRAINER_FORMAT_AFFINE 3u /* HQQ: (code - zero) * scale */
#define TRAINER_FORMAT_INT8 4u   /* rows of int8: code * scale */
#define TRAINER_FORMAT_FP8 5u
#define TRAINER_FORMAT_BIASED 6u /* MLX: code * scale + zero */

/* Describes a weight. DENSE: all other fields 0. */
typedef struct trainer_quant_format {
  uint32_t format;       /* TRAINER_FORMAT_* */
  uint32_t bits;         /* bits per code */
  uint32_t group;        /* elements per scale */
  uint32_t interleaved;  /* 0: a group is consecutive elements; 1: elements n/group apart (HQQ's axis 0) */
  uint32_t code_layout;  /* 0: nibbles, high one first; 1: a stream of bits, lowest first */
  uint32_t scale_dtype;  /* dtype of the scale operand: F32, or U8 when nested */
  uint32_t zero_dtype;   /* dtype of the zero operand: F32, U8 when nested; 0 none */
  uint32_t nested_group; /* scales per second-level scale (NF4: 256, HQQ: 128); 0 = one level */
} trainer_quant_format;

/* A weight in any format is eight operands in this order; those a format does
 * not have are absent (slot TRAINER_SLOT_NONE).
 *  DENSE: data [out, in].
 *  Every other format stores n = out * in elements in row-major order, as one code and a
 *  share in one group's scale each. Element e belongs to group e / group, or e % G where
 *  interleaved; G = ceil(n / group) groups. Value = number of its code, joined with
 *  scale and zero of its group, in f32, every operation rounded:
 *    format  bits           layout  number of a code         value                    group
 *    NF4     4              0       of its table             number * scale           even
 *    FP4     4              0       of its table             number * scale           even
 *    AFFINE  1,2,3,4,8      1       the code, unsigned       (number - zero) * scale  8 k, divides n
 *    BIASED  2,3,4,5,6,8    1       the code, unsigned       number * scale + zero    8 k, divides in
 *    INT8    8              1       the code, signed         number * scale           in
 *  data u8 [ceil(n * bits / 8)]. Layout 0: element 2i in the high bits of byte i. Layout 1:
 *  element e in bits [e * bits, (e + 1) * bits) of the stream, bit b being bit b % 8 of byte
 *  b / 8. scale f32 [G]; zero f32 [G] in AFFINE and BIASED. Only AFFINE may be interleaved.
 *  NF4's table, of codes 0 to 15: -1 -0.6961928 -0.52507305 -0.39491749 -0.28444138 -0.18477343
 *    -0.091050036 0 0.0795803 0.1609302 0.2461123 0.33791524 0.44070983 0.562617 0.72295684 1;
 *    FP4's, of codes 0 to 7: 0 0.0052083335 0.6666667 1 0.33333334 0.5 0.16666667 0.25, and of 8
 *    to 15 the same, negative (8 is 0).
 *  Nested NF4, FP4: scale u8 [G] holds codes of `code` f32 [256], the signed dynamic map of 8
 *    bits (ascending: for d = 0 .. 6 the middles of 2^d even steps from 0.1 to 1, times
 *    10^(d - 6), with both signs; 0; 1), scale_scale f32 [ceil(G/nested_group)], scale_zero
 *    f32 [1]; the scale is code[scale] * scale_scale[g / nested_group] + scale_zero.
 *  Nested AFFINE: scale u8 [G] and zero u8 [G], where nested_group divides G. With
 *    m = G / nested_group: scale_scale, scale_zero, zero_scale, zero_zero f32 [m]; the scale
 *    of group g is (scale[g] - scale_zero[g % m]) * scale_scale[g % m], the zero likewise.
 *  How numbers are quantised stands at TRAINER_OP_QUANTISE.
 *  A shape [out, in] of a quantised weight stands in trainer_projection. */
#define TRAINER_WEIGHT_DATA 0u
#define TRAINER_WEIGHT_SCALE 1u
#define TRAINER_WEIGHT_ZERO 2u
#define TRAINER_WEIGHT_SCALE_SCALE 3u
#define TRAINER_WEIGHT_SCALE_ZERO 4u
#define TRAINER_WEIGHT_ZERO_SCALE 5u
#define TRAINER_WEIGHT_ZERO_ZERO 6u
#define TRAINER_WEIGHT_CODE 7u
#define TRAINER_WEIGHT_OPERANDS 8u

/* ---- lists: records over slots ------------------------------------------ */
#define TRAINER_LIST_MAGIC 0x54535254u /* "TRST" little-endian */
#define TRAINER_MAX_RANK 6u
#define TRAINER_SLOT_NONE 0xFFFFFFFFu   /* absent optional operand */
#define TRAINER_SLOT_PARAMS 0xFFFFFFFEu /* the params block given with each submit */

#define TRAINER_KIND_TRANSIENT 0u /* made and used inside the list; nobody else reads it */
#define TRAINER_KIND_INPUT 1u     /* written by the host side before the list */
#define TRAINER_KIND_OUTPUT 2u    /* read after the list */
#define TRAINER_KIND_CONSTANT 3u  /* never changes while bound: may be prepacked */
#define TRAINER_KIND_STATE 4u     /* lives across lists; changed only by ops that say so */

/* One operand: a strided view of a slot. offset (a multiple of the element's size), bytes:
 * of the whole addressed extent inside the slot. shape and stride (in elements) hold rank
 * entries, none negative; a dimension may be 0; stride 0 broadcasts an input, never an
 * output. No output lies in the params block. A non-zero bound_by says that dimension
 * bound_dim is an upper bound whose extent is the i32 scalar in operand bound_by - 1 of this
 * record when the record runs, taken as 0 below 0 and as the upper bound above that.
 * Ops take any strides, with these exceptions: operands of pack, unpack and, in formats
 * other than DENSE, of quantise and dequantise lie without gaps; so do the rows (the last
 * dimension) of gather, scatter_add, random, dropout_mask, rmsnorm, rope and their gradients. */
typedef struct trainer_operand {
  uint32_t slot;
  uint32_t dtype;
  uint32_t value_id;
  uint8_t kind;
  uint8_t rank;
  uint8_t bound_dim;
  uint8_t bound_by;
  uint64_t offset;
  uint64_t bytes;
  int64_t shape[6];
  int64_t stride[6];
} trainer_operand;

/* One kernel call. Behind the header come n_outputs + n_inputs operands (outputs
 * first), then attr_bytes of the op's attribute struct (a multiple of 8), then
 * n_after u32 indexes of earlier records this one comes after, padded to 8. A
 * record also comes after every earlier record of its own lane. Running all
 * records in order is always right. */
typedef struct trainer_record {
  uint32_t size; /* bytes of the whole record, a multiple of 8 */
  uint32_t op;
  uint16_t version;
  uint16_t flags;
  uint16_t lane; /* 0 compute, 1 copy, 2 collective */
  uint16_t n_after;
  uint16_t n_outputs;
  uint16_t n_inputs;
  uint32_t attr_bytes;
} trainer_record;

/* A list, aligned to 8 bytes: this header, then the records back to back from offset
 * struct_size to the end. It may have no record. A backend believes nothing that it says: a
 * list that contradicts itself or an op's definition is refused as INVALID by list_check,
 * submit and plan_create, whatever its bytes. */
typedef struct trainer_list {
  uint32_t struct_size;
  uint32_t magic;
  uint16_t abi_major;
  uint16_t abi_minor;
  uint32_t record_count;
  uint32_t slot_count;
  uint32_t params_bytes;
  uint64_t bytes;  /* header and records */
  uint64_t serial; /* names the list in errors */
} trainer_list;

/* ---- ops, tier 0: mandatory --------------------------------------------- *
 * Outputs -> inputs. Storage f32, i32, u8; bf16 and f16 as storage that is read and
 * written by every op below whose operand is a float. Arithmetic is f32. An output may
 * be exactly the same view as an input of equal shape. NaN propagates. Sums run in
 * an order that does not depend on thread count; over nothing a sum is 0, a maximum -inf.
 * Nothing is written but the elements of outputs, and the workspace. */
#define TRAINER_OP_COPY 1u        /* dst <- src; same dtype and shape; also upload and download */
#define TRAINER_OP_FILL 2u        /* dst <- ; attr_fill.value_bits: f32 bits, or the i32 / u8 value */
#define TRAINER_OP_CAST 3u        /* dst <- src; round to nearest even; float to int truncates, saturates, NaN gives 0; i32 to u8: low 8 bits */
#define TRAINER_OP_UNARY 4u       /* dst <- src; attr_unary */
#define TRAINER_OP_BINARY 5u      /* dst <- a, b; float or i32, which wraps around; attr_binary */
#define TRAINER_OP_SELECT 6u      /* dst <- cond, a, b; cond != 0 takes a, so does NaN; cond float, i32 or u8; a, b as dst, or all floats */
#define TRAINER_OP_REDUCE 7u      /* dst <- src; same rank, over the dims where dst has 1; float, or i32, which wraps around; attr_reduce */
#define TRAINER_OP_GATHER 8u      /* dst [n,f] <- src [v,f], index i32 [n]; index < 0 or >= v gives zeros */
#define TRAINER_OP_SCATTER_ADD 9u /* dst [v,f] += <- src [n,f], index i32 [n]; ascending n; index < 0 or >= v is skipped */
#define TRAINER_OP_MATMUL 10u     /* d [..,m,n] <- a [..,m,k], b [..,k,n]; d = alpha a b + beta d; f32 sums; leading 1s repeat; attr_matmul */
#define TRAINER_OP_RANDOM 11u     /* dst f32 [r,f] <- samples i32 [r], positions i32 [r], seed i32 [2], step i32 [1]; attr_random */
#define TRAINER_OP_UNPACK 12u     /* dst i32 [n] <- src u8 [ceil(n*bits/8)]; attr_bits */
#define TRAINER_OP_PACK 13u       /* dst u8 [ceil(n*bits/8)] <- src i32 [n], low bits; attr_bits; unused bits 0 */
#define TRAINER_OP_IOTA 14u       /* dst i32 <- ; value = index along attr_iota.dim */

#define TRAINER_UNARY_NEG 1u
#define TRAINER_UNARY_EXP 2u
#define TRAINER_UNARY_LOG 3u
#define TRAINER_UNARY_SQRT 4u
#define TRAINER_UNARY_RSQRT 5u
#define TRAINER_UNARY_TANH 6u
#define TRAINER_UNARY_SIGMOID 7u
#define TRAINER_UNARY_ABS 8u
#define TRAINER_UNARY_RECIPROCAL 9u
#define TRAINER_UNARY_SIN 10u /* SIN, COS: judged for |x| <= 1000 */
#define TRAINER_UNARY_COS 11u
#define TRAINER_UNARY_FLOOR 12u
#define TRAINER_UNARY_ISFINITE 13u /* 1 or 0 */
#define TRAINER_UNARY_AFFINE 14u   /* src * alpha + beta */
#define TRAINER_UNARY_ROUND 15u    /* to nearest even */

#define TRAINER_BINARY_ADD 1u
#define TRAINER_BINARY_SUB 2u
#define TRAINER_BINARY_MUL 3u
#define TRAINER_BINARY_DIV 4u /* i32: truncates; by zero 0 */
#define TRAINER_BINARY_MAX 5u
#define TRAINER_BINARY_MIN 6u
#define TRAINER_BINARY_LT 7u /* comparisons: 1 or 0 in dst's dtype */
#define TRAINER_BINARY_LE 8u
#define TRAINER_BINARY_EQ 9u
#define TRAINER_BINARY_POW 10u /* as C's pow; i32: a negative exponent gives 0, except of 1 and -1 */

#define TRAINER_REDUCE_SUM 1u
#define TRAINER_REDUCE_MAX 2u

typedef struct trainer_attr_fill {
  uint32_t value_bits;
  uint32_t reserved;
} trainer_attr_fill;

typedef struct trainer_attr_unary {
  uint32_t code;
  uint32_t alpha_bits; /* AFFINE only */
  uint32_t beta_bits;
  uint32_t reserved;
} trainer_attr_unary;

typedef struct trainer_attr_binary {
  uint32_t code;
  uint32_t reserved;
} trainer_attr_binary;

typedef struct trainer_attr_reduce {
  uint32_t code;
  uint32_t reserved;
} trainer_attr_reduce;

/* compute: TRAINER_F32, or BF16/F16 = inputs are first rounded to it; sums are f32. */
typedef struct trainer_attr_matmul {
  uint32_t alpha_bits;
  uint32_t beta_bits; /* 0: d is not read */
  uint32_t compute;
  uint32_t reserved;
} trainer_attr_matmul;

/* Philox-4x32-10 (Salmon et al. 2011). key = {seed[0] ^ site_lo, seed[1] ^ site_hi};
 * counter = {feature / 4, positions[r], samples[r], step}; word feature % 4.
 * dst = (word >> 8) * 2^-24, in [0,1). */
typedef struct trainer_attr_random {
  uint32_t site_lo; /* FNV-1a 64 of "purpose/name" */
  uint32_t site_hi;
} trainer_attr_random;

typedef struct trainer_attr_bits {
  uint32_t bits;  /* order 0: 1, 2, 4 or 8; order 1: 1 to 8 */
  uint32_t order; /* 0: first element in the high bits of a byte; 1: a stream of bits, lowest
                   * first, in which an element may lie in two bytes */
} trainer_attr_bits;

typedef struct trainer_attr_iota {
  uint32_t dim;
  uint32_t reserved;
} trainer_attr_iota;

/* ---- ops, tier 1: fused training ops ------------------------------------ *
 * T rows of tokens; "float" operands are f32, bf16 or f16 unless said otherwise;
 * a weight is eight operands (see above). `compute` as in attr_matmul: matrix
 * products round both inputs to it and sum in f32. "+=" outputs are states that
 * are read and added to. Any output marked ? may be absent: it is not computed. */

/* weight(8) <- src [out, in]; attr_quant. Everything in f32, every operation rounded; round =
 * to nearest even.
 *  NF4, FP4: scale = the block's largest magnitude; the code whose number is nearest to
 *    x * (1 / scale), or to x where scale is 0; of a tie that of the lower number. FP4 has 0
 *    twice: code 0 takes x <= 0, code 8 the rest. Nested: scale_zero = mean of the scales;
 *    codes likewise of x = (scale - scale_zero) / scale_scale, first put on the grid
 *    floor((x + 1) * 32767.5 + 0.5) * (2 / 65535) - 1, as bitsandbytes does.
 *  AFFINE: half-quadratic quantisation (Badri & Shaji 2023), with M = 2^bits - 1 and, of each
 *    group, inv = min((1 / (max - min)) * M, 2e4) (1 where max - min <= 1e-4) and
 *    zero = -min * inv, rounded where bits = 4. Then at most 20 times:
 *    q = clamp(round(x * inv + zero), 0, M); d = x - (q - zero) / inv;
 *    w = sign(d) * max(|d| - 0.1 * |d|^-0.3, 0); zero = mean over the group of
 *    q - (x - w) * inv; ended after the round in which the mean of |d| over the whole weight
 *    is not below the best before. Both means are summed in f64. Codes are
 *    clamp(round(x * inv + zero), 0, M), scale = 1 / inv. Nested: scale and zero are
 *    themselves quantised so, interleaved, 8 bits, without the rounds.
 *  BIASED: with M = 2^bits - 1: scale = max((max - min) / M, 1e-7), negative where |min| is not
 *    above |max|; edge = the one of min and max with the larger magnitude (max of a tie);
 *    q = round(edge / scale); where q != 0 scale = edge / q and zero = edge, else zero = 0;
 *    code = clamp(round((x - zero) / scale), 0, M), as MLX does.
 *  INT8: scale = the row's largest magnitude / 127; code = round(x * (127 / magnitude)), 0 where
 *    127 / magnitude is not finite.
 * Of a group that holds a NaN every value is NaN; its codes are not specified. */
#define TRAINER_OP_QUANTISE 0x100u
/* dst [out, in] <- weight(8); attr_quant */
#define TRAINER_OP_DEQUANTISE 0x101u
typedef struct trainer_attr_quant {
  trainer_quant_format format;
  int64_t rows; /* out */
  int64_t cols; /* in */
} trainer_attr_quant;

/* y [T, sum N_p], u? [T, sum r_p] <- x [T,K], mask? u8 [T, ceil(K/8)] or drop(x) float [T,K],
 *   then for each projection p: weight(8) [N_p,K], bias? [N_p], A? [r_p,K], B? [N_p,r_p]
 * u_p = drop(x) A_p^T; y_p = x W_p^T + bias_p + scale_p * u_p B_p^T, side by side.
 * drop(x) is given, or x * bit * keep_scale where a mask is present, else x; bit k of a row is
 * bit k%8 (lowest first) of byte k/8. u is present exactly when a projection has A, B. */
#define TRAINER_OP_LINEAR 0x110u
/* dx? [T,K], v? [T, sum r_p] <- dy [T, sum N_p], mask?, residual? [T,K],
 *   then for each projection: weight(8), A?, B?
 * v_p = scale_p * dy_p B_p; dx = residual + sum_p dy_p W_p + drop(sum_p v_p A_p). */
#define TRAINER_OP_LINEAR_GRAD_INPUT 0x111u
/* for each projection: dW? [N_p,K] +=, dbias? [N_p] +=   <- dy [T, sum N_p], x [T,K]
 * With fresh = 1 both are set instead of added to: what they held is not read. */
#define TRAINER_OP_LINEAR_GRAD_WEIGHT 0x112u
/* for each projection: dA [r_p,K] +=, dB [N_p,r_p] +=    <- dy, x, mask?, u, v
 * dA_p += v_p^T drop(x); dB_p += scale_p * dy_p^T u_p. Projections without an
 * adapter have both absent. */
#define TRAINER_OP_LINEAR_GRAD_ADAPTER 0x113u

/* Attribute of the four: this header, then n_projections trainer_projection. */
typedef struct trainer_attr_linear {
  uint32_t n_projections;
  uint32_t compute;
  uint32_t keep_scale_bits; /* 1 / (1 - p); used only with a mask */
  uint32_t fresh;           /* LINEAR_GRAD_WEIGHT only, else 0 */
} trainer_attr_linear;

typedef struct trainer_projection {
  int64_t out_features; /* N_p */
  int64_t in_features;  /* K */
  uint32_t rank;        /* r_p; 0 = no adapter */
  uint32_t scale_bits;  /* alpha / r */
  trainer_quant_format format;
} trainer_projection;

/* y [T,H], h? [T,H], rstd f32 [T] <- x [T,H], residual? [T,H], w [H]
 * h = x + residual (present exactly when residual is; else h is x);
 * rstd = 1/sqrt(mean(h^2) + eps); y = h * rstd * w. (Zhang & Sennrich 2019) */
#define TRAINER_OP_RMSNORM 0x120u
/* dx [T,H], dw? [H] += <- dy [T,H], h [T,H], rstd [T], w [H], residual? [T,H]
 * g = dy * w; dx = rstd * (g - h * rstd^2 * mean(g * h)) + residual; dw += sum_t dy * h * rstd */
#define TRAINER_OP_RMSNORM_GRAD 0x121u
typedef struct trainer_attr_rmsnorm {
  uint32_t eps_bits;
  uint32_t reserved;
} trainer_attr_rmsnorm;

/* y [T,heads,D] <- x [T,heads,D], positions i32 [T], inv_freq f32 [R/2]; y may be x.
 * The first `heads` heads are rotated over their first R = rotary_dim features, half split as
 * Hugging Face does: y_i = x_i c - x_{i+R/2} s; y_{i+R/2} = x_{i+R/2} c + x_i s, with
 * c, s = scale * cos, sin(position * inv_freq_i); inverse negates s. The rest is copied. */
#define TRAINER_OP_ROPE 0x130u
typedef struct trainer_attr_rope {
  uint32_t heads;      /* rotated heads; heads behind them pass through */
  uint32_t rotary_dim; /* R, even, <= D */
  uint32_t scale_bits; /* attention scaling of the table, usually 1 */
  uint32_t inverse;    /* 1 in the backward pass */
} trainer_attr_rope;

/* y [T,F] <- gate [T,F], up [T,F]; y = gate * sigmoid(gate) * up (Shazeer 2020) */
#define TRAINER_OP_SWIGLU 0x140u
/* dgate? [T,F], dup? [T,F] <- dy, gate, up; dgate may be gate, dup may be up */
#define TRAINER_OP_SWIGLU_GRAD 0x141u

/* o [B,S,H,D], lse f32 [B,H,S] <- q [B,S,H,D], k [B,L,G,D], v [B,L,G,D],
 *   lengths? i32 [B], segments? i32 [B,S], offset? i32 [1]
 * Query s of head h attends key l of head h / (H/G) where l < lengths[b] (if given),
 * segments[b,s] == segments[b,l] (if given), causal: l <= s + offset, window: l > s +
 * offset - window. lse = log sum exp of the scaled scores, over a row without any key
 * o = 0 and lse = -inf. The score matrix need not exist. (Dao et al. 2022) */
#define TRAINER_OP_ATTENTION 0x150u
/* dq?, dk?, dv? <- do, o, lse, q, k, v, lengths?, segments?, offset? */
#define TRAINER_OP_ATTENTION_GRAD 0x151u
typedef struct trainer_attr_attention {
  uint32_t scale_bits; /* usually 1/sqrt(D) */
  uint32_t causal;
  uint32_t window;  /* 0 = none */
  uint32_t compute; /* of the two products */
} trainer_attr_attention;

/* loss f32 [1], dh? [R,K], dW? [N,K] += <- h [R,K], labels i32 [R], grad_scale f32 [1],
 *   weight(8) [N,K]
 * logits = h W^T, never whole in memory; loss = sum over rows with label >= 0 of
 * lse - logit[label]; with G = grad_scale * (softmax - onehot), zero for label < 0:
 * dh = G W; dW += G^T h. */
#define TRAINER_OP_LINEAR_CROSS_ENTROPY 0x160u
typedef struct trainer_attr_linear_cross_entropy {
  uint32_t compute;
  uint32_t chunk; /* rows at a time; 0 = the backend chooses */
  int64_t out_features;
  int64_t in_features;
  trainer_quant_format format;
} trainer_attr_linear_cross_entropy;

/* mask u8 [T, ceil(K/8)], y? [T,K] <- samples i32 [T], positions i32 [T], seed i32 [2], step i32 [1], x? [T,K]
 * bit k = RANDOM(site)[t,k] >= p; unused bits 0. y = x * bit * keep_scale, present exactly when
 * x is. */
#define TRAINER_OP_DROPOUT_MASK 0x170u
typedef struct trainer_attr_dropout_mask {
  uint32_t site_lo;
  uint32_t site_hi;
  uint32_t p_bits;
  uint32_t keep_scale_bits; /* usually 1 / (1 - p); used only with x */
  int64_t features; /* K */
} trainer_attr_dropout_mask;

/* param [..] +=, m [..] +=, v [..] += <- grad [..], lr f32 [1], clip f32 [1], skip i32 [1],
 *   steps i32 [1], seed i32 [2]
 * Nothing is written when skip != 0. g = grad * clip; p *= 1 - lr * weight_decay;
 * m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr/(1-b1^t) * m / (sqrt(v/(1-b2^t)) + eps),
 * t = steps. (Loshchilov & Hutter 2019, as torch.optim.AdamW.) stochastic = 1: a bf16
 * param, m or v is rounded up or down with probability by distance: 16 random bits from
 * Philox as in attr_random with counter {index / 4, which (0 p, 1 m, 2 v), 0, t}, word
 * index % 4, its high 16 bits added below the bf16 mantissa before truncation. */
#define TRAINER_OP_ADAMW 0x180u
typedef struct trainer_attr_adamw {
  uint32_t beta1_bits;
  uint32_t beta2_bits;
  uint32_t eps_bits;
  uint32_t weight_decay_bits;
  uint32_t stochastic;
  uint32_t site_lo;
  uint32_t site_hi;
  uint32_t reserved;
} trainer_attr_adamw;

/* sumsq f32 [1] <- any number of gradients; the sum of all squares, f64 inside */
#define TRAINER_OP_GLOBAL_NORM 0x190u

/* clip f32 [1], skip i32 [1], steps i32 [1] +=, norm f32 [1], scale f32 [1] +=, growth i32 [1] += <- sumsq f32 [1]
 * norm = sqrt(sumsq) / scale; skip = norm is not finite; clip = skip ? 0 :
 * (max_norm > 0 ? min(1, max_norm / (norm + 1e-6)) : 1) / scale; steps += !skip.
 * interval > 0 (loss scaling): skip halves scale and zeroes growth; else growth += 1 and
 * at interval scale doubles and growth is zeroed. */
#define TRAINER_OP_GUARD 0x1A0u
typedef struct trainer_attr_guard {
  uint32_t max_norm_bits;
  uint32_t interval;
} trainer_attr_guard;

/* y [T,N] <- x [T,N], g f32 [N]; y = x * g, column by column; y may be x */
#define TRAINER_OP_SCALE 0x1B0u
/* dx? [T,N], dg? f32 [N] <- dy [T,N], x? [T,N], g f32 [N]
 * dx = dy * g; dg = sum_t dy * x. x is present where dg is; dx may be dy. */
#define TRAINER_OP_SCALE_GRAD 0x1B1u

/* ---- calls -------------------------------------------------------------- */

/* text ends with NUL also where struct_size leaves less room for it. */
typedef struct trainer_error {
  uint32_t struct_size;
  int32_t status; /* as returned */
  uint64_t list_serial;  /* 0: no list is concerned */
  uint32_t record_index; /* 0xFFFFFFFF: no record is concerned */
  uint32_t reserved;
  char text[512]; /* one sentence, never empty, NUL-terminated UTF-8 */
} trainer_error;

typedef struct trainer_host_info {
  uint32_t struct_size;
  uint32_t abi_major;
  uint32_t abi_minor; /* the highest the host knows */
  uint32_t reserved;
} trainer_host_info;

#define TRAINER_DEVICE_CPU 1u
#define TRAINER_DEVICE_INTEGRATED 2u
#define TRAINER_DEVICE_DISCRETE 3u

#define TRAINER_NUMERICS_IEEE 0u   /* f32 products are f32 */
#define TRAINER_NUMERICS_TF32 1u
#define TRAINER_NUMERICS_BF16X3 2u

#define TRAINER_FLAG_UNIFIED 1u       /* device memory is host-visible */
#define TRAINER_FLAG_DETERMINISTIC 2u /* equal runs give equal bits always */
#define TRAINER_FLAG_FLUSH_DENORMALS 4u
#define TRAINER_FLAG_HOST_SLOTS 8u    /* any slot may be bound to pinned host memory */
#define TRAINER_FLAG_TIMES 16u        /* since minor 3: submit.times is written */

typedef struct trainer_device_info {
  uint32_t struct_size;
  uint32_t device_class; /* TRAINER_DEVICE_* */
  uint32_t flags;        /* TRAINER_FLAG_* */
  uint32_t numerics;     /* TRAINER_NUMERICS_* */
  uint64_t memory_total; /* bytes, above 0 */
  uint64_t memory_free;
  uint64_t buffer_max;      /* largest buffer, bytes, above 0 */
  uint64_t list_bytes_max;  /* 1 MiB or more; a longer list is INVALID */
  uint64_t storage_dtypes;  /* bit 1 << dtype id; F32, BF16, F16, I32 and U8 at least */
  uint64_t compute_dtypes;  /* computed natively, at full speed */
  uint32_t alignment;       /* of operand offsets, bytes, a power of two <= 4096 */
  uint32_t lanes;           /* lanes that really run side by side, >= 1 */
  uint32_t tile_m;          /* preferred multiples of matrix sizes; 0 = none */
  uint32_t tile_n;
  uint32_t tile_k;
  uint32_t threads;         /* of the backend's pool on a CPU; 0 = not applicable */
  char name[128];           /* texts are NUL-terminated UTF-8; a name is not empty */
  char uuid[64];            /* stable identity of the physical device */
  char isa[64];             /* what code path was chosen, for people */
} trainer_device_info;

typedef struct trainer_device_options {
  uint32_t struct_size;
  uint32_t deterministic; /* 1: equal runs must give equal bits */
  uint64_t memory_limit;  /* bytes; 0 = no limit */
  uint32_t threads;       /* 0 = the backend chooses */
  uint32_t reserved;
} trainer_device_options;

#define TRAINER_LEVEL_NONE 0u /* compose it */
#define TRAINER_LEVEL_OK 1u
#define TRAINER_LEVEL_FAST 2u

/* A question: op with these operand dtypes (0 = not asked), weight format, compute. */
typedef struct trainer_op_query {
  uint32_t struct_size;
  uint32_t op;
  uint32_t version;
  uint32_t compute;
  uint32_t dtype;        /* of the main activation operand */
  uint32_t weight_dtype; /* of dense weights, or of what is quantised to or from */
  uint64_t elements;     /* size class: elements of the largest operand; 0 = any */
  trainer_quant_format format;
} trainer_op_query;

/* The answer is binding: what is claimed must run. Equal questions get equal answers. */
typedef struct trainer_op_answer {
  uint32_t struct_size;
  uint32_t level; /* TRAINER_LEVEL_* */
  uint32_t deterministic; /* 0 or 1 */
  uint32_t reserved;
} trainer_op_answer;

#define TRAINER_MEMORY_DEVICE 0u
#define TRAINER_MEMORY_STAGING 1u /* memory of the host: host_pointer is set; usable as a slot. It counts
                                   * against memory_limit and in device_stats on UNIFIED devices only */

typedef struct trainer_buffer_desc {
  uint32_t struct_size;
  uint32_t memory; /* TRAINER_MEMORY_* */
  uint64_t bytes;  /* above 0; what can never be is OOM or INVALID */
} trainer_buffer_desc;

typedef struct trainer_buffer {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t handle;
  void *host_pointer; /* STAGING only: all bytes, to read and to write; owned by the backend until buffer_free */
} trainer_buffer;

/* A range of a buffer, which must lie within it and hold the operands in its slot. */
typedef struct trainer_binding {
  uint64_t buffer;
  uint64_t offset;
  uint64_t bytes;
} trainer_binding;

typedef struct trainer_timeline_point {
  uint64_t timeline;
  uint64_t value;
} trainer_timeline_point;

typedef struct trainer_list_report {
  uint32_t struct_size;
  uint32_t bad_record;     /* the first that is wrong; trainer_error names it and the list; 0xFFFFFFFF: none */
  uint64_t workspace_bytes; /* to bind at submit or plan_create; 0 = none */
  uint64_t plan_bytes;      /* what plan_create would keep */
} trainer_list_report;

/* Runs a list, or a plan with its frozen list and bindings. bindings has one entry a
 * slot. params: params_bytes of the list, copied before the call returns, of a plan too.
 * Submits to one queue run in order. Work starts when every wait is reached, though the
 * signal may be submitted later; then each signal's timeline is set to its value, which must
 * be higher than what it has and than what was submitted before, else INVALID. Bindings,
 * params or a workspace that do not fit the list are INVALID, too. A failure, of the work or
 * of what it waits for, marks the signalled timelines failed.
 * times (since minor 3, and only where the device says TIMES; NULL: not wanted) has room for
 * record_count + 1 nanoseconds since any moment: times[0] when the waits are over and the list
 * begins, times[i + 1] when record i is done. All are written before the signals, unless the
 * work fails. Records then run one after the other in list order, those of other lanes too, so
 * that the differences add up to the time of the list. */
typedef struct trainer_submit {
  uint32_t struct_size;
  uint32_t binding_count;
  uint32_t wait_count;
  uint32_t signal_count;
  uint64_t plan; /* 0: list, bindings and workspace are given here */
  const trainer_list *list;
  const trainer_binding *bindings;
  trainer_binding workspace;
  const void *params;
  uint64_t params_bytes;
  const trainer_timeline_point *waits;
  const trainer_timeline_point *signals;
  uint64_t *times; /* lives until the signals are reached or failed */
} trainer_submit;

/* A plan gives the bits of its list, every time. What submit would refuse of the list, the
 * bindings and the workspace, plan_create refuses. */
typedef struct trainer_plan_desc {
  uint32_t struct_size;
  uint32_t binding_count;
  const trainer_list *list;
  const trainer_binding *bindings;
  trainer_binding workspace;
} trainer_plan_desc;

typedef struct trainer_plan {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t handle;
  uint64_t bytes; /* memory the plan keeps beyond its bindings */
} trainer_plan;

/* Every device has both; a TRANSFER queue runs copies at least. */
#define TRAINER_QUEUE_COMPUTE 0u
#define TRAINER_QUEUE_TRANSFER 1u

typedef struct trainer_device_stats {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t memory_used; /* obtained through this border: buffers, plans, workspaces; less when they end */
  uint64_t memory_peak;
} trainer_device_stats;

/* The table. Required entries are never NULL; optional ones may be. The host calls
 * shutdown once, last; it is never unloaded. */
typedef struct trainer_backend_table {
  uint32_t struct_size;
  uint32_t reserved;
  /* required */
  /* Ends the backend with every device that is open, soon. */
  int32_t (*shutdown)(trainer_error *error);
  /* Cheap, and opens nothing. A device from the count on is INVALID. */
  int32_t (*device_count)(uint32_t *count, trainer_error *error);
  int32_t (*device_info)(uint32_t index, trainer_device_info *info, trainer_error *error);
  /* A device may be open several times at once, and again after it was closed; each opening
   * is a device of its own. What is slow belongs here: open_seconds of the manifest, 10 where
   * it says none, at most 120. */
  int32_t (*device_open)(uint32_t index, const trainer_device_options *options, uint64_t *device, trainer_error *error);
  /* Ends everything the device still owns, within seconds: work that has not begun is cancelled. */
  int32_t (*device_close)(uint64_t device, trainer_error *error);
  int32_t (*query_ops)(uint64_t device, const trainer_op_query *queries, uint32_t count, trainer_op_answer *answers, trainer_error *error);
  /* Buffers begin zeroed and never overlap. Buffers and plans that submitted work uses live
   * until it ends, whoever frees them before. */
  int32_t (*buffer_alloc)(uint64_t device, const trainer_buffer_desc *desc, trainer_buffer *buffer, trainer_error *error);
  int32_t (*buffer_free)(uint64_t device, uint64_t buffer, trainer_error *error);
  int32_t (*queue_create)(uint64_t device, uint32_t kind, uint64_t *queue, trainer_error *error);
  /* Cancels what has not begun, as a failure of it, and waits for what has. */
  int32_t (*queue_destroy)(uint64_t device, uint64_t queue, trainer_error *error);
  /* Answers OK, INVALID, UNSUPPORTED or OOM, and fills the report whatever it answers. What it
   * accepts can be submitted, and ends. */
  int32_t (*list_check)(uint64_t device, const trainer_list *list, trainer_list_report *report, trainer_error *error);
  /* Returns at once: never waits for room in the queue, nor for work. */
  int32_t (*submit)(uint64_t device, uint64_t queue, const trainer_submit *submit, trainer_error *error);
  /* A timeline begins at value and only grows. Once failed, it answers read, and wait for what
   * it has not reached, with the failure's status, sentence, list and record, for good. */
  int32_t (*timeline_create)(uint64_t device, uint64_t value, uint64_t *timeline, trainer_error *error);
  /* Whoever waits for it is woken with STALE. */
  int32_t (*timeline_destroy)(uint64_t device, uint64_t timeline, trainer_error *error);
  int32_t (*timeline_read)(uint64_t device, uint64_t timeline, uint64_t *value, trainer_error *error);
  /* OK at once where value is reached; TIMEOUT after timeout_ns, not much later: 0 looks only,
   * 2^64 - 1 waits for ever. Stops no other call. */
  int32_t (*timeline_wait)(uint64_t device, uint64_t timeline, uint64_t value, uint64_t timeout_ns, trainer_error *error);
  /* optional */
  int32_t (*device_stats)(uint64_t device, trainer_device_stats *stats, trainer_error *error);
  int32_t (*plan_create)(uint64_t device, const trainer_plan_desc *desc, trainer_plan *plan, trainer_error *error);
  int32_t (*plan_destroy)(uint64_t device, uint64_t plan, trainer_error *error);
  int32_t (*buffer_import)(uint64_t device, void *host, uint64_t bytes, trainer_buffer *buffer, trainer_error *error);
  /* Writes at most bytes of text from *cursor on and moves it. */
  int32_t (*log_read)(uint64_t *cursor, char *text, uint64_t bytes, trainer_error *error);
  /* UNSUPPORTED, and the table untouched, where the id is not known. */
  int32_t (*get_extension)(uint64_t id, uint64_t bytes, void *table, trainer_error *error);
  /* optional, since minor 2: from now on the queue adds to *counter, atomically, one for
   * every record it has completed; a backend that does not see single records adds all of
   * a list when the list has ended. The counter lives until queue_destroy. By it the host
   * tells a queue that works from one that hangs, and names the record of a crash. */
  int32_t (*queue_progress)(uint64_t device, uint64_t queue, uint64_t *counter, trainer_error *error);
} trainer_backend_table;

/* A host of another major is refused, with the reason. */
typedef struct trainer_reply {
  uint32_t struct_size;
  uint32_t abi_major;
  uint32_t abi_minor; /* chosen: at most the host's */
  uint32_t reserved;
  const trainer_backend_table *table; /* in static storage of the backend */
  trainer_error error;                /* why not, if the status is not OK */
} trainer_reply;

#if defined(_WIN32)
#define TRAINER_EXPORT __declspec(dllexport)
#else
#define TRAINER_EXPORT __attribute__((visibility("default")))
#endif

TRAINER_EXPORT int32_t trainer_backend_query_v1(const trainer_host_info *host, trainer_reply *reply);
TRAINER_EXPORT extern const char trainer_backend_manifest[];

#ifdef __cplusplus
}
#endif
#endif
