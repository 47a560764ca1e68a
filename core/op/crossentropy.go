package op

import "trainer/core/abi"

// LinearCrossEntropy is the attribute of OpLinearCrossEntropy.
type LinearCrossEntropy struct {
	Compute abi.DType
	Chunk   int64 // rows at a time; 0 = the backend chooses
	Out, In int64
	Format  abi.QuantFormat
}

// Bytes encodes the attribute.
func (a LinearCrossEntropy) Bytes() []byte {
	return abi.AttrBytes(abi.AttrLinearCrossEntropy{Compute: uint32(a.Compute), Chunk: uint32(a.Chunk), OutFeatures: a.Out, InFeatures: a.In, Format: a.Format})
}

// WithCompute implements the precision pass's setting.
func (a LinearCrossEntropy) WithCompute(d abi.DType) Attr { a.Compute = orElse(a.Compute, d); return a }

// LinearCrossEntropy computes the summed loss f32 [1] of rows h [R,K] under a head, and
// at once the gradients that are wanted: dh [R,K] (may be nil) and the head's
// accumulator dw (may be nil), both times gradScale f32 [1].
func (b *Builder) LinearCrossEntropy(loss, dh, dw, h, labels, gradScale *Value, head *Weight) {
	a := LinearCrossEntropy{Out: head.Out, In: head.In, Format: head.Format}
	in := append(vals(h, labels, gradScale), head.Operands[:]...)
	b.Node(abi.OpLinearCrossEntropy, a, vals(loss, dh, dw), in)
}
