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

// composedRows is how many rows a composition takes at a time where it may choose.
const composedRows = 256

func composeLinearCrossEntropy(b *Builder, n *Node) {
	a, h, labels := n.Attr.(LinearCrossEntropy), n.In[0], n.In[1]
	loss, dh, dw := n.Out[0], n.Out[1], n.Out[2]
	w := b.dense(n.In[3:], a.Format, a.Out, a.In)
	rows, chunk := h.Shape[0], a.Chunk
	if chunk <= 0 {
		chunk = composedRows
	}
	losses := b.temp(rows)
	for from := int64(0); from < rows; from += chunk {
		to := min(from+chunk, rows)
		part := func(v *Value) *Value { return v.Slice(0, from, to) }
		g := b.rowLosses(part(losses), b.product(part(h), transposed(w), 1, a.Compute), part(labels), n.In[2])
		if dh != nil {
			b.Cast(part(dh), b.product(g, w, 1, a.Compute))
		}
		if dw != nil {
			b.addProduct(dw, transposed(g), part(h), 1, a.Compute)
		}
	}
	b.Reduce(abi.ReduceSum, loss, losses)
}

// rowLosses emits losses [R] = lse - logit[label], 0 where label < 0, and is their gradient
// scale * (softmax - onehot) with respect to the logits [R,N].
func (b *Builder) rowLosses(losses, logits, labels, scale *Value) *Value {
	rows, classes := logits.Shape[0], logits.Shape[1]
	label := labels.Split(0, rows, 1)
	labelled := b.combine(abi.BinaryLe, b.integer(0), label)
	onehot := b.combine(abi.BinaryEq, b.iota(1, 1, classes), label)
	most := b.reduce(abi.ReduceMax, logits, 1)
	lse := b.plus(most, b.apply(abi.UnaryLog, b.reduce(abi.ReduceSum, b.apply(abi.UnaryExp, b.minus(logits, most)), 1)))
	zero := b.scalar(0)
	picked := b.reduce(abi.ReduceSum, b.choose(onehot, logits, zero), 1)
	b.Select(losses.Split(0, rows, 1), labelled, b.minus(lse, picked), zero)
	p := b.apply(abi.UnaryExp, b.minus(logits, lse))
	return b.choose(labelled, b.times(b.minus(p, b.cast(abi.F32, onehot)), scale), zero)
}
