package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

// normShape is a case of rmsnorm and of its gradient.
type normShape struct {
	rows, width int64
	residual    bool
	noWeight    bool // the weight has no gradient
	dtype       abi.DType
	stream      abi.DType // of residual, h and dx
	weight      abi.DType
	l, m        layout // of inputs, of outputs
}

func (s normShape) String() string {
	name := fmt.Sprintf("[%d %d] %s %s by %s %s to %s", s.rows, s.width, s.dtype, s.stream, s.weight, s.l, s.m)
	if s.residual {
		name += " residual"
	}
	if s.noWeight {
		name += " without dw"
	}
	return name
}

func rmsnormCases() (cases []Case) {
	var shapes []normShape
	for i, width := range append([]int64{1024, 1030, 5000}, borders...) {
		shapes = append(shapes, normShape{rows: int64(1 + i%5), width: width, residual: i%2 == 0})
	}
	for _, dtype := range floats {
		for _, weight := range floats {
			shapes = append(shapes, normShape{rows: 7, width: 72, residual: true, dtype: dtype, weight: weight})
			if dtype != abi.F32 {
				shapes = append(shapes, normShape{rows: 7, width: 72, dtype: dtype, weight: weight, stream: abi.F32, residual: true})
			}
		}
	}
	for _, l := range rowLayouts {
		shapes = append(shapes, normShape{rows: 5, width: 72, residual: true, l: l}, normShape{rows: 5, width: 72, m: l}, normShape{rows: 5, width: 40, dtype: abi.BF16, residual: true, l: l, m: l})
	}
	shapes = append(shapes, normShape{rows: 0, width: 8}, normShape{rows: 1, width: 1}, normShape{rows: 300, width: 129, residual: true},
		normShape{rows: 3, width: 40, noWeight: true})
	for _, s := range shapes {
		s.dtype, s.weight = orF32(s.dtype), orF32(s.weight)
		if s.stream == 0 {
			s.stream = s.dtype
		}
		cases = append(cases, Case{"rmsnorm", s.String(), s.forward}, Case{"rmsnorm_grad", s.String(), s.backward})
	}
	return append(cases, Case{"rmsnorm", "specials", func(t *Trial) {
		x := t.in(abi.F32, plain, t.normal, 5, 40)
		t.fill(x.Slice(0, 0, 1), same(0))
		t.fill(x.Slice(0, 1, 3).Slice(1, 7, 8), these(math.NaN(), math.Inf(1)))
		t.fill(x.Slice(0, 3, 4), t.scaled(1e-20))
		t.Node(abi.OpRmsnorm, op.RMSNormAttr{Eps: 1e-5}, vals(t.out(abi.F32, plain, 5, 40), nil, t.out(abi.F32, plain, 5)), vals(x, nil, t.constant(abi.F32, t.normal, 40)))
	}})
}

func (s normShape) forward(t *Trial) {
	t.Length = s.width
	x := t.in(s.dtype, s.l, t.normal, s.rows, s.width)
	var residual, h *op.Value
	if s.residual {
		residual, h = t.in(s.stream, s.l, t.normal, s.rows, s.width), t.out(s.stream, s.m, s.rows, s.width)
	}
	t.Node(abi.OpRmsnorm, op.RMSNormAttr{Eps: 1e-5}, vals(t.out(s.dtype, s.m, s.rows, s.width), h, t.out(abi.F32, plain, s.rows)),
		vals(x, residual, t.constant(s.weight, t.normal, s.width)))
}

func (s normShape) backward(t *Trial) {
	t.Length, t.Scale = max(s.width, s.rows), math.Sqrt(float64(max(1, s.rows)))
	dy, h := t.in(s.dtype, s.l, t.normal, s.rows, s.width), t.in(s.stream, s.l, t.normal, s.rows, s.width)
	var residual, dw *op.Value
	if s.residual {
		residual = t.in(s.stream, s.l, t.normal, s.rows, s.width)
	}
	if !s.noWeight {
		dw = t.state(s.weight, plain, t.normal, s.width)
	}
	t.Node(abi.OpRmsnormGrad, op.RMSNormAttr{Eps: 1e-5}, vals(t.out(s.stream, s.m, s.rows, s.width), dw),
		vals(dy, h, t.in(abi.F32, plain, t.between(0.5, 2), s.rows), t.constant(s.weight, t.normal, s.width), residual))
}

func rmsnormBenchmarks() []Case {
	s := normShape{rows: benchTokens, width: benchHidden, residual: true, dtype: abi.F32, stream: abi.F32, weight: abi.F32}
	return []Case{{"rmsnorm", s.String(), s.forward}, {"rmsnorm_grad", s.String(), s.backward}}
}
