package training

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/program"
)

// doraProjection is one DoRA projection with its operands as states, and their gradients'
// accumulators.
type doraProjection struct {
	dora
	x       *op.Value
	trained map[*op.Value]*op.Value
}

func newDoRAProjection(rows, k, n, r int64, scale float64) doraProjection {
	state := func(name string, shape ...int64) *op.Value {
		return op.NewValue(name, op.State, op.Fixed, abi.F32, shape...)
	}
	p := doraProjection{dora: dora{lora{op.Adapter{A: state("A", r, k), B: state("B", n, r), Scale: scale}}, state("magnitude", n), state("squares", n), op.DenseWeight(state("W", n, k))},
		x: state("x", rows, k), trained: map[*op.Value]*op.Value{}}
	for _, v := range []*op.Value{p.x, p.A, p.B, p.magnitude} {
		p.trained[v] = state("d"+v.Name, v.Shape...)
	}
	return p
}

// One DoRA projection under a given dropout mask: output and every gradient are the oracle's.
func TestDoRAOracle(t *testing.T) {
	o := openOracle(t, "ops/lora_dropout.safetensors")
	const rows, k, n, r = 48, 64, 96, 8
	p := newDoRAProjection(rows, k, n, r, 2)
	dy := op.NewValue("dy", op.Input, op.Fixed, abi.F32, rows, n)
	mask := op.NewValue("mask", op.Input, op.Fixed, abi.U8, rows, k/8)
	b := op.NewBuilder()
	x, g := b.Fixed("x", abi.F32, rows, k), b.Fixed("g", abi.F32, n)
	b.Cast(x, p.x)
	require.True(t, p.factors(b, g))
	y := b.Scale(b.Linear(op.Linear{KeepScale: 1 / 0.9, Projections: []op.Projection{{Weight: p.weight, Adapter: p.pair()}}}, x, mask), g)
	forward := b.Graph.Nodes
	out := op.NewValue("y", op.Output, op.Fixed, abi.F32, rows, n)
	b.Copy(out, y)
	program.Gradient(b, forward, map[*op.Value]*op.Value{y: dy}, p.trained)
	fp32, err := program.PrecisionByName("fp32")
	require.NoError(t, err)
	program.Assign(b.Graph, fp32)

	w := o.floats("W")
	states, data := []*op.Value{p.weight.Dense(), p.squares}, map[*op.Value][]byte{dy: floatBytes(o.floats("dy")), mask: maskBits(o.floats("mask")),
		p.weight.Dense(): floatBytes(w), p.squares: floatBytes(rowSquares(w, k)),
		p.x: floatBytes(o.floats("x")), p.A: floatBytes(o.floats("A")), p.B: floatBytes(o.floats("B")), p.magnitude: floatBytes(o.floats("magnitude"))}
	for v, sum := range p.trained {
		states, data[sum] = append(states, v, sum), make([]byte, 4*v.Count())
	}
	s := openSession(t)
	results := runOnce(t, s, b.Graph, states, data)
	closeTo(t, "y", floatsOf(results[out]), o.floats("dora.y"), 1e-5, largest(o.floats("dora.y")))
	for v, sum := range p.trained {
		raw, err := s.Read(sum)
		require.NoError(t, err)
		want := o.floats("dora.d" + v.Name)
		closeTo(t, v.Name, floatsOf(raw), want, 1e-5, largest(want))
	}
}

func rowSquares(w []float32, width int) (sums []float32) {
	for at := 0; at < len(w); at += width {
		sum := 0.0
		for _, x := range w[at : at+width] {
			sum += float64(x) * float64(x)
		}
		sums = append(sums, float32(sum))
	}
	return sums
}

// Before the first step a DoRA model computes what its base does: magnitudes start at the
// lengths of the base's rows, whatever the base is stored in.
func TestDoRAStartsAtTheBase(t *testing.T) {
	for _, method := range []string{"dora", "bnb_dora"} {
		for _, family := range []string{"llama2", "qwen2", "phi3"} { // with biases, with fused projections
			e := familyEngine(t, family, method, nil)
			base, err := e.Logits([]int32{1, 5, 9, 200}, true)
			require.NoError(t, err)
			adapted, err := e.Logits([]int32{1, 5, 9, 200}, false)
			require.NoError(t, err)
			closeTo(t, family, adapted, base, 1e-5, largest(base))
			for _, a := range e.Net.hung() {
				squares, magnitude := e.read(t, a.derived()[0]), e.read(t, a.trained()[2])
				for i, x := range squares {
					require.InEpsilon(t, math.Sqrt(float64(x)), magnitude[i], 1e-6)
				}
			}
		}
	}
}
