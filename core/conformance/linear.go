package conformance

import (
	"fmt"
	"math"
	"strings"

	"trainer/core/abi"
	"trainer/core/op"
)

// projection is one weight of a linear case.
type projection struct {
	out    int64
	rank   int64 // 0: no adapter
	bias   bool
	format abi.QuantFormat
}

// linearShape is a case of the four linear ops.
type linearShape struct {
	rows, in    int64
	projections []projection
	mask        bool
	residual    bool      // of the input's gradient
	dtype       abi.DType // of activations
	weights     abi.DType // of dense weights, biases and adapters
	sums        abi.DType // of accumulators
	compute     abi.DType
	l           layout // of x and dy
	m           layout // of y and dx
	without     string // outputs that are absent: x, v, w, b
	dropped     bool   // drop(x) is given, not a mask
	fresh       bool   // gradients of weights are set, not added to
}

func (s linearShape) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%d %d] %s", s.rows, s.in, s.dtype)
	if s.weights != s.dtype {
		fmt.Fprintf(&b, " by %s", s.weights)
	}
	for _, p := range s.projections {
		fmt.Fprintf(&b, " %d", p.out)
		if p.format.Format != abi.FormatDense {
			b.WriteString(formatName(p.format))
		}
		if p.rank > 0 {
			fmt.Fprintf(&b, "r%d", p.rank)
		}
		if p.bias {
			b.WriteString("+bias")
		}
	}
	for _, option := range []struct {
		set  bool
		name string
	}{{s.mask, " mask"}, {s.residual, " residual"}, {s.compute != 0, " in " + s.compute.String()}, {s.sums != s.weights, " sums " + s.sums.String()},
		{s.l+s.m > 0, fmt.Sprintf(" %s to %s", s.l, s.m)}, {s.without != "", " without " + s.without}, {s.dropped, " dropped"}, {s.fresh, " fresh"}} {
		if option.set {
			b.WriteString(option.name)
		}
	}
	return b.String()
}

// linearShapes is what every one of the four ops is judged on.
func linearShapes() (shapes []linearShape) {
	one := func(out, rank int64, bias bool) []projection { return []projection{{out: out, rank: rank, bias: bias}} }
	for i, rows := range borders {
		in, out := borders[(i+5)%len(borders)], borders[(i+7)%len(borders)]
		shapes = append(shapes, linearShape{rows: rows, in: in, projections: one(out, 0, i%2 == 0)},
			linearShape{rows: out, in: rows, projections: one(in, 4, false), mask: i%2 == 1})
	}
	nf4, nested := op.NF4(false), op.NF4(true)
	three := []projection{{out: 40, rank: 8}, {out: 17, rank: 3, bias: true}, {out: 24, rank: 1}}
	mixed := []projection{{out: 33, rank: 8, format: nested}, {out: 17, format: nf4, bias: true}, {out: 24, rank: 5}}
	others := [][]projection{
		{{out: 33, rank: 8, format: op.HQQ(4, 24, false, false)}, {out: 40, rank: 3, format: op.HQQ(3, 8, true, false), bias: true}, {out: 16, format: op.HQQ(2, 9*16*8, true, false)}},
		{{out: 128, format: op.HQQ(8, 8, false, true)}, {out: 128, format: op.HQQ(1, 8, true, true)}, {out: 17, format: op.MLX(4, 72)}, {out: 21, format: op.Int8(72)}},
		{{out: 65, format: op.HQQ(4, 8, false, false)}, {out: 64, format: op.HQQ(4, 64, true, false)}, {out: 19, format: op.MLX(8, 8)}, {out: 24, format: op.FP4(true)}},
		{{out: 65, format: op.MLX(2, 24)}, {out: 30, format: op.MLX(3, 8)}, {out: 31, format: op.MLX(5, 72)}, {out: 24, format: op.MLX(6, 24)}},
	}
	shapes = append(shapes,
		linearShape{rows: 0, in: 5, projections: one(7, 2, true), mask: true},
		linearShape{rows: 1, in: 1, projections: one(1, 1, true), mask: true, residual: true},
		linearShape{rows: 19, in: 50, projections: three},
		linearShape{rows: 19, in: 50, projections: three, mask: true, residual: true},
		linearShape{rows: 19, in: 50, projections: []projection{{out: 30}, {out: 21, rank: 4}, {out: 9}}, mask: true},
		linearShape{rows: 19, in: 37, projections: mixed, mask: true, residual: true},
		linearShape{rows: 70, in: 65, projections: []projection{{out: 63, format: nf4}, {out: 33, format: nf4}}},
		linearShape{rows: 3, in: 300, projections: []projection{{out: 129, format: nested}}},
		linearShape{rows: 19, in: 72, projections: others[0], mask: true, residual: true},
		linearShape{rows: 37, in: 72, projections: others[1]},
		linearShape{rows: 37, in: 328, projections: others[2]},
		linearShape{rows: 70, in: 72, projections: others[3]},
		linearShape{rows: 130, in: 520, projections: one(140, 16, false), mask: true},
		linearShape{rows: 9, in: 40, projections: three, mask: true, residual: true, without: "x"},
		linearShape{rows: 9, in: 40, projections: three, mask: true, residual: true, without: "v"},
		linearShape{rows: 9, in: 40, projections: three, mask: true, without: "b"},
		linearShape{rows: 9, in: 40, projections: three, without: "w"})
	for _, l := range layouts[1:] {
		shapes = append(shapes, linearShape{rows: 21, in: 35, projections: three, mask: true, residual: true, l: l},
			linearShape{rows: 21, in: 35, projections: three, mask: true, residual: true, m: l})
	}
	for _, dtype := range floats {
		for _, weights := range floats {
			shapes = append(shapes, linearShape{rows: 21, in: 35, projections: three, mask: true, residual: true, dtype: dtype, weights: weights})
		}
		if dtype != abi.F32 {
			narrow := linearShape{rows: 150, in: 136, projections: []projection{{out: 40, rank: 64}, {out: 24, rank: 16}}, mask: true, dtype: dtype, weights: dtype, compute: dtype}
			onto := narrow
			onto.residual = true
			shapes = append(shapes, narrow, onto, linearShape{rows: 21, in: 65, projections: three, mask: true, residual: true, compute: dtype},
				linearShape{rows: 21, in: 65, projections: mixed, residual: true, dtype: dtype, weights: dtype, compute: dtype, sums: abi.F32},
				linearShape{rows: 21, in: 72, projections: others[0], residual: true, dtype: dtype, weights: dtype, compute: dtype, sums: abi.F32},
				linearShape{rows: 40, in: 65, projections: one(66, 0, true), dtype: dtype, weights: dtype, compute: dtype, l: turned, m: wide})
		}
	}
	for i := range shapes {
		s := &shapes[i]
		s.dtype, s.weights = orF32(s.dtype), orF32(s.weights)
		if s.sums == 0 {
			s.sums = s.weights
		}
	}
	return shapes
}

