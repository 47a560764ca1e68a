package reference

import (
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

func isInt(d abi.DType) bool { return d >= abi.I32 }

// fill reads the bits as f32 for floats, as i32 or u8 for integers.
func fill(c *call) error {
	dst, bits := c.out[0], c.attr.(op.Fill).Bits
	x := float64(math.Float32frombits(bits))
	switch {
	case dst.dtype == abi.U8:
		x = float64(uint8(bits))
	case isInt(dst.dtype):
		x = float64(int32(bits))
	}
	for i := range dst.data {
		dst.data[i] = x
	}
	return nil
}

func iota_(c *call) error {
	dst, dim := c.out[0], c.attr.(op.Iota).Dim
	inner := int64(1)
	for _, n := range dst.shape[dim+1:] {
		inner *= n
	}
	for i := range dst.data {
		dst.data[i] = float64(int64(i) / inner % dst.shape[dim])
	}
	return nil
}
