package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

func scaleCases() (cases []Case) {
	for _, n := range borders {
		cases = append(cases, scaleCase(abi.F32, plain, plain, 3, n), scaleGradCase(abi.F32, plain, plain, 3, n))
	}
	for _, dtype := range floats {
		for i, l := range rowLayouts {
			cases = append(cases, scaleCase(dtype, l, rowLayouts[(i+1)%3], 5, 40), scaleCase(dtype, l, l, 5, 40),
				scaleGradCase(dtype, l, rowLayouts[(i+1)%3], 5, 40), scaleGradCase(dtype, l, l, 5, 40))
		}
	}
	for _, shape := range [][2]int64{{0, 8}, {1, 1}, {300, 136}, {40, 2000}} {
		cases = append(cases, scaleCase(abi.F32, plain, plain, shape[0], shape[1]), scaleGradCase(abi.BF16, plain, plain, shape[0], shape[1]))
	}
	return append(cases, Case{"scale", "in place", func(t *Trial) {
		x := t.state(abi.BF16, plain, t.normal, 6, 400)
		t.Node(abi.OpScale, nil, vals(x), vals(x, t.factors(400)))
	}}, Case{"scale_grad", "in place", func(t *Trial) {
		t.sums(6)
		dy := t.state(abi.BF16, plain, t.normal, 6, 400)
		t.Node(abi.OpScaleGrad, nil, vals(dy, t.out(abi.F32, plain, 400)), vals(dy, t.in(abi.BF16, plain, t.normal, 6, 400), t.factors(400)))
	}}, Case{"scale_grad", "without dx", func(t *Trial) {
		t.sums(6)
		t.Node(abi.OpScaleGrad, nil, vals(nil, t.out(abi.F32, plain, 40)), vals(t.in(abi.F32, plain, t.normal, 6, 40), t.in(abi.F32, plain, t.normal, 6, 40), t.factors(40)))
	}}, Case{"scale_grad", "without dg", func(t *Trial) {
		t.Node(abi.OpScaleGrad, nil, vals(t.out(abi.F32, plain, 6, 40), nil), vals(t.in(abi.F32, plain, t.normal, 6, 40), nil, t.factors(40)))
	}})
}

// factors are g.
func (t *Trial) factors(width int64) *op.Value { return t.in(abi.F32, plain, t.between(0.5, 2), width) }

// sums prepares for sums over so many rows.
func (t *Trial) sums(rows int64) { t.Length, t.Scale = max(1, rows), math.Sqrt(float64(max(1, rows))) }

func scaleCase(dtype abi.DType, l, m layout, rows, width int64) Case {
	return Case{"scale", fmt.Sprintf("[%d %d] %s %s to %s", rows, width, dtype, l, m), func(t *Trial) {
		t.Node(abi.OpScale, nil, vals(t.out(dtype, m, rows, width)), vals(t.in(dtype, l, t.normal, rows, width), t.factors(width)))
	}}
}

func scaleGradCase(dtype abi.DType, l, m layout, rows, width int64) Case {
	return Case{"scale_grad", fmt.Sprintf("[%d %d] %s %s to %s", rows, width, dtype, l, m), func(t *Trial) {
		t.sums(rows)
		t.Node(abi.OpScaleGrad, nil, vals(t.out(dtype, m, rows, width), t.out(abi.F32, plain, width)),
			vals(t.in(dtype, l, t.normal, rows, width), t.in(dtype, m, t.normal, rows, width), t.factors(width)))
	}}
}

func scaleBenchmarks() []Case {
	return []Case{scaleCase(abi.F32, plain, plain, benchTokens, benchInner), scaleGradCase(abi.F32, plain, plain, benchTokens, benchInner)}
}
