package op_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
)

// scaledNormals are contents with blocks of very different and of zero magnitude.
func (x *trial) scaledNormals() func() float64 {
	at, scale := 0, 1.0
	return func() float64 {
		if at++; at%7 == 0 {
			scale = []float64{0, 1e-3, 1, 100}[x.IntN(4)]
		}
		return x.NormFloat64() * scale
	}
}

// Codes, scales and nested scales are the same to the last bit: both compute in f32.
func TestComposeQuantise(t *testing.T) {
	for seed := range uint64(60) {
		x := rounded(seed)
		rows, cols := x.size(20), x.size(20)
		f := op.NF4(seed%2 == 1)
		f.Group = uint32(2 * x.size(32))
		if seed%2 == 1 {
			f.NestedGroup = uint32(x.size(9))
		}
		w := op.NewWeight("w", op.State, f, rows, cols)
		for _, v := range w.Operands {
			if v != nil {
				x.set(v, constant(0))
			}
		}
		src := x.in(x.float(), x.scaledNormals(), rows, cols)
		if x.chance() {
			src = x.in(x.float(), x.scaledNormals(), cols, rows).Transpose(0, 1)
		}
		x.Quantise(w, src)
		want, got := x.run(t, x.Graph), x.run(t, x.lowered(t))
		for i, v := range w.Operands {
			if v != nil {
				require.Equal(t, want.Get(v), got.Get(v), "seed %d operand %d", seed, i)
			}
		}
	}
}

func TestComposeQuantiseDense(t *testing.T) {
	bothWays(t, 0, 0, func(x *trial) {
		w := op.DenseWeight(x.state(x.float(), 5, 7))
		x.Quantise(w, x.normal(5, 7))
	})
}

func TestComposeDequantise(t *testing.T) {
	bothWays(t, 1e-12, 1e-6, func(x *trial) {
		w := x.weight(t, x.size(20), 4*x.size(10))
		x.Dequantise(x.out(w.Out, w.In), w)
	})
}

// A format that a weight cannot have is refused, not computed wrongly.
func TestComposeRefusesWrongFormats(t *testing.T) {
	x := plain(1)
	w := op.NewWeight("w", op.State, op.MLX(4, 64), 8, 96)
	x.Dequantise(x.out(8, 96), w)
	require.PanicsWithValue(t, "op: a group of MLX must be a multiple of 8 that divides a row: 64 in [8 96] is not", func() { x.lowered(t) })
}

// The mask is exact: both compare the same numbers.
func TestComposeDropoutMask(t *testing.T) {
	bothWays(t, 0, 0, func(x *trial) {
		rows := x.size(9)
		d := op.Draw{Samples: x.ints(100, rows), Positions: x.ints(100, rows), Seed: x.ints(1<<30, 2), Step: x.ints(1000, 1)}
		x.DropoutMask(op.SiteOf("dropout", "w"), x.Float64(), x.size(30), d)
	})
}

// guarded draws the device state of a step.
func (x *trial) guarded() op.Guarded {
	f32 := func(c float64) *op.Value {
		return x.set(op.NewValue("f", op.State, op.Fixed, abi.F32, 1), constant(c))
	}
	i32 := func(c int) *op.Value {
		return x.set(op.NewValue("i", op.State, op.Fixed, abi.I32, 1), constant(float64(c)))
	}
	return op.Guarded{Clip: f32(0.75), Skip: i32(x.IntN(4) / 3), Steps: i32(1 + x.IntN(20)), Norm: f32(3), Scale: f32(math.Ldexp(1, x.IntN(9))), Growth: i32(x.IntN(3))}
}

// adamw draws an update; stochastic rounding needs bf16 states.
func (x *trial) adamw(stochastic bool) {
	shape := []int64{x.size(7), x.size(30)}
	a := op.AdamW{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Stochastic: stochastic, Site: op.SiteOf("adamw", "w")}
	v := x.state(x.float(), shape...)
	for i, m := range x.data[v] {
		x.data[v][i] = m * m / 100
	}
	x.AdamW(a, x.state(x.float(), shape...), x.state(x.float(), shape...), v, x.normal(shape...), x.in(abi.F32, constant(0.01), 1), x.ints(1<<30, 2), x.guarded())
}

// The constants of the composition are f32, which the tolerance in float64 shows.
func TestComposeAdamW(t *testing.T) {
	bothWays(t, 1e-7, 1e-5, func(x *trial) { x.adamw(false) })
	bothWays(t, 1e-7, 1e-5, func(x *trial) { x.adamw(true) })
}

