package op

import (
	"cmp"
	"math"
	"slices"

	"trainer/core/abi"
)

// NF4Values is the value of each 4-bit NormalFloat code, ascending: quantiles of a normal
// distribution, exactly as bitsandbytes has them in float32 (Dettmers et al. 2023).
var NF4Values = [16]float64{
	-1, -0x1.647362p-1, -0x1.0cd660p-1, -0x1.946540p-2, -0x1.23449ap-2, -0x1.7a6a7ep-3, -0x1.74f0e2p-4, 0,
	0x1.45f5fep-4, 0x1.4995c6p-3, 0x1.f809bap-3, 0x1.5a0674p-2, 0x1.c34970p-2, 0x1.200f56p-1, 0x1.722766p-1, 1,
}

// FP4Values is the value of each code of bitsandbytes' 4-bit float: a sign, and eight
// magnitudes in twelfths, exactly as float32 has them.
var FP4Values = [16]float64{
	0, 0x1.555556p-8, 0x1.555556p-1, 1, 0x1.555556p-2, 0.5, 0x1.555556p-3, 0.25,
	0, -0x1.555556p-8, -0x1.555556p-1, -1, -0x1.555556p-2, -0.5, -0x1.555556p-3, -0.25,
}

// CodeBook is a table of numbers as quantising needs it: the numbers ascending, and the
// code of each.
type CodeBook struct {
	Values []float64
	Codes  []float64
}

// BookOf is the code book of a format whose numbers stand in a table. Of two equal numbers
// the lower code comes first.
func BookOf(f abi.QuantFormat) (book CodeBook) {
	values := NumbersOf(f)
	for code := range values {
		book.Codes = append(book.Codes, float64(code))
	}
	slices.SortStableFunc(book.Codes, func(a, b float64) int { return cmp.Compare(values[int(a)], values[int(b)]) })
	for _, code := range book.Codes {
		book.Values = append(book.Values, values[int(code)])
	}
	return book
}

// NumbersOf is the number of each code, where they stand in a table; else nil.
func NumbersOf(f abi.QuantFormat) []float64 {
	switch f.Format {
	case abi.FormatNF4:
		return NF4Values[:]
	case abi.FormatFP4:
		return FP4Values[:]
	}
	return nil
}

// DynamicMap is the signed 8-bit dynamic map that stores nested scales (Dettmers 2015;
// Dettmers et al. 2022): for each of seven decades the middles of 2^decade equal steps
// from 0.1 to 1, with both signs, then 0 and 1. 256 values, ascending, each a float32.
func DynamicMap() []float64 {
	values := make([]float64, 256)
	at := 0
	for decade := range 7 {
		scale, items := float32(math.Pow(10, float64(decade-6))), 1<<decade
		for i := range items {
			value := scale * ((linspace(i, items+1) + linspace(i+1, items+1)) / 2)
			values[128+at], values[126-at] = float64(value), -float64(value)
			at++
		}
	}
	values[255] = 1
	return values
}

// linspace is point i of n from 0.1 to 1, built from both ends with one rounding each.
func linspace(i, n int) float32 {
	first, last := float32(0.1), float32(1)
	step := float64((last - first) / float32(n-1))
	if i < n/2 {
		return float32(float64(first) + step*float64(i))
	}
	return float32(float64(last) - step*float64(n-i-1))
}
