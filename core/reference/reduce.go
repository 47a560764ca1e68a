package reference

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

func reduce(c *call) error {
	dst, src, code := c.out[0], c.in[0], c.attr.(op.Reduce).Code
	if code != abi.ReduceSum && code != abi.ReduceMax {
		return fmt.Errorf("there is no reduce code %d", code)
	}
	for i := range dst.data {
		dst.data[i] = 0
		if code == abi.ReduceMax {
			dst.data[i] = math.Inf(-1)
		}
	}
	for i, x := range src.data {
		to := &dst.data[target(int64(i), src.shape, dst.shape)]
		if code == abi.ReduceMax {
			*to = max(*to, x)
		} else {
			*to += x
		}
	}
	if isInt(dst.dtype) {
		for i, x := range dst.data {
			dst.data[i] = float64(int32(int64(x)))
		}
	}
	return nil
}

// target is the index in dst that element i of src goes to.
func target(i int64, src, dst []int64) int64 {
	at, step := int64(0), int64(1)
	for d := len(src) - 1; d >= 0; d-- {
		if dst[d] != 1 {
			at += i % src[d] * step
		}
		i /= src[d]
		step *= dst[d]
	}
	return at
}
