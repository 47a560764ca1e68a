package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

func normCases() (cases []Case) {
	for _, n := range append([]int64{0, 100001}, borders...) {
		cases = append(cases, globalNormCase(fmt.Sprint(n), func(t *Trial) []*op.Value { return vals(t.in(abi.F32, plain, t.normal, n)) }))
	}
	cases = append(cases, globalNormCase("no gradient", func(*Trial) []*op.Value { return nil }),
		globalNormCase("every dtype and layout", func(t *Trial) (grads []*op.Value) {
			for _, dtype := range floats {
				for _, l := range layouts {
					grads = append(grads, t.in(dtype, l, t.scaled(5), 9, 33))
				}
			}
			return grads
		}),
		globalNormCase("small and large", func(t *Trial) []*op.Value {
			return vals(t.in(abi.F32, plain, t.scaled(1e-15), 300), t.in(abi.F32, plain, t.scaled(1e15), 3), t.in(abi.F32, plain, t.scaled(1e-30), 100))
		}),
		globalNormCase("beyond f32", func(t *Trial) []*op.Value { return vals(t.in(abi.F32, plain, t.scaled(1e25), 33)) }))
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		cases = append(cases, globalNormCase(fmt.Sprint("with ", x), func(t *Trial) []*op.Value {
			return vals(t.in(abi.F32, plain, t.normal, 70), t.in(abi.F32, plain, these(1, 2, x, 4), 40))
		}))
	}
	for _, sumsq := range []float64{0, 1e-12, 4, 9e8, 1e38, math.Inf(1), math.NaN()} {
		for _, a := range []op.Guard{{}, {MaxNorm: 1}, {MaxNorm: 1, Interval: 3}, {Interval: 3}} {
			cases = append(cases, guardCase(a, sumsq, 1024, 1), guardCase(a, sumsq, 0.5, 2))
		}
	}
	return cases
}

func globalNormCase(name string, grads func(t *Trial) []*op.Value) Case {
	return Case{"global_norm", name, func(t *Trial) {
		t.Node(abi.OpGlobalNorm, nil, vals(t.out(abi.F32, plain, 1)), grads(t))
	}}
}

// guardCase decides about a step from a loss scale and its count.
func guardCase(a op.Guard, sumsq, scale float64, growth int) Case {
	return Case{"guard", fmt.Sprintf("sumsq %v max %v interval %d scale %v count %d", sumsq, a.MaxNorm, a.Interval, scale, growth), func(t *Trial) {
		g := op.Guarded{Clip: t.out(abi.F32, plain, 1), Skip: t.out(abi.I32, plain, 1), Norm: t.out(abi.F32, plain, 1),
			Steps: t.state(abi.I32, plain, same(41), 1), Scale: t.state(abi.F32, plain, same(scale), 1), Growth: t.state(abi.I32, plain, same(float64(growth)), 1)}
		t.Guard(a, g, t.in(abi.F32, plain, same(sumsq), 1))
	}}
}

func normBenchmarks() []Case {
	return []Case{globalNormCase("four million", func(t *Trial) []*op.Value { return vals(t.in(abi.F32, plain, t.normal, 4<<20)) }),
		guardCase(op.Guard{MaxNorm: 1}, 4, 1, 0)}
}
