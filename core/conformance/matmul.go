package conformance

import (
	"fmt"

	"trainer/core/abi"
	"trainer/core/op"
)

// product is one matmul: d [..,m,n] = alpha a b + beta d.
type product struct {
	m, n, k     int64
	a, b, d     layout
	from, to    abi.DType
	compute     abi.DType
	alpha, beta float64
}

func matmulCases() (cases []Case) {
	for i, m := range borders {
		n, k := borders[(i+5)%len(borders)], borders[(i+7)%len(borders)]
		cases = append(cases, product{m: m, n: n, k: k}.make(), product{m: k, n: m, k: n, a: turned, b: turned}.make())
	}
	for _, a := range layouts {
		for _, b := range layouts {
			cases = append(cases, product{m: 17, n: 35, k: 20, a: a, b: b}.make())
		}
		cases = append(cases, product{m: 17, n: 35, k: 20, d: a, beta: 1}.make())
	}
	for _, from := range floats {
		for _, to := range floats {
			cases = append(cases, product{m: 17, n: 35, k: 65, from: from, to: to}.make(), product{m: 7, n: 5, k: 9, from: from, to: to, beta: 0.5}.make())
		}
		for _, compute := range floats {
			cases = append(cases, product{m: 33, n: 35, k: 65, from: from, compute: compute}.make(), product{m: 20, n: 9, k: 31, from: from, compute: compute, a: turned, b: turned, alpha: 0.3}.make())
		}
	}
	for _, p := range []product{
		{m: 5, n: 7, k: 9, alpha: 0.25}, {m: 5, n: 7, k: 9, alpha: -1, beta: 1}, {m: 5, n: 7, k: 9, alpha: 0, beta: 2},
		{m: 5, n: 7, k: 0}, {m: 5, n: 7, k: 0, beta: 0.5}, {m: 0, n: 7, k: 3}, {m: 5, n: 0, k: 3},
		{m: 1, n: 1, k: 1}, {m: 1, n: 1100, k: 500}, {m: 1100, n: 1, k: 400}, {m: 2, n: 3, k: 1500}, {m: 300, n: 270, k: 400},
	} {
		cases = append(cases, p.make())
	}
	return append(cases, batchCases()...)
}

func (p product) make() Case {
	p.from, p.to = orF32(p.from), orF32(p.to)
	if p.alpha == 0 && p.beta != 2 {
		p.alpha = 1
	}
	name := fmt.Sprintf("%s to %s [%d %d %d] %s %s to %s", p.from, p.to, p.m, p.n, p.k, p.a, p.b, p.d)
	if p.compute != 0 {
		name += " in " + p.compute.String()
	}
	if p.alpha != 1 || p.beta != 0 {
		name += fmt.Sprintf(" alpha %v beta %v", p.alpha, p.beta)
	}
	return Case{"matmul", name, func(t *Trial) {
		t.Length, t.Scale, t.Rounds = max(1, p.k), 1, p.compute != 0
		a, b := t.in(p.from, p.a, t.normal, p.m, p.k), t.in(p.from, p.b, t.normal, p.k, p.n)
		d := t.out(p.to, p.d, p.m, p.n)
		if p.beta != 0 {
			d = t.state(p.to, p.d, t.normal, p.m, p.n)
		}
		t.Node(abi.OpMatmul, op.MatMul{Alpha: p.alpha, Beta: p.beta, Compute: p.compute}, vals(d), vals(a, b))
	}}
}

func orF32(d abi.DType) abi.DType {
	if d == 0 {
		return abi.F32
	}
	return d
}

// batchCases have leading dimensions, in which an input may repeat or lie interleaved.
func batchCases() []Case {
	batch := func(name string, a, b func(t *Trial) *op.Value, lead ...int64) Case {
		return Case{"matmul", name, func(t *Trial) {
			t.Length, t.Scale = 9, 1
			t.MatMul(t.out(abi.F32, plain, append(lead, 5, 7)...), a(t), b(t), 1, 0)
		}}
	}
	of := func(shape ...int64) func(t *Trial) *op.Value {
		return func(t *Trial) *op.Value { return t.in(abi.F32, plain, t.normal, shape...) }
	}
	return []Case{
		batch("batches", of(3, 5, 9), of(3, 9, 7), 3),
		batch("no batch", of(0, 5, 9), of(0, 9, 7), 0),
		batch("two batch dimensions", of(2, 3, 5, 9), of(2, 3, 9, 7), 2, 3),
		batch("a repeats", of(1, 5, 9), of(3, 9, 7), 3),
		batch("b repeats with stride 0", of(2, 3, 5, 9), func(t *Trial) *op.Value { return of(3, 9, 7)(t).Broadcast(2, 3, 9, 7) }, 2, 3),
		batch("heads of [B,S,H,D]", func(t *Trial) *op.Value { return of(2, 5, 3, 9)(t).Transpose(1, 2) },
			func(t *Trial) *op.Value { return of(2, 7, 3, 9)(t).Transpose(1, 2).Transpose(2, 3) }, 2, 3),
	}
}

func matmulBenchmarks() []Case {
	p := product{m: benchTokens, n: benchInner, k: benchHidden}
	return []Case{p.make()}
}
