package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

func quantiseCases() (cases []Case) {
	shapes := [][2]int64{{1, 1}, {1, 64}, {3, 21}, {7, 33}, {5, 65}, {64, 64}, {33, 127}, {129, 255}}
	for _, nested := range []bool{false, true} {
		for _, s := range shapes {
			cases = append(cases, quantiseCase(op.NF4(nested), abi.F32, s[0], s[1]), dequantiseCase(op.NF4(nested), abi.F32, s[0], s[1]))
		}
		for _, dtype := range floats[1:] {
			cases = append(cases, quantiseCase(op.NF4(nested), dtype, 33, 127), dequantiseCase(op.NF4(nested), dtype, 33, 127))
		}
		other := op.NF4(nested)
		other.Group = 128
		cases = append(cases, quantiseCase(other, abi.F32, 33, 127), dequantiseCase(other, abi.F32, 33, 127), zerosCase(op.NF4(nested)))
	}
	for _, l := range layouts {
		cases = append(cases, denseCase(true, abi.F32, abi.BF16, l), denseCase(false, abi.BF16, abi.F32, l))
	}
	return cases
}

// quantiseCase quantises normally distributed numbers.
func quantiseCase(f abi.QuantFormat, dtype abi.DType, rows, cols int64) Case {
	return Case{"quantise", formatName(f, dtype, rows, cols), func(t *Trial) {
		w := op.NewWeight("w", op.Output, f, rows, cols)
		t.Length, t.Scale = rows*cols/int64(f.Group)+1, 3 // errors of nested scales are those of their mean
		if f.NestedGroup > 0 {
			t.Rules[w.Operands[abi.WeightScale]] = Rule{Near: 0.02}
		}
		t.Quantise(w, t.in(dtype, plain, t.normal, rows, cols))
	}}
}

// zerosCase has blocks of zeros: their scale is 0.
func zerosCase(f abi.QuantFormat) Case {
	return Case{"quantise", "zeros " + formatName(f, abi.F32, 4, 128), func(t *Trial) {
		t.Quantise(op.NewWeight("w", op.Output, f, 4, 128), t.in(abi.F32, plain, same(0), 4, 128))
	}}
}

func dequantiseCase(f abi.QuantFormat, dtype abi.DType, rows, cols int64) Case {
	return Case{"dequantise", formatName(f, dtype, rows, cols), func(t *Trial) {
		t.Dequantise(t.out(dtype, plain, rows, cols), t.weight(f, 0, rows, cols))
	}}
}

// denseCase quantises to or from the dense format, which only casts.
func denseCase(to bool, from, dst abi.DType, l layout) Case {
	name := "dequantise"
	if to {
		name = "quantise"
	}
	return Case{name, fmt.Sprintf("dense %s to %s %s", from, dst, l), func(t *Trial) {
		x, y := t.in(from, l, t.special, 9, 33), t.out(dst, plain, 9, 33)
		if a := (op.Quantise{Rows: 9, Cols: 33}); to {
			t.Node(abi.OpQuantise, a, op.DenseWeight(y).Operands[:], vals(x))
		} else {
			t.Node(abi.OpDequantise, a, vals(y), op.DenseWeight(x).Operands[:])
		}
		t.exact(y)
	}}
}

func formatName(f abi.QuantFormat, dtype abi.DType, rows, cols int64) string {
	name := "dense"
	if f.Format == abi.FormatNF4 {
		name = fmt.Sprintf("nf4/%d", f.Group)
	}
	if f.NestedGroup > 0 {
		name += fmt.Sprintf("/%d", f.NestedGroup)
	}
	return fmt.Sprintf("%s %s [%d %d]", name, dtype, rows, cols)
}

// weight is a constant weight of a format, of about unit norm in each row; dtype is that
// of a dense one.
func (t *Trial) weight(f abi.QuantFormat, dtype abi.DType, out, in int64) *op.Weight {
	deviation := 1 / math.Sqrt(float64(in))
	if f.Format == abi.FormatDense {
		return op.DenseWeight(t.constant(dtype, t.scaled(deviation), out, in))
	}
	w := op.NewWeight("w", op.Constant, f, out, in)
	t.fill(w.Operands[abi.WeightData], t.ints(0, 255))
	if f.NestedGroup == 0 {
		t.fill(w.Operands[abi.WeightScale], t.between(deviation, 3*deviation))
		return w
	}
	t.fill(w.Operands[abi.WeightScale], t.ints(0, 255))
	t.fill(w.Operands[abi.WeightScaleScale], t.between(deviation/2, deviation))
	t.fill(w.Operands[abi.WeightScaleZero], same(2*deviation))
	t.fill(w.Operands[abi.WeightCode], these(op.DynamicMap()...))
	return w
}

func quantiseBenchmarks() []Case {
	return []Case{quantiseCase(op.NF4(true), abi.F32, benchInner, benchHidden), dequantiseCase(op.NF4(true), abi.F32, benchInner, benchHidden)}
}
