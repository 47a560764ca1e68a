package reference

import (
	"math"

	"trainer/core/op"
)

func rope(c *call) error {
	a, x, y := c.attr.(op.RoPE), c.in[0], c.out[0]
	positions, invFreq := c.in[1].data, c.in[2].data
	heads, width, half := int(x.shape[1]), int(x.shape[2]), int(a.RotaryDim/2)
	copy(y.data, x.data)
	for t, position := range positions {
		for h := range int(a.Heads) {
			from, to := x.data[(t*heads+h)*width:], y.data[(t*heads+h)*width:]
			for i := range half {
				angle := position * invFreq[i]
				cos, sin := f32(a.Scale)*math.Cos(angle), f32(a.Scale)*math.Sin(angle)
				if a.Inverse {
					sin = -sin
				}
				to[i] = from[i]*cos - from[i+half]*sin
				to[i+half] = from[i+half]*cos + from[i]*sin
			}
		}
	}
	return nil
}
