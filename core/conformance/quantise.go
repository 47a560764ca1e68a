package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

// formatShape is a weight [rows, cols] in a format.
type formatShape struct {
	f          abi.QuantFormat
	rows, cols int64
}

// withGroup is a format with other groups.
func withGroup(f abi.QuantFormat, group, nested uint32) abi.QuantFormat {
	f.Group, f.NestedGroup = group, nested
	return f
}

// edges are weights of every format: all bits, groups from 8 up, those that cross rows, that
// are the whole weight or that end short, interleaved ones and nested ones.
func edges() (list []formatShape) {
	add := func(f abi.QuantFormat, rows, cols int64) { list = append(list, formatShape{f, rows, cols}) }
	for _, nested := range []bool{false, true} {
		for _, s := range [][2]int64{{1, 1}, {1, 64}, {3, 21}, {7, 33}, {5, 65}, {64, 64}, {33, 127}, {129, 255}} {
			add(op.NF4(nested), s[0], s[1])
		}
		for _, s := range [][2]int64{{1, 1}, {3, 21}, {64, 64}, {33, 127}} {
			add(op.FP4(nested), s[0], s[1])
		}
		f := op.NF4(nested)
		add(withGroup(f, 128, f.NestedGroup), 33, 127)
		add(withGroup(f, 2, f.NestedGroup), 3, 21)
		add(withGroup(f, 6000, f.NestedGroup), 70, 127)
	}
	for _, bits := range []uint32{1, 2, 3, 4, 8} {
		for _, interleaved := range []bool{false, true} {
			hqq := func(group, rows, cols int64) { add(op.HQQ(bits, uint32(group), interleaved, false), rows, cols) }
			hqq(8, 7, 40)
			hqq(64, 16, 128)
			add(op.HQQ(bits, 8, interleaved, true), 32, 64)
			if bits < 3 || bits > 4 {
				continue
			}
			hqq(8, 1, 8)
			hqq(24, 24, 72)
			hqq(80, 6, 40)
			hqq(240, 6, 40)
			hqq(264, 33, 72)
			add(withGroup(op.HQQ(bits, 8, interleaved, true), 8, 4), 12, 40)
			add(withGroup(op.HQQ(bits, 8, interleaved, true), 64, 16), 32, 128)
		}
	}
	for _, bits := range []uint32{2, 3, 4, 5, 6, 8} {
		for _, s := range [][3]int64{{8, 1, 8}, {8, 7, 40}, {24, 24, 72}, {64, 16, 128}, {264, 5, 264}} {
			add(op.MLX(bits, uint32(s[0])), s[1], s[2])
		}
	}
	for _, s := range [][2]int64{{1, 1}, {3, 21}, {1, 64}, {33, 127}, {40, 520}} {
		add(op.Int8(s[1]), s[0], s[1])
	}
	return list
}

// every is one weight of every kind of format.
func every() []formatShape {
	return []formatShape{{op.NF4(false), 33, 127}, {op.NF4(true), 33, 127}, {op.FP4(false), 33, 127}, {op.FP4(true), 33, 127},
		{op.HQQ(4, 64, false, false), 33, 128}, {op.HQQ(3, 24, true, false), 35, 72}, {op.HQQ(8, 16, false, true), 32, 64}, {op.HQQ(2, 8, true, true), 32, 64},
		{op.MLX(4, 32), 33, 96}, {op.MLX(5, 24), 33, 72}, {op.Int8(127), 33, 127}}
}

func quantiseCases() (cases []Case) {
	for _, s := range edges() {
		cases = append(cases, s.quantise(abi.F32, "", (*Trial).weights), s.dequantise(abi.F32))
	}
	for _, s := range every() {
		for _, dtype := range floats[1:] {
			cases = append(cases, s.quantise(dtype, "", (*Trial).weights), s.dequantise(dtype))
		}
		cases = append(cases, s.quantise(abi.F32, "zeros ", func(*Trial) func(int) float64 { return same(0) }),
			s.quantise(abi.F32, "equal ", func(*Trial) func(int) float64 { return same(-0.375) }),
			s.quantise(abi.F32, "small ", func(t *Trial) func(int) float64 { return t.scaled(1e-6) }),
			s.quantise(abi.F32, "large ", func(t *Trial) func(int) float64 { return t.scaled(100) }),
			s.quantise(abi.F32, "grid ", func(t *Trial) func(int) float64 { return t.grid(1.0 / 16) }))
	}
	for _, l := range layouts {
		cases = append(cases, denseCase(true, abi.F32, abi.BF16, l), denseCase(false, abi.BF16, abi.F32, l))
	}
	return cases
}

