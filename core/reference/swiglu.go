package reference

func swiglu(c *call) error {
	gate, up := c.in[0].data, c.in[1].data
	for i, g := range gate {
		c.out[0].data[i] = g * sigmoid(g) * up[i]
	}
	return nil
}

func swigluGrad(c *call) error {
	dy, gate, up := c.in[0].data, c.in[1].data, c.in[2].data
	for i, g := range gate {
		s := sigmoid(g)
		if dgate := c.out[0]; dgate != nil {
			dgate.data[i] = dy[i] * up[i] * (s + g*s*(1-s))
		}
		if dup := c.out[1]; dup != nil {
			dup.data[i] = dy[i] * g * s
		}
	}
	return nil
}
