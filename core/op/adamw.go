package op

import "trainer/core/abi"

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
