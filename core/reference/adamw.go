package reference

import (
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

func adamw(c *call) error {
	a := c.attr.(op.AdamW)
	param, m, v := c.out[0], c.out[1], c.out[2]
	grad, lr, clip, skip, t := c.in[0], c.in[1].data[0], c.in[2].data[0], c.in[3].data[0], c.in[4].data[0]
	if skip != 0 {
		return nil
	}
	beta1, beta2 := f32(a.Beta1), f32(a.Beta2)
	correct1, correct2 := 1-math.Pow(beta1, t), 1-math.Pow(beta2, t)
	for i, d := range grad.data {
		g := d * clip
		m.data[i] = beta1*m.data[i] + (1-beta1)*g
		v.data[i] = beta2*v.data[i] + (1-beta2)*g*g
		step := lr / correct1 * m.data[i] / (math.Sqrt(v.data[i]/correct2) + f32(a.Eps))
		param.data[i] = param.data[i]*(1-lr*f32(a.WeightDecay)) - step
	}
	if a.Stochastic {
		key := keyOf(c.in[5], a.Site)
		for which, state := range c.out {
			if state.dtype == abi.BF16 {
				roundState(state, key, uint32(which), word(t))
			}
		}
	}
	return nil
}

// roundState rounds every element stochastically; which is 0 for the parameter, 1 for m,
// 2 for v.
func roundState(state *tensor, key [2]uint32, which, t uint32) {
	for i, x := range state.data {
		w := philox([4]uint32{uint32(i / 4), which, 0, t}, key)[i%4]
		state.data[i] = stochastic(x, w>>16)
	}
}
