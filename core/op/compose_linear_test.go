package op_test

import (
	"testing"

	"trainer/core/abi"
	"trainer/core/op"
)

// linear draws a linear of one to three projections, formats, biases and adapters mixed,
// and a mask.
func (x *trial) linear(t *testing.T, rows int64) (a op.Linear, mask *op.Value) {
	k := x.size(20)
	if x.chance() { // most formats have groups of 8
		k = 8 * x.size(3)
	}
	a = op.Linear{Compute: x.compute(), KeepScale: 1 / 0.75}
	for range x.size(3) {
		n := x.size(12)
		p := op.Projection{Weight: x.weight(t, n, k), Bias: x.maybe(x.normal(n))}
		if x.chance() {
			r := x.size(4)
			p.Adapter = &op.Adapter{A: x.normal(r, k), B: x.normal(n, r), Scale: 0.3 + x.Float64()}
		}
		a.Projections = append(a.Projections, p)
	}
	if a.Rank() > 0 && x.chance() {
		mask = x.ints(256, rows, (k+7)/8)
		mask.DType = abi.U8
	}
	return a, mask
}

// each lists an operand of every projection: its weight, and what else it has.
func each(a op.Linear, bias bool) (in []*op.Value) {
	for _, p := range a.Projections {
		in = append(in, p.Weight.Operands[:]...)
		if bias {
			in = append(in, p.Bias)
		}
		if p.Adapter == nil {
			in = append(in, nil, nil)
		} else {
			in = append(in, p.Adapter.A, p.Adapter.B)
		}
	}
	return in
}

func (x *trial) ranks(a op.Linear, make func(shape ...int64) *op.Value, rows int64) *op.Value {
	if a.Rank() == 0 {
		return nil
	}
	return make(rows, a.Rank())
}

func TestComposeLinear(t *testing.T) {
	bothWays(t, 1e-12, 1e-2, func(x *trial) {
		rows := x.size(9)
		a, mask := x.linear(t, rows)
		x.Node(abi.OpLinear, a, []*op.Value{x.out(rows, a.Width()), x.ranks(a, x.out, rows)},
			append([]*op.Value{x.normal(rows, a.Projections[0].Weight.In), mask}, each(a, true)...))
	})
}

func TestComposeLinearGradInput(t *testing.T) {
	bothWays(t, 1e-12, 1e-2, func(x *trial) {
		rows := x.size(9)
		a, mask := x.linear(t, rows)
		k := a.Projections[0].Weight.In
		dx, v := x.out(rows, k), x.ranks(a, x.out, rows)
		switch {
		case v != nil && x.IntN(4) == 0:
			dx = nil
		case x.IntN(4) == 0:
			v = nil
		}
		x.Node(abi.OpLinearGradInput, a, []*op.Value{dx, v}, append([]*op.Value{x.normal(rows, a.Width()), mask, x.maybe(x.normal(rows, k))}, each(a, false)...))
	})
}

func TestComposeLinearGradWeight(t *testing.T) {
	bothWays(t, 1e-12, 1e-2, func(x *trial) {
		rows := x.size(9)
		a, _ := x.linear(t, rows)
		k := a.Projections[0].Weight.In
		var out []*op.Value
		for _, p := range a.Projections {
			out = append(out, x.maybe(x.state(x.float(), p.Weight.Out, k)), x.maybe(x.state(x.float(), p.Weight.Out)))
		}
		x.Node(abi.OpLinearGradWeight, a, out, []*op.Value{x.normal(rows, a.Width()), x.normal(rows, k)})
	})
}

func TestComposeLinearGradAdapter(t *testing.T) {
	bothWays(t, 1e-12, 1e-2, func(x *trial) {
		rows := x.size(9)
		a, mask := x.linear(t, rows)
		if a.Rank() == 0 {
			return
		}
		k := a.Projections[0].Weight.In
		var out []*op.Value
		for _, p := range a.Projections {
			if p.Adapter == nil {
				out = append(out, nil, nil)
				continue
			}
			out = append(out, x.state(x.float(), p.Adapter.A.Shape...), x.state(x.float(), p.Adapter.B.Shape...))
		}
		x.Node(abi.OpLinearGradAdapter, a, out, []*op.Value{x.normal(rows, a.Width()), x.normal(rows, k), mask, x.ranks(a, x.normal, rows), x.ranks(a, x.normal, rows)})
	})
}

func TestComposeLinearCrossEntropy(t *testing.T) {
	bothWays(t, 1e-12, 1e-2, func(x *trial) {
		rows, k, n := x.size(12), x.size(9), x.size(20)
		w := x.weight(t, n, k)
		a := op.LinearCrossEntropy{Compute: x.compute(), Chunk: x.Int64N(6), Out: n, In: k, Format: w.Format}
		labels := x.in(abi.I32, func() float64 { return float64(x.Int64N(n+2) - 2) }, rows)
		x.Node(abi.OpLinearCrossEntropy, a, []*op.Value{x.Fixed("loss", abi.F32, 1), x.maybe(x.out(rows, k)), x.maybe(x.state(x.float(), n, k))},
			append([]*op.Value{x.normal(rows, k), labels, x.in(abi.F32, constant(0.37), 1)}, w.Operands[:]...))
	})
}
