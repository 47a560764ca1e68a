package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

// code names a code of unary, binary or reduce.
type code struct {
	code uint32
	name string
}

var unaryCodes = []code{{abi.UnaryNeg, "neg"}, {abi.UnaryExp, "exp"}, {abi.UnaryLog, "log"}, {abi.UnarySqrt, "sqrt"}, {abi.UnaryRsqrt, "rsqrt"},
	{abi.UnaryTanh, "tanh"}, {abi.UnarySigmoid, "sigmoid"}, {abi.UnaryAbs, "abs"}, {abi.UnaryReciprocal, "reciprocal"}, {abi.UnarySin, "sin"},
	{abi.UnaryCos, "cos"}, {abi.UnaryFloor, "floor"}, {abi.UnaryIsFinite, "isfinite"}, {abi.UnaryAffine, "affine"}, {abi.UnaryRound, "round"}}

var binaryCodes = []code{{abi.BinaryAdd, "add"}, {abi.BinarySub, "sub"}, {abi.BinaryMul, "mul"}, {abi.BinaryDiv, "div"}, {abi.BinaryMax, "max"},
	{abi.BinaryMin, "min"}, {abi.BinaryLt, "lt"}, {abi.BinaryLe, "le"}, {abi.BinaryEq, "eq"}, {abi.BinaryPow, "pow"}}

func elementwiseCases() (cases []Case) {
	for _, c := range unaryCodes {
		for _, dtype := range floats {
			cases = append(cases, unaryCase(c, dtype, dtype, plain, plain, 7, 33), unarySpecials(c, dtype))
		}
		cases = append(cases, unaryCase(c, abi.F32, abi.F32, plain, plain, 2500), unaryCase(c, abi.BF16, abi.F32, turned, wide, 9, 17), unaryInPlace(c))
	}
	cases = append(cases, unaryCase(unaryCodes[1], abi.F32, abi.F32, plain, plain, 0), unaryCase(unaryCodes[1], abi.F32, abi.BF16, stepped, turned, 70, 600))
	for _, dtype := range []abi.DType{abi.I32, abi.U8} {
		cases = append(cases, Case{"unary", fmt.Sprintf("isfinite to %s", dtype), func(t *Trial) {
			t.Unary(abi.UnaryIsFinite, t.out(dtype, plain, 3, 40), t.in(abi.F32, plain, t.special, 3, 40))
		}})
	}
	for _, n := range borders {
		cases = append(cases, unaryCase(unaryCodes[1], abi.F32, abi.F32, plain, plain, n), unaryCase(unaryCodes[6], abi.BF16, abi.BF16, plain, plain, n))
	}
	return append(append(cases, binaryCases()...), selectCases()...)
}

// domain is where a unary op is finite and well conditioned.
func (t *Trial) domain(c uint32) func(int) float64 {
	switch c {
	case abi.UnaryLog, abi.UnarySqrt, abi.UnaryRsqrt, abi.UnaryReciprocal:
		return func(int) float64 { return math.Exp(8 * t.rng.NormFloat64()) }
	case abi.UnaryExp, abi.UnarySigmoid:
		return t.between(-80, 80)
	case abi.UnarySin, abi.UnaryCos:
		return t.between(-30, 30)
	case abi.UnaryAffine:
		return t.between(0, 9)
	}
	return t.scaled(3)
}

func (t *Trial) unary(c uint32, dst, src *op.Value) {
	if c == abi.UnaryAffine {
		t.Affine(dst, src, 1.7, 0.3)
		return
	}
	t.Unary(c, dst, src)
}

func unaryCase(c code, from, to abi.DType, l, m layout, shape ...int64) Case {
	return Case{"unary", fmt.Sprintf("%s %s to %s %v %s to %s", c.name, from, to, shape, l, m), func(t *Trial) {
		t.unary(c.code, t.out(to, m, shape...), t.in(from, l, t.domain(c.code), shape...))
	}}
}

func unarySpecials(c code, dtype abi.DType) Case {
	return Case{"unary", fmt.Sprintf("%s %s specials", c.name, dtype), func(t *Trial) {
		src := t.in(dtype, plain, these(specials...), int64(len(specials)))
		if c.code == abi.UnarySin || c.code == abi.UnaryCos { // no reduction of huge angles is asked for
			t.fill(src, these(math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 0x1p-149, 0x1p-20, 1000, -1000))
		}
		t.unary(c.code, t.out(dtype, plain, int64(len(specials))), src)
	}}
}

func unaryInPlace(c code) Case {
	return Case{"unary", c.name + " in place", func(t *Trial) {
		x := t.state(abi.F32, stepped, t.domain(c.code), 3, 70)
		t.unary(c.code, x, x)
	}}
}

func binaryCases() (cases []Case) {
	for _, c := range binaryCodes {
		for _, dtype := range floats {
			cases = append(cases, binaryCase(c, dtype, dtype, plain, plain, 7, 33), binarySpecials(c, dtype))
		}
		cases = append(cases, binaryCase(c, abi.BF16, abi.F32, turned, wide, 9, 17), binaryCase(c, abi.I32, abi.I32, turned, stepped, 9, 17),
			binaryCase(c, abi.I32, abi.I32, plain, plain, 2000), binaryInPlace(c, 0), binaryInPlace(c, 1))
		for _, at := range [][]int64{{1}, {33}, {5, 1}, {5, 33}, {2, 1, 33}} {
			cases = append(cases, broadcastCase(c, at...))
		}
	}
	for _, c := range binaryCodes[6:9] {
		for _, dtype := range []abi.DType{abi.U8, abi.I32, abi.F32, abi.F16} {
			cases = append(cases, binaryCase(c, abi.F32, dtype, plain, turned, 5, 33), binaryCase(c, abi.I32, dtype, wide, plain, 5, 33))
		}
	}
	for _, n := range borders {
		cases = append(cases, binaryCase(binaryCodes[0], abi.F32, abi.F32, plain, plain, n))
	}
	return append(cases, binaryCase(binaryCodes[2], abi.F32, abi.F32, plain, plain, 0, 4), binaryCase(binaryCodes[0], abi.F32, abi.F32, turned, plain, 260, 300),
		Case{"binary", "add f32 and bf16", func(t *Trial) {
			t.Binary(abi.BinaryAdd, t.out(abi.F32, plain, 5, 65), t.in(abi.F32, plain, t.normal, 5, 65), t.in(abi.BF16, plain, t.normal, 65))
		}})
}

