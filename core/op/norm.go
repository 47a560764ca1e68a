package op

import "trainer/core/abi"

// GlobalNorm makes f32 [1], the sum of squares over all gradients.
func (b *Builder) GlobalNorm(grads []*Value) *Value {
	sumsq := b.Fixed("sumsq", abi.F32, 1)
	b.Node(abi.OpGlobalNorm, nil, vals(sumsq), grads)
	return sumsq
}

// Guard is the attribute of OpGuard: clipping to MaxNorm (0 = none) and, with Interval
// > 0, dynamic loss scaling.
type Guard struct {
	MaxNorm  float64
	Interval int64
}

// Bytes encodes the attribute.
func (a Guard) Bytes() []byte {
	return abi.AttrBytes(abi.AttrGuard{MaxNormBits: f32(a.MaxNorm), Interval: uint32(a.Interval)})
}

// Guard emits the decision about a step from the sum of squared gradients.
func (b *Builder) Guard(a Guard, g Guarded, sumsq *Value) {
	b.Node(abi.OpGuard, a, vals(g.Clip, g.Skip, g.Steps, g.Norm, g.Scale, g.Growth), vals(sumsq))
}

// composeGlobalNorm sums in f32, where the op does in f64: it is less exact, and infinite
// from a sum of squares of 2^128 on.
func composeGlobalNorm(b *Builder, n *Node) {
	terms := vals(b.scalar(0))
	for _, grad := range n.In {
		total := b.times(grad, grad)
		for dim := range grad.Shape {
			total = b.reduce(abi.ReduceSum, total, dim)
		}
		terms = append(terms, total.Reshape(1))
	}
	b.sum(n.Out[0], terms...)
}

func composeGuard(b *Builder, n *Node) {
	a, scale := n.Attr.(Guard), n.Out[4]
	g := Guarded{Clip: n.Out[0], Skip: n.Out[1], Steps: n.Out[2], Norm: n.Out[3], Scale: scale, Growth: n.Out[5]}
	b.Binary(abi.BinaryDiv, g.Norm, b.apply(abi.UnarySqrt, n.In[0]), scale)
	taken := b.cast(abi.I32, b.apply(abi.UnaryIsFinite, g.Norm))
	b.Binary(abi.BinarySub, g.Skip, b.integer(1), taken)
	b.Binary(abi.BinaryAdd, g.Steps, g.Steps, taken)
	factor := b.scalar(1)
	if a.MaxNorm > 0 {
		factor = b.combine(abi.BinaryMin, factor, b.over(b.scalar(a.MaxNorm), b.affine(g.Norm, 1, 1e-6)))
	}
	b.Select(g.Clip, taken, b.over(factor, scale), b.scalar(0))
	if a.Interval > 0 {
		b.rescale(a, g, taken)
	}
}

// rescale halves the loss scale after an overflow and doubles it after Interval good steps.
func (b *Builder) rescale(a Guard, g Guarded, taken *Value) {
	grown := b.plus(g.Growth, b.integer(1))
	due := b.combine(abi.BinaryLe, b.integer(int32(a.Interval)), grown)
	raised := b.choose(due, b.affine(g.Scale, 2, 0), g.Scale)
	b.Select(g.Scale, taken, raised, b.affine(g.Scale, 0.5, 0))
	zero := b.integer(0)
	b.Select(g.Growth, taken, b.choose(due, zero, grown), zero)
}
