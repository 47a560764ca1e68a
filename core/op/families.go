package op

import "trainer/core/abi"

// The list of ops. A kernel family is one word, and that word is the file name in
// core/op, core/reference, core/conformance and plugins/*/kernels.
var all = []*Family{
	{Op: abi.OpCopy, Name: "copy", Backward: backwardCast},
	{Op: abi.OpFill, Name: "fill"},
	{Op: abi.OpCast, Name: "cast", Backward: backwardCast},
	{Op: abi.OpUnary, Name: "unary", InPlace: [][2]int{{0, 0}}},
	{Op: abi.OpBinary, Name: "binary", Backward: backwardBinary, InPlace: [][2]int{{0, 0}, {0, 1}}},
	{Op: abi.OpSelect, Name: "select"},
	{Op: abi.OpReduce, Name: "reduce", Backward: backwardReduce},
	{Op: abi.OpGather, Name: "gather", Backward: backwardGather},
	{Op: abi.OpScatterAdd, Name: "scatter_add"},
	{Op: abi.OpMatmul, Name: "matmul", Backward: backwardMatMul, Dear: true, FLOPs: flopsMatMul},
	{Op: abi.OpRandom, Name: "random"},
	{Op: abi.OpUnpack, Name: "unpack"},
	{Op: abi.OpPack, Name: "pack"},
	{Op: abi.OpIota, Name: "iota"},
	{Op: abi.OpQuantise, Name: "quantise", Tier: 1, Compose: composeQuantise},
	{Op: abi.OpDequantise, Name: "dequantise", Tier: 1, Compose: composeDequantise},
	{Op: abi.OpLinear, Name: "linear", Tier: 1, Backward: backwardLinear, Compose: composeLinear, Dear: true, FLOPs: flopsLinear},
	{Op: abi.OpLinearGradInput, Name: "linear_grad_input", Tier: 1, Compose: composeLinearGradInput, FLOPs: flopsLinearGradInput},
	{Op: abi.OpLinearGradWeight, Name: "linear_grad_weight", Tier: 1, Compose: composeLinearGradWeight, FLOPs: flopsLinearGradWeight},
	{Op: abi.OpLinearGradAdapter, Name: "linear_grad_adapter", Tier: 1, Compose: composeLinearGradAdapter, FLOPs: flopsLinearGradAdapter},
	{Op: abi.OpRmsnorm, Name: "rmsnorm", Tier: 1, Backward: backwardRMSNorm, Compose: composeRMSNorm},
	{Op: abi.OpRmsnormGrad, Name: "rmsnorm_grad", Tier: 1, Compose: composeRMSNormGrad},
	{Op: abi.OpRope, Name: "rope", Tier: 1, Backward: backwardRoPE, Compose: composeRoPE, InPlace: [][2]int{{0, 0}}},
	{Op: abi.OpSwiglu, Name: "swiglu", Tier: 1, Backward: backwardSwiGLU, Compose: composeSwiGLU},
	{Op: abi.OpSwigluGrad, Name: "swiglu_grad", Tier: 1, Compose: composeSwiGLUGrad, InPlace: [][2]int{{0, 1}, {1, 2}}},
	{Op: abi.OpAttention, Name: "attention", Tier: 1, Backward: backwardAttention, Compose: composeAttention, Dear: true, FLOPs: flopsAttention},
	{Op: abi.OpAttentionGrad, Name: "attention_grad", Tier: 1, Compose: composeAttentionGrad, FLOPs: flopsAttentionGrad},
	{Op: abi.OpLinearCrossEntropy, Name: "linear_cross_entropy", Tier: 1, Compose: composeLinearCrossEntropy, FLOPs: flopsLinearCrossEntropy},
	{Op: abi.OpDropoutMask, Name: "dropout_mask", Tier: 1, Compose: composeDropoutMask},
	{Op: abi.OpAdamw, Name: "adamw", Tier: 1, Compose: composeAdamW},
	{Op: abi.OpGlobalNorm, Name: "global_norm", Tier: 1, Compose: composeGlobalNorm},
	{Op: abi.OpGuard, Name: "guard", Tier: 1, Compose: composeGuard},
	{Op: abi.OpScale, Name: "scale", Tier: 1, Backward: backwardScale, Compose: composeScale, InPlace: [][2]int{{0, 0}}},
	{Op: abi.OpScaleGrad, Name: "scale_grad", Tier: 1, Compose: composeScaleGrad, InPlace: [][2]int{{0, 0}}},
}