func linearCases() (cases []Case) {
	for _, s := range linearShapes() {
		if s.without == "" && !s.residual {
			cases = append(cases, Case{"linear", s.String(), s.linear})
			if s.mask && s.rank() > 0 {
				given := s
				given.mask, given.dropped = false, true
				cases = append(cases, Case{"linear", given.String(), given.linear})
			}
		}
		if s.without == "" || strings.Contains("xv", s.without) {
			cases = append(cases, Case{"linear_grad_input", s.String(), s.gradInput})
		}
		if s.rank() == 0 || s.without != "" || s.sums != s.weights {
			set := s
			set.fresh = true
			cases = append(cases, Case{"linear_grad_weight", s.String(), s.gradWeight}, Case{"linear_grad_weight", set.String(), set.gradWeight})
		}
		if s.rank() > 0 {
			cases = append(cases, Case{"linear_grad_adapter", s.String(), s.gradAdapter})
		}
	}
	return cases
}

func (s linearShape) rank() (r int64) {
	for _, p := range s.projections {
		r += p.rank
	}
	return r
}

func (s linearShape) width() (n int64) {
	for _, p := range s.projections {
		n += p.out
	}
	return n
}

func (s linearShape) has(output string) bool { return s.without != output }

// attr makes the weights.
func (s linearShape) attr(t *Trial) op.Linear {
	a := op.Linear{Compute: s.compute}
	if s.mask {
		a.KeepScale = 1.25
	}
	for _, p := range s.projections {
		q := op.Projection{Weight: t.weight(p.format, s.weights, p.out, s.in)}
		if p.bias {
			q.Bias = t.constant(s.weights, t.normal, p.out)
		}
		if p.rank > 0 {
			q.Adapter = &op.Adapter{Scale: 1.5,
				A: t.constant(s.weights, t.scaled(1/math.Sqrt(float64(s.in))), p.rank, s.in),
				B: t.constant(s.weights, t.scaled(1/math.Sqrt(float64(p.rank))), p.out, p.rank)}
		}
		a.Projections = append(a.Projections, q)
	}
	return a
}

func (s linearShape) maskOf(t *Trial) *op.Value {
	if !s.mask {
		return nil
	}
	return t.mask(s.rows, s.in)
}

// mask is a dropout mask; unused bits are 0.
func (t *Trial) mask(rows, features int64) *op.Value {
	width := (features + 7) / 8
	return t.in(abi.U8, plain, func(i int) float64 {
		bits := t.rng.IntN(256)
		if int64(i)%width == width-1 {
			bits &= 1<<(features-8*(width-1)) - 1
		}
		return float64(bits)
	}, rows, width)
}

func (s linearShape) linear(t *Trial) {
	a := s.attr(t)
	t.Length, t.Scale = s.in+s.rank(), 1
	var u *op.Value
	if s.rank() > 0 {
		u = t.out(s.dtype, plain, s.rows, s.rank())
	}
	in := vals(t.in(s.dtype, s.l, t.normal, s.rows, s.in), s.maskOf(t))
	if s.dropped {
		in[1] = t.in(s.dtype, s.l, t.normal, s.rows, s.in)
	}
	for _, p := range a.Projections {
		in = append(append(append(in, p.Weight.Operands[:]...), p.Bias), adapterOf(p)...)
	}
	t.Node(abi.OpLinear, a, vals(t.out(s.dtype, s.m, s.rows, s.width()), u), in)
}

