package reference

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
)

// Query 0 sees no key, query 1 one, query 2 two: weights by hand.
func TestAttentionByHand(t *testing.T) {
	q, k, v := value(op.Input, abi.F32, 1, 3, 1, 1), value(op.Input, abi.F32, 1, 3, 1, 1), value(op.Input, abi.F32, 1, 3, 1, 1)
	o, lse, offset := value(op.Output, abi.F32, 1, 3, 1, 1), value(op.Output, abi.F32, 1, 1, 3), value(op.Input, abi.I32, 1)
	data := map[*op.Value][]float64{q: {1, 1, 2}, k: {1, 3, 5}, v: {10, 20, 40}, offset: {-1}}
	m := run(t, false, data, func(b *op.Builder) {
		b.Node(abi.OpAttention, op.Attention{Scale: 0.5, Causal: true}, []*op.Value{o, lse}, []*op.Value{q, k, v, nil, nil, offset})
	})
	second := math.Exp(3) / (math.Exp(1) + math.Exp(3))
	require.InDeltaSlice(t, []float64{0, 10, 10 + 10*second}, m.Get(o), 1e-12)
	require.Equal(t, math.Inf(-1), m.Get(lse)[0])
	require.InDeltaSlice(t, []float64{0.5, math.Log(math.Exp(1) + math.Exp(3))}, m.Get(lse)[1:], 1e-12)
}

// In the first step the corrected moments are the gradient and its square.
func TestAdamWByHand(t *testing.T) {
	one := func(kind op.Kind, dtype abi.DType) *op.Value { return value(kind, dtype, 1) }
	p, mom, v := one(op.State, abi.F32), one(op.State, abi.F32), one(op.State, abi.F32)
	g := op.Guarded{Clip: one(op.State, abi.F32), Skip: one(op.State, abi.I32), Steps: one(op.State, abi.I32)}
	grad, lr, seed := one(op.Input, abi.F32), one(op.Input, abi.F32), value(op.Input, abi.I32, 2)
	for skip, want := range []float64{3*(1-0.125*0.5) - 0.125*2/(2+0.25), 3} {
		data := map[*op.Value][]float64{p: {3}, mom: {0}, v: {0}, g.Clip: {0.5}, g.Skip: {float64(skip)}, g.Steps: {1}, grad: {4}, lr: {0.125}, seed: {0, 0}}
		m := run(t, false, data, func(b *op.Builder) {
			b.AdamW(op.AdamW{Beta1: 0.5, Beta2: 0.75, Eps: 0.25, WeightDecay: 0.5}, p, mom, v, grad, lr, seed, g)
		})
		require.InDelta(t, want, m.Get(p)[0], 1e-12)
		require.Equal(t, []float64{1 - float64(skip), 1 - float64(skip)}, []float64{m.Get(mom)[0], m.Get(v)[0]})
	}
}

// Loss scaling: an overflow skips the step and halves the scale, good steps double it.
func TestGuardByHand(t *testing.T) {
	float := func() *op.Value { return value(op.State, abi.F32, 1) }
	integer := func() *op.Value { return value(op.State, abi.I32, 1) }
	g := op.Guarded{Clip: float(), Skip: integer(), Steps: integer(), Norm: float(), Scale: float(), Growth: integer()}
	sumsq := value(op.Input, abi.F32, 1)
	b := op.NewBuilder()
	b.Guard(op.Guard{MaxNorm: 1, Interval: 2}, g, sumsq)
	m := New()
	for v, x := range map[*op.Value]float64{g.Clip: 0, g.Skip: 0, g.Steps: 5, g.Norm: 0, g.Scale: 8, g.Growth: 0} {
		m.Set(v, []float64{x})
	}
	steps := []struct{ sumsq, clip, skip, steps, norm, scale, growth float64 }{
		{16, 1. / 8, 0, 6, 0.5, 8, 1},
		{1024, 1 / (4 + f32(1e-6)) / 8, 0, 7, 4, 16, 0},
		{math.Inf(1), 0, 1, 7, math.Inf(1), 8, 0},
	}
	for _, s := range steps {
		m.Set(sumsq, []float64{s.sumsq})
		require.NoError(t, m.Run(b.Graph))
		for v, want := range map[*op.Value]float64{g.Clip: s.clip, g.Skip: s.skip, g.Steps: s.steps, g.Norm: s.norm, g.Scale: s.scale, g.Growth: s.growth} {
			require.Equal(t, []float64{want}, m.Get(v), "%+v", s)
		}
	}
}
