package reference

import "trainer/core/op"

// bit is where bit j of value i lies: in which byte, and how far from its lowest bit.
// Values are a stream of bits; order 0 fills each byte from the high end.
func bit(a op.Bits, i, j int) (at, by int) {
	if a.Order == 0 {
		pos := i*int(a.Bits) + int(a.Bits) - 1 - j
		return pos / 8, 7 - pos%8
	}
	pos := i*int(a.Bits) + j
	return pos / 8, pos % 8
}

func unpack(c *call) error {
	copy(c.out[0].data, unpacked(c.in[0].data, c.attr.(op.Bits), len(c.out[0].data)))
	return nil
}

// unpacked is n values of packed bytes.
func unpacked(packed []float64, a op.Bits, n int) []float64 {
	values := make([]float64, n)
	for i := range values {
		for j := range int(a.Bits) {
			at, by := bit(a, i, j)
			values[i] += float64(int(packed[at]) >> by & 1 << j)
		}
	}
	return values
}

func pack(c *call) error {
	packInto(c.out[0].data, c.in[0].data, c.attr.(op.Bits))
	return nil
}

// packInto packs the low bits of each value; bits that are not used are 0.
func packInto(packed, values []float64, a op.Bits) {
	clear(packed)
	for i, x := range values {
		for j := range int(a.Bits) {
			at, by := bit(a, i, j)
			packed[at] += float64(int32(x) >> j & 1 << by)
		}
	}
}
