package reference

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

var unaries = map[uint32]func(float64) float64{
	abi.UnaryNeg:        func(x float64) float64 { return -x },
	abi.UnaryExp:        math.Exp,
	abi.UnaryLog:        math.Log,
	abi.UnarySqrt:       math.Sqrt,
	abi.UnaryRsqrt:      func(x float64) float64 { return 1 / math.Sqrt(x) },
	abi.UnaryTanh:       math.Tanh,
	abi.UnarySigmoid:    sigmoid,
	abi.UnaryAbs:        math.Abs,
	abi.UnaryReciprocal: func(x float64) float64 { return 1 / x },
	abi.UnarySin:        math.Sin,
	abi.UnaryCos:        math.Cos,
	abi.UnaryFloor:      math.Floor,
	abi.UnaryIsFinite:   func(x float64) float64 { return truth(isFinite(x)) },
	abi.UnaryRound:      math.RoundToEven,
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func isFinite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unary(c *call) error {
	a := c.attr.(op.Unary)
	f := unaries[a.Code]
	if a.Code == abi.UnaryAffine {
		alpha, beta := f32(a.Alpha), f32(a.Beta)
		f = func(x float64) float64 { return x*alpha + beta }
	}
	if f == nil {
		return fmt.Errorf("there is no unary code %d", a.Code)
	}
	for i, x := range c.in[0].data {
		c.out[0].data[i] = f(x)
	}
	return nil
}

var comparisons = map[uint32]func(a, b float64) bool{
	abi.BinaryLt: func(a, b float64) bool { return a < b },
	abi.BinaryLe: func(a, b float64) bool { return a <= b },
	abi.BinaryEq: func(a, b float64) bool { return a == b },
}

var floatBinaries = map[uint32]func(a, b float64) float64{
	abi.BinaryAdd: func(a, b float64) float64 { return a + b },
	abi.BinarySub: func(a, b float64) float64 { return a - b },
	abi.BinaryMul: func(a, b float64) float64 { return a * b },
	abi.BinaryDiv: func(a, b float64) float64 { return a / b },
	abi.BinaryMax: func(a, b float64) float64 { return max(a, b) },
	abi.BinaryMin: func(a, b float64) float64 { return min(a, b) },
	abi.BinaryPow: math.Pow,
}

// i32 arithmetic wraps around; division truncates, by zero it gives 0.
var intBinaries = map[uint32]func(a, b int32) int32{
	abi.BinaryAdd: func(a, b int32) int32 { return a + b },
	abi.BinarySub: func(a, b int32) int32 { return a - b },
	abi.BinaryMul: func(a, b int32) int32 { return a * b },
	abi.BinaryDiv: func(a, b int32) int32 {
		if b == 0 {
			return 0
		}
		return a / b
	},
	abi.BinaryMax: func(a, b int32) int32 { return max(a, b) },
	abi.BinaryMin: func(a, b int32) int32 { return min(a, b) },
	abi.BinaryPow: intPower,
}

// intPower wraps around; a negative exponent gives 0, except of 1 and -1.
func intPower(base, exponent int32) int32 {
	if exponent < 0 && base != 1 && base != -1 {
		return 0
	}
	result := int32(1)
	square, left := base, uint32(max(exponent, -(exponent+1)+1))
	for ; left > 0; left >>= 1 {
		if left&1 != 0 {
			result *= square
		}
		square *= square
	}
	return result
}

func binary(c *call) error {
	code := c.attr.(op.Binary).Code
	a, b, dst := c.in[0], c.in[1], c.out[0]
	compare, float, integer := comparisons[code], floatBinaries[code], intBinaries[code]
	if compare == nil && float == nil {
		return fmt.Errorf("there is no binary code %d", code)
	}
	for i, x := range a.data {
		y := b.data[i]
		switch {
		case compare != nil:
			dst.data[i] = truth(compare(x, y))
		case isInt(a.dtype):
			dst.data[i] = float64(integer(int32(x), int32(y)))
		default:
			dst.data[i] = float(x, y)
		}
	}
	return nil
}

func selectKernel(c *call) error {
	cond, a, b := c.in[0], c.in[1], c.in[2]
	for i, take := range cond.data {
		if take != 0 {
			c.out[0].data[i] = a.data[i]
		} else {
			c.out[0].data[i] = b.data[i]
		}
	}
	return nil
}
