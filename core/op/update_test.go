package op_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
)

// taken draws the device state of a step that is taken, or skipped with a gradient that is
// not finite.
func (x *trial) taken(skip bool) op.Guarded {
	g := x.guarded()
	x.data[g.Skip] = []float64{0}
	if skip {
		x.data[g.Skip], x.data[g.Clip] = []float64{1}, []float64{0}
	}
	return g
}

func TestSGD(t *testing.T) {
	for _, skip := range []bool{false, true} {
		x := plain(1)
		param, grad := x.state(abi.F32, 7, 5), x.normal(7, 5)
		if skip {
			x.data[grad][3] = math.NaN()
		}
		x.SGD(op.Rounding{}, param, grad, x.in(abi.F32, constant(0.25), 1), x.ints(9, 2), x.taken(skip))
		got := x.run(t, x.Graph).Get(param)
		for i, p := range x.data[param] {
			want := p
			if !skip {
				want -= 0.25 * 0.75 * x.data[grad][i]
			}
			require.InDelta(t, want, got[i], 1e-12)
		}
	}
}

func TestAdadelta(t *testing.T) {
	for _, skip := range []bool{false, true} {
		x := plain(2)
		param, grad := x.state(abi.F32, 7, 5), x.normal(7, 5)
		squares, deltas := x.state(abi.F32, 7, 5), x.state(abi.F32, 7, 5)
		for i := range x.data[squares] {
			x.data[squares][i], x.data[deltas][i] = x.Float64(), x.Float64()/100
		}
		if skip {
			x.data[grad][3] = math.Inf(1)
		}
		a := op.Adadelta{Rho: 0.75, Eps: 1e-6}
		x.Adadelta(a, param, squares, deltas, grad, x.in(abi.F32, constant(0.5), 1), x.ints(9, 2), x.taken(skip))
		got := x.run(t, x.Graph)
		for i := range x.data[param] {
			p, s, d := x.data[param][i], x.data[squares][i], x.data[deltas][i]
			if !skip {
				g := 0.75 * x.data[grad][i]
				s = 0.75*s + 0.25*g*g
				step := math.Sqrt(d+a.Eps) / math.Sqrt(s+a.Eps) * g
				d = 0.75*d + 0.25*step*step
				p -= 0.5 * step
			}
			require.InDelta(t, p, got.Get(param)[i], 1e-7)
			require.InDelta(t, s, got.Get(squares)[i], 1e-7)
			require.InDelta(t, d, got.Get(deltas)[i], 1e-7)
		}
	}
}

// A step too small for bf16 moves the parameters by as much on average.
func TestSmallStepsAreNotLost(t *testing.T) {
	x := rounded(3)
	const n = 4096
	param := x.set(op.NewValue("param", op.State, op.Fixed, abi.BF16, n), constant(1))
	g := x.taken(false)
	x.data[g.Clip] = []float64{1}
	x.SGD(op.Rounding{Stochastic: true, Site: op.SiteOf("sgd", "w")}, param, x.in(abi.F32, constant(1), n), x.in(abi.F32, constant(0x1p-12), 1), x.ints(1<<30, 2), g)
	mean := 0.0
	for _, p := range x.run(t, x.Graph).Get(param) {
		require.Contains(t, []float64{1, 1 - 0x1p-8}, p)
		mean += (1 - p) / n
	}
	require.InEpsilon(t, 0x1p-12, mean, 0.2)
}