// weights draws numbers as weights of models are distributed.
func (t *Trial) weights() func(int) float64 { return t.scaled(0.05) }

// grid draws multiples of a step, which meet in ties.
func (t *Trial) grid(step float64) func(int) float64 {
	return func(int) float64 { return step * float64(t.rng.IntN(97)-48) }
}

// quantise quantises drawn numbers.
func (s formatShape) quantise(dtype abi.DType, what string, draw func(*Trial) func(int) float64) Case {
	return Case{"quantise", what + s.name(dtype), func(t *Trial) {
		w := op.NewWeight("w", op.Output, s.f, s.rows, s.cols)
		src := t.in(dtype, plain, draw(t), s.rows, s.cols)
		t.Length = int64(s.f.Group)
		if s.f.NestedGroup > 0 && op.NumbersOf(s.f) != nil { // errors of nested scales are those of their mean
			t.Length = s.rows*s.cols/int64(s.f.Group) + 1
			for _, x := range t.Inputs[src] {
				t.Scale = max(t.Scale, math.Abs(x))
			}
			t.Rules[w.Operands[abi.WeightScale]] = Rule{Near: 0.02}
		}
		t.Quantise(w, src)
	}}
}

func (s formatShape) dequantise(dtype abi.DType) Case {
	return Case{"dequantise", s.name(dtype), func(t *Trial) {
		t.Rounds = true // every operation does
		t.Dequantise(t.out(dtype, plain, s.rows, s.cols), t.weight(s.f, 0, s.rows, s.cols))
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

func (s formatShape) name(dtype abi.DType) string {
	return fmt.Sprintf("%s %s [%d %d]", formatName(s.f), dtype, s.rows, s.cols)
}

// formatName is as short as a format can be told from the others.
func formatName(f abi.QuantFormat) string {
	name := map[uint32]string{abi.FormatDense: "dense", abi.FormatNF4: "nf4", abi.FormatFP4: "fp4", abi.FormatAffine: "hqq", abi.FormatBiased: "mlx", abi.FormatInt8: "int8"}[f.Format]
	if f.Format == abi.FormatAffine || f.Format == abi.FormatBiased {
		name += fmt.Sprint(f.Bits)
	}
	if f.Format != abi.FormatDense {
		name += fmt.Sprintf("/%d", f.Group)
	}
	if f.NestedGroup > 0 {
		name += fmt.Sprintf("/%d", f.NestedGroup)
	}
	if f.Interleaved > 0 {
		name += " interleaved"
	}
	return name
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
	top := float64(int(1)<<f.Bits - 1)
	step := 3.5 * deviation / top // from code to code
	set := func(slot int, gen func(int) float64) { t.fill(w.Operands[slot], gen) }
	switch {
	case op.NumbersOf(f) != nil && f.NestedGroup == 0:
		set(abi.WeightScale, t.between(deviation, 3*deviation))
	case op.NumbersOf(f) != nil:
		set(abi.WeightScale, t.ints(0, 255))
		set(abi.WeightScaleScale, t.between(deviation/2, deviation))
		set(abi.WeightScaleZero, same(2*deviation))
		set(abi.WeightCode, these(op.DynamicMap()...))
	case f.Format == abi.FormatInt8:
		set(abi.WeightScale, t.between(step/2, step))
	case f.Format == abi.FormatBiased:
		set(abi.WeightScale, t.between(-step, step))
		set(abi.WeightZero, t.scaled(deviation))
	case f.NestedGroup == 0:
		set(abi.WeightScale, t.between(step/2, step))
		set(abi.WeightZero, t.between(0, top))
	default: // scales around step, zeros among the codes
		set(abi.WeightScale, t.ints(0, 255))
		set(abi.WeightScaleScale, t.between(step/400, step/300))
		set(abi.WeightScaleZero, t.between(-250, -150))
		set(abi.WeightZero, t.ints(0, 255))
		set(abi.WeightZeroScale, same(top/255))
		set(abi.WeightZeroZero, t.between(-20, 20))
	}
	return w
}

func quantiseBenchmarks() (list []Case) {
	for _, f := range []abi.QuantFormat{op.NF4(true), op.HQQ(4, 64, false, false), op.HQQ(4, 64, true, false), op.HQQ(3, 64, false, false)} {
		s := formatShape{f, benchInner, benchHidden}
		list = append(list, s.quantise(abi.F32, "", (*Trial).weights), s.dequantise(abi.F32))
	}
	return list
}
