package reference

import (
	"math"

	"trainer/core/op"
)

func globalNorm(c *call) error {
	sum := 0.0
	for _, grad := range c.in {
		for _, x := range grad.data {
			sum += x * x
		}
	}
	c.out[0].data[0] = sum
	return nil
}

func guard(c *call) error {
	a := c.attr.(op.Guard)
	clip, skip, steps, norm, scale, growth := c.out[0].data, c.out[1].data, c.out[2].data, c.out[3].data, c.out[4].data, c.out[5].data
	norm[0] = math.Sqrt(c.in[0].data[0]) / scale[0]
	taken := isFinite(norm[0])
	factor := 1.0
	if a.MaxNorm > 0 {
		factor = min(1, f32(a.MaxNorm)/(norm[0]+f32(1e-6)))
	}
	clip[0] = 0
	if taken {
		clip[0] = factor / scale[0]
	}
	skip[0] = truth(!taken)
	steps[0] += truth(taken)
	if a.Interval > 0 {
		rescale(&scale[0], &growth[0], taken, float64(a.Interval))
	}
	return nil
}

// rescale halves the loss scale after an overflow and doubles it after interval good steps.
func rescale(scale, growth *float64, taken bool, interval float64) {
	if !taken {
		*scale *= 0.5
		*growth = 0
		return
	}
	*growth++
	if *growth >= interval {
		*scale *= 2
		*growth = 0
	}
}
