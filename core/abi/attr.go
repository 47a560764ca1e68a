package abi

import (
	"bytes"
	"encoding/binary"
)

// QuantFormat mirrors trainer_quant_format.
type QuantFormat struct {
	Format      uint32 // TRAINER_FORMAT_*
	Bits        uint32 // bits per code
	Group       uint32 // elements per scale
	Interleaved uint32 // 1: a group is elements n/group apart
	CodeLayout  uint32 // 0: nibbles, high one first; 1: a stream of bits, lowest first
	ScaleDType  uint32 // dtype of the scale operand: F32, or U8 when nested
	ZeroDType   uint32 // dtype of the zero operand: F32, U8 when nested; 0 none
	NestedGroup uint32 // scales per second-level scale (NF4: 256, HQQ: 128); 0 = one level
}

// AttrFill mirrors trainer_attr_fill.
type AttrFill struct {
	ValueBits uint32
	Reserved  uint32
}

// AttrUnary mirrors trainer_attr_unary.
type AttrUnary struct {
	Code      uint32
	AlphaBits uint32 // AFFINE only
	BetaBits  uint32
	Reserved  uint32
}

// AttrBinary mirrors trainer_attr_binary.
type AttrBinary struct {
	Code     uint32
	Reserved uint32
}

// AttrReduce mirrors trainer_attr_reduce.
type AttrReduce struct {
	Code     uint32
	Reserved uint32
}

// AttrMatmul mirrors trainer_attr_matmul.
type AttrMatmul struct {
	AlphaBits uint32
	BetaBits  uint32 // 0: d is not read
	Compute   uint32
	Reserved  uint32
}

// AttrRandom mirrors trainer_attr_random.
type AttrRandom struct {
	SiteLo uint32 // FNV-1a 64 of "purpose/name"
	SiteHi uint32
}

// AttrBits mirrors trainer_attr_bits.
type AttrBits struct {
	Bits  uint32 // order 0: 1, 2, 4 or 8; order 1: 1 to 8
	Order uint32 // 0: first element in the high bits; 1: in the low bits
}

// AttrIota mirrors trainer_attr_iota.
type AttrIota struct {
	Dim      uint32
	Reserved uint32
}

// AttrQuant mirrors trainer_attr_quant.
type AttrQuant struct {
	Format QuantFormat
	Rows   int64 // out
	Cols   int64 // in
}

// AttrLinear mirrors trainer_attr_linear.
type AttrLinear struct {
	NProjections  uint32
	Compute       uint32
	KeepScaleBits uint32 // 1 / (1 - p); used only with a mask
	Fresh         uint32 // linear_grad_weight: outputs are set, not added to
}

// Projection mirrors trainer_projection.
type Projection struct {
	OutFeatures int64  // N_p
	InFeatures  int64  // K
	Rank        uint32 // r_p; 0 = no adapter
	ScaleBits   uint32 // alpha / r
	Format      QuantFormat
}

// AttrRmsnorm mirrors trainer_attr_rmsnorm.
type AttrRmsnorm struct {
	EpsBits  uint32
	Reserved uint32
}

// AttrRope mirrors trainer_attr_rope.
type AttrRope struct {
	Heads     uint32 // rotated heads; heads behind them pass through
	RotaryDim uint32 // R, even, <= D
	ScaleBits uint32 // attention scaling of the table, usually 1
	Inverse   uint32 // 1 in the backward pass
}

// AttrAttention mirrors trainer_attr_attention.
type AttrAttention struct {
	ScaleBits uint32 // usually 1/sqrt(D)
	Causal    uint32
	Window    uint32 // 0 = none
	Compute   uint32 // of the two products
}

// AttrLinearCrossEntropy mirrors trainer_attr_linear_cross_entropy.
type AttrLinearCrossEntropy struct {
	Compute     uint32
	Chunk       uint32 // rows at a time; 0 = the backend chooses
	OutFeatures int64
	InFeatures  int64
	Format      QuantFormat
}

// AttrDropoutMask mirrors trainer_attr_dropout_mask.
type AttrDropoutMask struct {
	SiteLo        uint32
	SiteHi        uint32
	PBits         uint32
	KeepScaleBits uint32
	Features      int64 // K
}

// AttrAdamw mirrors trainer_attr_adamw.
type AttrAdamw struct {
	Beta1Bits       uint32
	Beta2Bits       uint32
	EpsBits         uint32
	WeightDecayBits uint32
	Stochastic      uint32
	SiteLo          uint32
	SiteHi          uint32
	Reserved        uint32
}

// AttrGuard mirrors trainer_attr_guard.
type AttrGuard struct {
	MaxNormBits uint32
	Interval    uint32
}

// AttrBytes is an attribute struct as it stands in a record.
func AttrBytes[T any](v T) []byte {
	var b bytes.Buffer
	// Attribute structs are fixed-size integers without implicit padding: this cannot fail.
	_ = binary.Write(&b, binary.LittleEndian, v)
	return b.Bytes()
}
