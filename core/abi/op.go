package abi

import "fmt"

// Op is the id of an op. Ids are never reused; those from 0x80000000 on are vendors'.
type Op uint32

// The ops of the header.
const (
	OpCopy               Op = 1
	OpFill               Op = 2
	OpCast               Op = 3
	OpUnary              Op = 4
	OpBinary             Op = 5
	OpSelect             Op = 6
	OpReduce             Op = 7
	OpGather             Op = 8
	OpScatterAdd         Op = 9
	OpMatmul             Op = 10
	OpRandom             Op = 11
	OpUnpack             Op = 12
	OpPack               Op = 13
	OpIota               Op = 14
	OpQuantise           Op = 0x100
	OpDequantise         Op = 0x101
	OpLinear             Op = 0x110
	OpLinearGradInput    Op = 0x111
	OpLinearGradWeight   Op = 0x112
	OpLinearGradAdapter  Op = 0x113
	OpRmsnorm            Op = 0x120
	OpRmsnormGrad        Op = 0x121
	OpRope               Op = 0x130
	OpSwiglu             Op = 0x140
	OpSwigluGrad         Op = 0x141
	OpAttention          Op = 0x150
	OpAttentionGrad      Op = 0x151
	OpLinearCrossEntropy Op = 0x160
	OpDropoutMask        Op = 0x170
	OpAdamw              Op = 0x180
	OpGlobalNorm         Op = 0x190
	OpGuard              Op = 0x1A0
	OpScale              Op = 0x1B0
	OpScaleGrad          Op = 0x1B1
)

var opNames = map[Op]string{
	OpCopy:               "copy",
	OpFill:               "fill",
	OpCast:               "cast",
	OpUnary:              "unary",
	OpBinary:             "binary",
	OpSelect:             "select",
	OpReduce:             "reduce",
	OpGather:             "gather",
	OpScatterAdd:         "scatter_add",
	OpMatmul:             "matmul",
	OpRandom:             "random",
	OpUnpack:             "unpack",
	OpPack:               "pack",
	OpIota:               "iota",
	OpQuantise:           "quantise",
	OpDequantise:         "dequantise",
	OpLinear:             "linear",
	OpLinearGradInput:    "linear_grad_input",
	OpLinearGradWeight:   "linear_grad_weight",
	OpLinearGradAdapter:  "linear_grad_adapter",
	OpRmsnorm:            "rmsnorm",
	OpRmsnormGrad:        "rmsnorm_grad",
	OpRope:               "rope",
	OpSwiglu:             "swiglu",
	OpSwigluGrad:         "swiglu_grad",
	OpAttention:          "attention",
	OpAttentionGrad:      "attention_grad",
	OpLinearCrossEntropy: "linear_cross_entropy",
	OpDropoutMask:        "dropout_mask",
	OpAdamw:              "adamw",
	OpGlobalNorm:         "global_norm",
	OpGuard:              "guard",
	OpScale:              "scale",
	OpScaleGrad:          "scale_grad",
}

// String is the op's name in the header, in lower case.
func (o Op) String() string {
	if n, ok := opNames[o]; ok {
		return n
	}
	return fmt.Sprintf("op %#x", uint32(o))
}

// Codes of OpUnary.
const (
	UnaryNeg        uint32 = 1
	UnaryExp        uint32 = 2
	UnaryLog        uint32 = 3
	UnarySqrt       uint32 = 4
	UnaryRsqrt      uint32 = 5
	UnaryTanh       uint32 = 6
	UnarySigmoid    uint32 = 7
	UnaryAbs        uint32 = 8
	UnaryReciprocal uint32 = 9
	UnarySin        uint32 = 10
	UnaryCos        uint32 = 11
	UnaryFloor      uint32 = 12
	UnaryIsFinite   uint32 = 13 // 1 or 0
	UnaryAffine     uint32 = 14 // src * alpha + beta
	UnaryRound      uint32 = 15 // to nearest even
)

// Codes of OpBinary.
const (
	BinaryAdd uint32 = 1
	BinarySub uint32 = 2
	BinaryMul uint32 = 3
	BinaryDiv uint32 = 4
	BinaryMax uint32 = 5
	BinaryMin uint32 = 6
	BinaryLt  uint32 = 7 // comparisons: 1 or 0 in dst's dtype
	BinaryLe  uint32 = 8
	BinaryEq  uint32 = 9
	BinaryPow uint32 = 10
)

// Codes of OpReduce.
const (
	ReduceSum uint32 = 1
	ReduceMax uint32 = 2
)

// Weight formats.
const (
	FormatDense  uint32 = 0 // data [out, in] of any float dtype
	FormatNF4    uint32 = 1 // 4-bit NormalFloat (QLoRA, bitsandbytes)
	FormatFP4    uint32 = 2 // bitsandbytes' 4-bit float
	FormatAffine uint32 = 3 // HQQ: (code - zero) * scale
	FormatInt8   uint32 = 4 // rows of int8: code * scale
	FormatFP8    uint32 = 5
	FormatBiased uint32 = 6 // MLX: code * scale + zero
)

// The operands of a weight, in order.
const (
	WeightData       = 0
	WeightScale      = 1
	WeightZero       = 2
	WeightScaleScale = 3
	WeightScaleZero  = 4
	WeightZeroScale  = 5
	WeightZeroZero   = 6
	WeightCode       = 7
	WeightOperands   = 8
)
