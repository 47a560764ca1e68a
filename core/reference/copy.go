package reference

func copyKernel(c *call) error {
	copy(c.out[0].data, c.in[0].data)
	return nil
}
