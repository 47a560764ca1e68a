package reference

import "trainer/core/op"

// shift is where element i of a packed byte begins.
func shift(a op.Bits, i int) (at int, by uint32) {
	per := 8 / int(a.Bits)
	by = uint32(i%per) * a.Bits
	if a.Order == 0 {
		by = 8 - a.Bits - by
	}
	return i / per, by
}

func unpack(c *call) error {
	a, dst, src := c.attr.(op.Bits), c.out[0], c.in[0]
	for i := range dst.data {
		at, by := shift(a, i)
		dst.data[i] = float64(uint32(src.data[at]) >> by & (1<<a.Bits - 1))
	}
	return nil
}

func pack(c *call) error {
	a, dst, src := c.attr.(op.Bits), c.out[0], c.in[0]
	clear(dst.data)
	for i, x := range src.data {
		at, by := shift(a, i)
		dst.data[at] += float64(uint32(int32(x)) & (1<<a.Bits - 1) << by)
	}
	return nil
}
