package reference

func gather(c *call) error {
	dst, src, index := c.out[0].matrix(), c.in[0].matrix(), c.in[1]
	for i, at := range index.data {
		row := dst.row(i)
		clear(row)
		if at >= 0 && int(at) < src.rows {
			copy(row, src.row(int(at)))
		}
	}
	return nil
}

func scatterAdd(c *call) error {
	dst, src, index := c.out[0].matrix(), c.in[0].matrix(), c.in[1]
	for i, at := range index.data {
		if at < 0 || int(at) >= dst.rows {
			continue
		}
		for j, x := range src.row(i) {
			dst.row(int(at))[j] += x
		}
	}
	return nil
}
