package reference

func scale(c *call) error {
	g := c.in[1].data
	for i, x := range c.in[0].data {
		c.out[0].data[i] = x * g[i%len(g)]
	}
	return nil
}

func scaleGrad(c *call) error {
	dy, x, g := c.in[0].data, c.in[1], c.in[2].data
	dx, dg := c.out[0], c.out[1]
	if dg != nil {
		clear(dg.data)
	}
	for i, d := range dy {
		if dg != nil {
			dg.data[i%len(g)] += d * x.data[i]
		}
		if dx != nil {
			dx.data[i] = d * g[i%len(g)]
		}
	}
	return nil
}