// Stochastic rounding adds bits below bf16's and cuts them off; its composition in
// arithmetic gives the same for every f32 there is.
func TestStochasticRoundingIsExact(t *testing.T) {
	x := rounded(1)
	draw := func() float64 {
		special := []float64{0, 1, -1, math.MaxFloat32, -math.MaxFloat32, 0x1p-126, 0x1.fffffep-127, 0x1p-149, -0x1.8p-140, math.Inf(1), math.Inf(-1), 255.0 / 256, 0x1.fffffep0}
		if x.IntN(20) == 0 {
			return special[x.IntN(len(special))]
		}
		return float64(math.Float32frombits(x.Uint32()))
	}
	values := x.in(abi.F32, draw, 20000)
	noise := x.in(abi.F32, func() float64 {
		return []float64{0, 65535, float64(x.IntN(65536))}[x.IntN(3)] / 65536
	}, 20000)
	out := x.StochasticBF16(values, noise)
	got := x.run(t, x.Graph).Get(out)
	for i, v := range x.data[values] {
		raw := math.Float32bits(float32(v))
		want := math.Float32frombits((raw + uint32(x.data[noise][i]*65536)) & 0xFFFF0000)
		if raw&0x7F800000 == 0x7F800000 {
			want = float32(v)
		}
		if math.IsNaN(v) {
			require.True(t, math.IsNaN(got[i]))
			continue
		}
		require.Equal(t, float64(want), got[i], "%v with %v", v, x.data[noise][i])
	}
}

// The composition rounds with the header's bits: where nothing else happens to a state it
// equals the op exactly.
func TestStochasticRoundingDrawsTheSameBits(t *testing.T) {
	x := rounded(2)
	a := op.AdamW{Beta1: 0.5, Beta2: 0.5, Eps: 1, Stochastic: true, Site: op.SiteOf("adamw", "w")}
	g := x.guarded()
	x.data[g.Skip], x.data[g.Clip] = []float64{0}, []float64{1}
	state := func() *op.Value { return x.state(abi.BF16, 301) }
	param, m, v := state(), state(), state()
	// With one half each, a bf16 gradient and no learning rate, every sum is exact in f32.
	x.AdamW(a, param, m, v, x.in(abi.BF16, func() float64 { return float64(x.IntN(256)) }, 301), x.in(abi.F32, constant(0), 1), x.ints(1<<30, 2), g)
	for i := range x.data[m] {
		x.data[m][i], x.data[v][i] = float64(x.IntN(256))/128, float64(x.IntN(256))
	}
	want, got := x.run(t, x.Graph), x.run(t, x.lowered(t))
	require.Equal(t, want.Get(param), got.Get(param))
	require.Equal(t, want.Get(m), got.Get(m))
	require.Equal(t, want.Get(v), got.Get(v))
}

func TestComposeGlobalNorm(t *testing.T) {
	bothWays(t, 1e-12, 1e-5, func(x *trial) {
		var grads []*op.Value
		for range x.IntN(6) {
			grads = append(grads, x.normal(x.size(5), x.size(9)), x.normal(x.size(20)))
		}
		x.GlobalNorm(grads)
	})
}

func TestComposeGuard(t *testing.T) {
	sums := []float64{0, 1e-20, 4, 1e30, math.Inf(1), math.NaN()}
	for _, a := range []op.Guard{{}, {MaxNorm: 1}, {MaxNorm: 1, Interval: 3}, {Interval: 1}} {
		for _, sumsq := range sums {
			for seed := range uint64(6) {
				x := plain(seed)
				g := x.guarded()
				x.Builder.Guard(a, g, x.in(abi.F32, constant(sumsq), 1))
				want, got := x.run(t, x.Graph), x.run(t, x.lowered(t))
				for _, v := range []*op.Value{g.Clip, g.Skip, g.Steps, g.Norm, g.Scale, g.Growth} {
					if w := want.Get(v)[0]; math.IsNaN(w) || math.IsInf(w, 0) {
						require.Equal(t, fmt.Sprint(w), fmt.Sprint(got.Get(v)[0]), "%+v sumsq %v", a, sumsq)
					} else {
						require.InDelta(t, w, got.Get(v)[0], 1e-12*max(1, w), "%+v sumsq %v", a, sumsq)
					}
				}
			}
		}
	}
}
