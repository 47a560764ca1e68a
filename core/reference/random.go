package reference

import "trainer/core/op"

// philox is Philox-4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3;
// 2011).
func philox(counter [4]uint32, key [2]uint32) [4]uint32 {
	c := counter
	for range 10 {
		p0 := uint64(c[0]) * 0xD2511F53
		p1 := uint64(c[2]) * 0xCD9E8D57
		c = [4]uint32{uint32(p1>>32) ^ c[1] ^ key[0], uint32(p1), uint32(p0>>32) ^ c[3] ^ key[1], uint32(p0)}
		key[0] += 0x9E3779B9
		key[1] += 0xBB67AE85
	}
	return c
}

// keyOf mixes a seed i32 [2] with a site.
func keyOf(seed *tensor, site op.Site) [2]uint32 {
	return [2]uint32{word(seed.data[0]) ^ uint32(site), word(seed.data[1]) ^ uint32(site>>32)}
}

func word(x float64) uint32 { return uint32(int32(x)) }

// uniforms draws [rows, features] in [0,1) at the coordinates in c's inputs.
func (c *call) uniforms(site op.Site, features int) matrix {
	samples, positions, seed, step := c.in[0], c.in[1], c.in[2], c.in[3]
	out := newMatrix(len(samples.data), features)
	for r := range out.rows {
		for k := range out.row(r) {
			counter := [4]uint32{uint32(k / 4), word(positions.data[r]), word(samples.data[r]), word(step.data[0])}
			w := philox(counter, keyOf(seed, site))[k%4]
			out.row(r)[k] = float64(w>>8) * 0x1p-24
		}
	}
	return out
}

func random(c *call) error {
	dst := c.out[0]
	copy(dst.data, c.uniforms(c.attr.(op.Random).Site, int(dst.shape[1])).data)
	return nil
}

func dropoutMask(c *call) error {
	a, mask := c.attr.(op.DropoutMask), c.out[0].matrix()
	drawn := c.uniforms(a.Site, int(a.Features))
	for t := range mask.rows {
		row := mask.row(t)
		clear(row)
		for k, x := range drawn.row(t) {
			if x >= f32(a.P) {
				row[k/8] += float64(int(1) << (k % 8))
			}
		}
	}
	if y := c.out[1]; y != nil {
		copyInto(y.matrix(), dropped(c.in[4].matrix(), c.out[0], a.KeepScale))
	}
	return nil
}

// dropped is x * bit * keepScale under a mask u8 [T, ceil(K/8)]; x itself without one.
func dropped(x matrix, mask *tensor, keepScale float64) matrix {
	if mask == nil {
		return x
	}
	bits, out := mask.matrix(), newMatrix(x.rows, x.cols)
	for t := range x.rows {
		for k, v := range x.row(t) {
			if int(bits.row(t)[k/8])>>(k%8)&1 != 0 {
				out.row(t)[k] = v * f32(keepScale)
			}
		}
	}
	return out
}
