package op

import (
	"math"
	"slices"
)

// Biased is MLX's affine quantisation of one group: a number is about code * Scale + Bias. All of
// it is float32, as MLX has it.
type Biased struct{ Scale, Bias, top float32 }

// BiasedOver spreads the codes of so many bits over the numbers of a group, of which there is at
// least one, so that the end farther from 0, and 0 itself, are codes.
func BiasedOver(x []float32, bits uint32) Biased {
	low, high, top := slices.Min(x), slices.Max(x), float32(int(1)<<bits-1)
	scale, edge := max((high-low)/top, 1e-7), low
	if !(math.Abs(float64(low)) > math.Abs(float64(high))) {
		scale, edge = -scale, high
	}
	if n := nearestInteger(edge / scale); n != 0 {
		return Biased{edge / n, edge, top}
	}
	return Biased{scale, 0, top}
}

// Code is the code of a number.
func (b Biased) Code(x float32) float32 {
	return min(max(nearestInteger((x-b.Bias)/b.Scale), 0), b.top)
}

// nearestInteger takes of a tie the even one.
func nearestInteger(x float32) float32 { return float32(math.RoundToEven(float64(x))) }
