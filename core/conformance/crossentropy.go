package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

// headShape is a case of linear_cross_entropy: rows of h [rows, in] under a head [out, in].
type headShape struct {
	rows, in, out  int64
	labelled       float64 // share of rows with a label
	chunk          int64
	format         abi.QuantFormat
	dtype, weights abi.DType
	sums, compute  abi.DType
	l, m           layout // of h, of dh
	without        string // gradients that are absent: h, w
}

func (s headShape) String() string {
	name := fmt.Sprintf("%s of %d, %.2g labelled, chunk %d, %s to %s", formatShape{s.format, s.out, s.in}.name(s.weights), s.rows, s.labelled, s.chunk, s.l, s.m)
	if s.dtype != s.weights {
		name += " " + s.dtype.String()
	}
	if s.sums != s.weights {
		name += " sums " + s.sums.String()
	}
	if s.compute != 0 {
		name += " in " + s.compute.String()
	}
	if s.without != "" {
		name += " without " + s.without
	}
	return name
}

func crossEntropyCases() (cases []Case) {
	shapes := []headShape{
		{rows: 0, in: 4, out: 5, labelled: 1}, {rows: 1, in: 1, out: 1, labelled: 1}, {rows: 9, in: 20, out: 50, labelled: 0},
		{rows: 40, in: 33, out: 300, labelled: 0.5, without: "w"}, {rows: 40, in: 33, out: 300, labelled: 0.5, without: "h"},
		{rows: 40, in: 33, out: 300, labelled: 0.5, without: "hw"}, {rows: 20, in: 16, out: 5000, labelled: 0.8},
		{rows: 40, in: 33, out: 200, labelled: 0.8, chunk: 7}, {rows: 40, in: 33, out: 200, labelled: 0.8, chunk: 1000},
		{rows: 21, in: 33, out: 129, labelled: 0.7, format: op.NF4(false), without: "w"}, {rows: 21, in: 33, out: 129, labelled: 0.7, format: op.NF4(true), without: "w"},
	}
	for _, f := range []abi.QuantFormat{op.FP4(false), op.HQQ(4, 8, false, false), op.HQQ(3, 40, true, false), op.HQQ(8, 8, true, true), op.MLX(4, 40), op.MLX(6, 8), op.Int8(40)} {
		shapes = append(shapes, headShape{rows: 21, in: 40, out: 128, labelled: 0.7, format: f, without: "w"})
	}
	for i, n := range borders {
		shapes = append(shapes, headShape{rows: borders[(i+5)%12], in: borders[(i+3)%12], out: n, labelled: 0.9})
	}
	for _, dtype := range floats {
		for _, weights := range floats {
			shapes = append(shapes, headShape{rows: 21, in: 33, out: 130, labelled: 0.7, dtype: dtype, weights: weights})
		}
		shapes = append(shapes, headShape{rows: 21, in: 33, out: 130, labelled: 0.7, dtype: dtype, weights: dtype, sums: abi.F32, compute: dtype})
	}
	for _, l := range layouts[1:] {
		shapes = append(shapes, headShape{rows: 21, in: 33, out: 130, labelled: 0.7, l: l}, headShape{rows: 21, in: 33, out: 130, labelled: 0.7, m: l})
	}
	for _, s := range shapes {
		s.dtype, s.weights = orF32(s.dtype), orF32(s.weights)
		if s.sums == 0 {
			s.sums = s.weights
		}
		cases = append(cases, Case{"linear_cross_entropy", s.String(), s.make})
	}
	return cases
}

func (s headShape) make(t *Trial) {
	w := t.weight(s.format, s.weights, s.out, s.in)
	t.Length = max(1, s.in+s.rows)
	h := t.in(s.dtype, s.l, t.scaled(2), s.rows, s.in)
	labels := t.in(abi.I32, wide, func(int) float64 {
		if t.rng.Float64() < s.labelled {
			return float64(t.rng.Int64N(s.out))
		}
		return -100
	}, s.rows)
	scale := t.param(abi.F32, 0, []float64{1}, []float64{1.0 / 64})
	loss := t.out(abi.F32, plain, 1)
	var dh, dw *op.Value
	if s.without != "h" && s.without != "hw" {
		dh = t.out(s.dtype, s.m, s.rows, s.in)
	}
	if s.without != "w" && s.without != "hw" {
		dw = t.state(s.sums, plain, t.normal, s.out, s.in)
	}
	a := op.LinearCrossEntropy{Compute: s.compute, Chunk: s.chunk, Out: s.out, In: s.in, Format: s.format}
	t.Scale = 1 / math.Sqrt(float64(s.in))
	t.Node(abi.OpLinearCrossEntropy, a, vals(loss, dh, dw), append(vals(h, labels, scale), w.Operands[:]...))
}

// crossEntropyBenchmarks are a head that is trained, and one that is not.
func crossEntropyBenchmarks() (list []Case) {
	for _, without := range []string{"", "w"} {
		s := headShape{rows: benchTokens, in: benchHidden, out: benchVocabulary, labelled: 1, dtype: abi.F32, weights: abi.F32, sums: abi.F32, without: without}
		list = append(list, Case{"linear_cross_entropy", s.String(), s.make})
	}
	return list
}
