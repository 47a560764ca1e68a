package reference

import (
	"math"

	"trainer/core/abi"
)

// cast truncates floats to integers, saturating, NaN becoming 0; i32 to u8 keeps the low
// 8 bits. Floats are rounded when they are stored.
func cast(c *call) error {
	dst, src := c.out[0], c.in[0]
	for i, x := range src.data {
		dst.data[i] = converted(dst.dtype, src.dtype, x)
	}
	return nil
}

func converted(to, from abi.DType, x float64) float64 {
	switch {
	case !isInt(to):
		return x
	case isInt(from) && to == abi.U8:
		return float64(uint8(int64(x)))
	case isInt(from):
		return x
	case math.IsNaN(x):
		return 0
	case to == abi.U8:
		return math.Trunc(min(max(x, 0), math.MaxUint8))
	}
	return math.Trunc(min(max(x, math.MinInt32), math.MaxInt32))
}
