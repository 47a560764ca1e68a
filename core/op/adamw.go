package op

import (
	"math"

	"trainer/core/abi"
)

// AdamW is the attribute of OpAdamw. Site names the parameter for stochastic rounding.
type AdamW struct {
	Beta1, Beta2, Eps, WeightDecay float64
	Stochastic                     bool
	Site                           Site
}

// Bytes encodes the attribute.
func (a AdamW) Bytes() []byte {
	stochastic := uint32(0)
	if a.Stochastic {
		stochastic = 1
	}
	return abi.AttrBytes(abi.AttrAdamw{
		Beta1Bits: f32(a.Beta1), Beta2Bits: f32(a.Beta2), EpsBits: f32(a.Eps), WeightDecayBits: f32(a.WeightDecay),
		Stochastic: stochastic, SiteLo: uint32(a.Site), SiteHi: uint32(a.Site >> 32),
	})
}

// Guarded is the device state that decides about a step: what guard writes and the
// optimizers read.
type Guarded struct {
	Clip   *Value // f32 [1], factor on gradients
	Skip   *Value // i32 [1], not 0: the step is not taken
	Steps  *Value // i32 [1], steps really taken
	Norm   *Value // f32 [1], gradient norm before clipping
	Scale  *Value // f32 [1], loss scale
	Growth *Value // i32 [1], steps since the scale last changed
}

// AdamW emits one parameter's update; param, m, v are states.
func (b *Builder) AdamW(a AdamW, param, m, v, grad, lr, seed *Value, g Guarded) {
	b.Node(abi.OpAdamw, a, vals(param, m, v), vals(grad, lr, g.Clip, g.Skip, g.Steps, seed))
}

func composeAdamW(b *Builder, n *Node) {
	a, param, m, v := n.Attr.(AdamW), n.Out[0], n.Out[1], n.Out[2]
	grad, lr, clip, skip, steps, seed := n.In[0], n.In[1], n.In[2], n.In[3], n.In[4], n.In[5]
	newParam, newM, newV := b.adamwStep(a, param, m, v, grad, lr, clip, steps)
	b.settle(Rounding{a.Stochastic, a.Site}, skip, steps, seed, [2]*Value{param, newParam}, [2]*Value{m, newM}, [2]*Value{v, newV})
}

// adamwStep is what a step makes of a parameter and its moments.
func (b *Builder) adamwStep(a AdamW, param, m, v, grad, lr, clip, steps *Value) (newParam, newM, newV *Value) {
	beta1, beta2 := float64(float32(a.Beta1)), float64(float32(a.Beta2))
	t := b.cast(abi.F32, steps)
	g := b.times(grad, clip)
	newM = b.plus(b.affine(m, beta1, 0), b.affine(g, 1-beta1, 0))
	newV = b.plus(b.affine(v, beta2, 0), b.affine(b.times(g, g), 1-beta2, 0))
	root := b.apply(abi.UnarySqrt, b.over(newV, b.oneMinusPower(beta2, t)))
	step := b.over(b.times(newM, b.over(lr, b.oneMinusPower(beta1, t))), b.affine(root, 1, a.Eps))
	return b.minus(b.times(param, b.affine(lr, -a.WeightDecay, 1)), step), newM, newV
}

// oneMinusPower is 1 - beta^t = 2 h / (1 + h) with h = tanh(-t ln(beta) / 2): in f32 the
// plain difference loses up to four digits in the first steps.
func (b *Builder) oneMinusPower(beta float64, t *Value) *Value {
	h := b.apply(abi.UnaryTanh, b.affine(t, -math.Log(beta)/2, 0))
	return b.over(b.affine(h, 2, 0), b.affine(h, 1, 1))
}

// noise is the 16 random bits of each element over 2^16, in [0,1).
func (b *Builder) noise(shape []int64, site Site, which int, steps, seed *Value) *Value {
	drawn := b.temp(shape...)
	d := Draw{Samples: b.integer(0), Positions: b.integer(int32(which)), Seed: seed, Step: steps}
	b.Random(drawn.Reshape(1, drawn.Count()), site, d)
	return b.affine(b.apply(abi.UnaryFloor, b.affine(drawn, 0x1p16, 0)), 0x1p-16, 0)
}

// stochasticBF16 rounds x to bf16, away from zero where the part of x that bf16 drops
// plus noise reaches a unit of bf16. This is what adding noise to the bits and cutting
// them off does; every step is exact. Infinities and NaN stay.
func (b *Builder) stochasticBF16(x, noise *Value) *Value {
	size := b.apply(abi.UnaryAbs, x)
	unit := b.unit(size)
	places := b.affine(b.over(size, unit), 0x1p7, 0) // bf16 keeps 7 bits behind the point
	whole := b.apply(abi.UnaryFloor, b.plus(places, noise))
	size = b.times(b.affine(whole, 0x1p-7, 0), unit)
	signed := b.choose(b.combine(abi.BinaryLt, x, b.scalar(0)), b.apply(abi.UnaryNeg, size), size)
	return b.choose(b.apply(abi.UnaryIsFinite, x), signed, x)
}

// unit is the largest power of two up to finite x >= 0, and 2^-126 where x is below that.
// With q = (2^23 + 1) x, q less q (1 - 2^-24) is that power by the rounding of f32 (Rump
// 2009); x is first moved away from the ends of f32's range.
func (b *Builder) unit(x *Value) *Value {
	large := b.combine(abi.BinaryLe, b.scalar(1), x)
	there, back := b.choose(large, b.scalar(0x1p-32), b.scalar(0x1p32)), b.choose(large, b.scalar(0x1p32), b.scalar(0x1p-32))
	q := b.affine(b.times(x, there), 0x1p23+1, 0)
	power := b.minus(q, b.affine(q, 1-0x1p-24, 0))
	return b.combine(abi.BinaryMax, b.times(power, back), b.scalar(0x1p-126))
}
