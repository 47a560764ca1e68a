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