func adapterOf(p op.Projection) []*op.Value {
	if p.Adapter == nil {
		return vals(nil, nil)
	}
	return vals(p.Adapter.A, p.Adapter.B)
}

func (s linearShape) gradInput(t *Trial) {
	a := s.attr(t)
	t.Length, t.Scale = s.width()+s.rank(), math.Sqrt(float64(s.width())/float64(s.in))
	var dx, v, residual *op.Value
	if s.has("x") {
		dx = t.out(s.dtype, s.m, s.rows, s.in)
	}
	if s.rank() > 0 && s.has("v") {
		v = t.out(s.dtype, plain, s.rows, s.rank())
	}
	if s.residual {
		residual = t.in(s.dtype, s.m, t.normal, s.rows, s.in)
	}
	in := vals(t.in(s.dtype, s.l, t.normal, s.rows, s.width()), s.maskOf(t), residual)
	for _, p := range a.Projections {
		in = append(append(in, p.Weight.Operands[:]...), adapterOf(p)...)
	}
	t.Node(abi.OpLinearGradInput, a, vals(dx, v), in)
}

func (s linearShape) gradWeight(t *Trial) {
	a := s.attr(t)
	a.Fresh = s.fresh
	t.Length, t.Scale = max(1, s.rows), math.Sqrt(float64(s.rows))
	var out []*op.Value
	for i, p := range s.projections {
		var dw, db *op.Value
		if s.has("w") && !(i == 1 && s.without != "") {
			dw = t.state(s.sums, s.m, t.normal, p.out, s.in)
		}
		if p.bias && s.has("b") || s.without == "w" {
			db = t.state(s.sums, plain, t.normal, p.out)
		}
		out = append(out, dw, db)
	}
	t.Node(abi.OpLinearGradWeight, a, out, vals(t.in(s.dtype, s.l, t.normal, s.rows, s.width()), t.in(s.dtype, s.l, t.normal, s.rows, s.in)))
}

func (s linearShape) gradAdapter(t *Trial) {
	a := s.attr(t)
	t.Length, t.Scale = max(1, s.rows), 2*math.Sqrt(float64(s.rows))
	var out []*op.Value
	for _, p := range s.projections {
		var da, db *op.Value
		if p.rank > 0 && s.has("w") {
			da = t.state(s.sums, s.m, t.normal, p.rank, s.in)
		}
		if p.rank > 0 && s.has("b") {
			db = t.state(s.sums, plain, t.normal, p.out, p.rank)
		}
		out = append(out, da, db)
	}
	dy, x := t.in(s.dtype, s.l, t.normal, s.rows, s.width()), t.in(s.dtype, s.l, t.normal, s.rows, s.in)
	u, v := t.in(s.dtype, plain, t.normal, s.rows, s.rank()), t.in(s.dtype, wide, t.normal, s.rows, s.rank())
	t.Node(abi.OpLinearGradAdapter, a, out, vals(dy, x, s.maskOf(t), u, v))
}

// linearBenchmarks are the projections of a block: fused q, k and v, the attention's output,
// fused gate and up, down; then with adapters, and with a quantised weight.
func linearBenchmarks() (list []Case) {
	dense := func(in int64, outs ...int64) linearShape {
		s := linearShape{rows: benchTokens, in: in, dtype: abi.F32, weights: abi.F32, sums: abi.F32}
		for _, out := range outs {
			s.projections = append(s.projections, projection{out: out})
		}
		return s
	}
	const group = benchGroups * benchHeadWidth
	shapes := []linearShape{dense(benchHidden, benchHidden, group, group), dense(benchHidden, benchHidden), dense(benchHidden, benchInner, benchInner), dense(benchInner, benchHidden)}
	adapted := dense(benchHidden, benchInner, benchInner)
	adapted.mask = true
	for i := range adapted.projections {
		adapted.projections[i].rank = benchAdapter
	}
	shapes = append(shapes, adapted)
	for _, f := range []abi.QuantFormat{op.NF4(true), op.HQQ(4, 64, false, false), op.HQQ(4, 64, true, false), op.HQQ(3, 64, false, false), op.MLX(4, 64), op.Int8(benchHidden)} {
		s := dense(benchHidden, benchInner, benchInner)
		for i := range s.projections {
			s.projections[i].rank, s.projections[i].format = benchAdapter, f
		}
		shapes = append(shapes, s)
	}
	half := dense(benchHidden, benchInner, benchInner)
	half.dtype, half.weights, half.compute = abi.BF16, abi.BF16, abi.BF16
	for _, s := range append(shapes, half) {
		list = append(list, Case{"linear", s.String(), s.linear}, Case{"linear_grad_input", s.String(), s.gradInput})
		if s.rank() > 0 {
			list = append(list, Case{"linear_grad_adapter", s.String(), s.gradAdapter})
		} else {
			list = append(list, Case{"linear_grad_weight", s.String(), s.gradWeight})
		}
	}
	return list
}
