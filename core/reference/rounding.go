package reference

import (
	"math"

	"trainer/core/abi"
)

// round is the nearest value of a float dtype, ties to even; other dtypes keep x.
func round(dtype abi.DType, x float64) float64 {
	switch dtype {
	case abi.F32:
		return float64(float32(x))
	case abi.BF16:
		return roundTo(x, 8, -126, 127)
	case abi.F16:
		return roundTo(x, 11, -14, 15)
	}
	return x
}

// roundTo rounds once to a significand of so many bits, the implied one included, and
// exponents in [low, high]; below low numbers are subnormal, above high infinite.
func roundTo(x float64, significand, low, high int) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	_, e := math.Frexp(x) // |x| < 2^e
	step := max(e-1, low) - (significand - 1)
	y := math.Ldexp(math.RoundToEven(math.Ldexp(x, -step)), step)
	if math.Abs(y) >= math.Ldexp(1, high+1) {
		return math.Inf(int(math.Copysign(1, x)))
	}
	return y
}

// stochastic rounds x up or down to bf16: 16 random bits are added below the mantissa
// of its f32 form, which is then truncated. Infinities and NaN stay.
func stochastic(x float64, bits uint32) float64 {
	raw := math.Float32bits(float32(x))
	if raw&0x7F800000 == 0x7F800000 {
		return x
	}
	return float64(math.Float32frombits((raw + bits) & 0xFFFF0000))
}