// operands are two inputs of a binary op without cancellation; some are equal, so that
// comparisons have both answers.
func (t *Trial) operands(c uint32, dtype abi.DType, l layout, shape ...int64) (a, b *op.Value) {
	gen := t.between(0.5, 4)
	if dtype == abi.I32 {
		gen = t.ints(-9, 9)
	} else if c != abi.BinaryPow {
		gen = func(int) float64 { return float64(t.rng.IntN(64)-32) / 8 }
	}
	return t.in(dtype, l, gen, shape...), t.in(dtype, plain, gen, shape...)
}

func binaryCase(c code, from, to abi.DType, l, m layout, shape ...int64) Case {
	return Case{"binary", fmt.Sprintf("%s %s to %s %v %s to %s", c.name, from, to, shape, l, m), func(t *Trial) {
		a, b := t.operands(c.code, from, l, shape...)
		if from == abi.I32 && len(shape) == 1 { // arithmetic wraps around
			t.fill(a, t.ints(-1<<31, 1<<31-1))
			t.fill(a.Slice(0, 0, 4), these(-1<<31, -1<<31, 5, 1<<31-1))
			t.fill(b.Slice(0, 0, 4), these(-1, 0, 0, -1<<31))
		}
		t.Binary(c.code, t.out(to, m, shape...), a, b)
	}}
}

// binarySpecials pairs special numbers with each other.
func binarySpecials(c code, dtype abi.DType) Case {
	return Case{"binary", fmt.Sprintf("%s %s specials", c.name, dtype), func(t *Trial) {
		numbers := specials
		if c.code == abi.BinaryPow {
			numbers = []float64{math.NaN(), math.Inf(1), 0, 1, 2, 0.5, 2.5, -2}
		}
		n := int64(len(numbers))
		a, b := t.in(dtype, plain, these(numbers...), n, 1), t.in(dtype, plain, these(numbers...), n)
		t.Binary(c.code, t.out(dtype, plain, n, n), a, b)
	}}
}

func binaryInPlace(c code, of int) Case {
	return Case{"binary", fmt.Sprintf("%s in place of input %d", c.name, of), func(t *Trial) {
		x := t.state(abi.F32, plain, t.between(0.5, 4), 3, 70)
		y := t.in(abi.F32, wide, t.between(0.5, 4), 3, 70)
		if of == 0 {
			t.Binary(c.code, x, x, y)
		} else {
			t.Binary(c.code, x, y, x)
		}
	}}
}

func broadcastCase(c code, shape ...int64) Case {
	return Case{"binary", fmt.Sprintf("%s broadcast %v", c.name, shape), func(t *Trial) {
		a, b := t.in(abi.F32, plain, t.between(0.5, 4), 2, 5, 33), t.in(abi.F32, plain, t.between(0.5, 4), shape...)
		t.Binary(c.code, t.out(abi.F32, plain, 2, 5, 33), b, a)
	}}
}

func selectCases() (cases []Case) {
	for _, cond := range storages {
		for _, dtype := range storages {
			cases = append(cases, selectCase(cond, dtype, plain, plain, 5, 33))
			for _, l := range layouts[1:] {
				cases = append(cases, selectCase(cond, dtype, l, plain, 5, 33), selectCase(cond, dtype, plain, l, 5, 33))
			}
		}
	}
	return append(cases, selectCase(abi.U8, abi.F32, plain, plain, 1), selectCase(abi.U8, abi.F32, plain, plain, 0), selectCase(abi.I32, abi.F32, turned, plain, 90, 700),
		Case{"select", "broadcast", func(t *Trial) {
			t.Select(t.out(abi.F32, plain, 4, 5, 33), t.in(abi.U8, plain, t.ints(0, 1), 4, 1, 33), t.in(abi.F32, plain, t.normal, 5, 33), t.in(abi.F32, plain, t.normal, 1))
		}})
}

func selectCase(cond, dtype abi.DType, l, m layout, shape ...int64) Case {
	return Case{"select", fmt.Sprintf("%s by %s %v %s to %s", dtype, cond, shape, l, m), func(t *Trial) {
		choose := t.in(cond, l, t.ints(0, 2), shape...)
		if cond.IsFloat() {
			t.fill(choose, these(0, 1, math.Copysign(0, -1), math.NaN(), 0x1p-14, math.Inf(-1), 0))
		}
		t.Select(t.out(dtype, m, shape...), choose, t.stores(dtype, plain, shape...), t.stores(dtype, l, shape...))
	}}
}

func elementwiseBenchmarks() []Case {
	return []Case{unaryCase(unaryCodes[1], abi.F32, abi.F32, plain, plain, benchTokens, benchInner),
		binaryCase(binaryCodes[0], abi.F32, abi.F32, plain, plain, benchTokens, benchInner),
		selectCase(abi.U8, abi.F32, plain, plain, benchTokens, benchInner)}
}
