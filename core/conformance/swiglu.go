package conformance

import (
	"fmt"

	"trainer/core/abi"
	"trainer/core/op"
)

func swigluCases() (cases []Case) {
	for _, n := range borders {
		cases = append(cases, swigluCase(abi.F32, plain, plain, 3, n), swigluGradCase(abi.F32, plain, plain, 3, n))
	}
	for _, dtype := range floats {
		for i, l := range layouts {
			cases = append(cases, swigluCase(dtype, l, layouts[(i+1)%4], 5, 40), swigluCase(dtype, l, l, 5, 40),
				swigluGradCase(dtype, l, layouts[(i+1)%4], 5, 40), swigluGradCase(dtype, l, l, 5, 40))
		}
	}
	for _, shape := range [][2]int64{{0, 8}, {1, 1}, {40, 2000}} {
		cases = append(cases, swigluCase(abi.F32, plain, plain, shape[0], shape[1]), swigluGradCase(abi.F32, plain, plain, shape[0], shape[1]))
	}
	return append(cases, Case{"swiglu", "halves of one buffer", func(t *Trial) {
		both := t.in(abi.BF16, plain, t.scaled(3), 6, 80)
		t.Node(abi.OpSwiglu, nil, vals(t.out(abi.BF16, plain, 6, 40)), vals(both.Slice(1, 0, 40), both.Slice(1, 40, 80)))
	}}, Case{"swiglu_grad", "halves of one buffer", func(t *Trial) {
		t.Scale = 4
		both, d := t.in(abi.F32, plain, t.scaled(3), 6, 80), t.out(abi.F32, plain, 6, 80)
		t.Node(abi.OpSwigluGrad, nil, vals(d.Slice(1, 0, 40), d.Slice(1, 40, 80)), vals(t.in(abi.F32, plain, t.normal, 6, 40), both.Slice(1, 0, 40), both.Slice(1, 40, 80)))
	}}, Case{"swiglu_grad", "in place", func(t *Trial) {
		t.Scale = 4
		both := t.state(abi.BF16, plain, t.scaled(3), 6, 4000)
		gate, up := both.Slice(1, 0, 2000), both.Slice(1, 2000, 4000)
		t.Node(abi.OpSwigluGrad, nil, vals(gate, up), vals(t.in(abi.BF16, plain, t.normal, 6, 2000), gate, up))
	}}, Case{"swiglu_grad", "without dgate", func(t *Trial) {
		in := append(vals(t.in(abi.F32, plain, t.normal, 5, 40)), t.gates(abi.F32, plain, 5, 40)...)
		t.Node(abi.OpSwigluGrad, nil, vals(nil, t.out(abi.F32, plain, 5, 40)), in)
	}}, Case{"swiglu_grad", "without dup", func(t *Trial) {
		t.Scale = 4
		in := append(vals(t.in(abi.BF16, plain, t.normal, 5, 40)), t.gates(abi.BF16, plain, 5, 40)...)
		t.Node(abi.OpSwigluGrad, nil, vals(t.out(abi.BF16, wide, 5, 40), nil), in)
	}}, Case{"swiglu", "large gates", func(t *Trial) {
		t.Node(abi.OpSwiglu, nil, vals(t.out(abi.F32, plain, 5, 40)), vals(t.in(abi.F32, plain, t.between(-200, 200), 5, 40), t.in(abi.F32, plain, t.normal, 5, 40)))
	}})
}

// gates are gate and up of a shape.
func (t *Trial) gates(dtype abi.DType, l layout, rows, width int64) []*op.Value {
	return vals(t.in(dtype, l, t.scaled(3), rows, width), t.in(dtype, l, t.normal, rows, width))
}

func swigluCase(dtype abi.DType, l, m layout, rows, width int64) Case {
	return Case{"swiglu", fmt.Sprintf("[%d %d] %s %s to %s", rows, width, dtype, l, m), func(t *Trial) {
		t.Node(abi.OpSwiglu, nil, vals(t.out(dtype, m, rows, width)), t.gates(dtype, l, rows, width))
	}}
}

func swigluGradCase(dtype abi.DType, l, m layout, rows, width int64) Case {
	return Case{"swiglu_grad", fmt.Sprintf("[%d %d] %s %s to %s", rows, width, dtype, l, m), func(t *Trial) {
		t.Scale = 4
		in := append(vals(t.in(dtype, l, t.normal, rows, width)), t.gates(dtype, l, rows, width)...)
		t.Node(abi.OpSwigluGrad, nil, vals(t.out(dtype, m, rows, width), t.out(dtype, m, rows, width)), in)
	}}
}

func swigluBenchmarks() []Case {
	return []Case{swigluCase(abi.F32, plain, plain, benchTokens, benchInner), swigluGradCase(abi.F32, plain, plain, benchTokens, benchInner)}
}
