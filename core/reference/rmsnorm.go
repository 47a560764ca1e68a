package reference

import (
	"math"

	"trainer/core/op"
)

func rmsnorm(c *call) error {
	x, residual, w := c.in[0].matrix(), c.in[1], c.in[2].data
	y, sum, rstd := c.out[0].matrix(), c.out[1], c.out[2]
	h := newMatrix(x.rows, x.cols)
	copy(h.data, x.data)
	if residual != nil {
		for i, r := range residual.data {
			h.data[i] += r
		}
	}
	if sum != nil {
		copy(sum.data, h.data)
	}
	for t := range x.rows {
		squares := 0.0
		for _, v := range h.row(t) {
			squares += v * v
		}
		r := 1 / math.Sqrt(squares/float64(x.cols)+f32(c.attr.(op.RMSNormAttr).Eps))
		if rstd != nil {
			rstd.data[t] = r
		}
		for j, v := range h.row(t) {
			y.row(t)[j] = v * r * w[j]
		}
	}
	return nil
}

func rmsnormGrad(c *call) error {
	dy, h, rstd, w, residual := c.in[0].matrix(), c.in[1].matrix(), c.in[2].data, c.in[3].data, c.in[4]
	dx, dw := c.out[0], c.out[1]
	for t := range h.rows {
		r, mean := rstd[t], 0.0
		for j, v := range h.row(t) {
			mean += dy.row(t)[j] * w[j] * v / float64(h.cols)
		}
		for j, v := range h.row(t) {
			if dx != nil {
				dx.matrix().row(t)[j] = r * (dy.row(t)[j]*w[j] - v*r*r*mean)
			}
			if dx != nil && residual != nil {
				dx.matrix().row(t)[j] += residual.matrix().row(t)[j]
			}
			if dw != nil {
				dw.data[j] += dy.row(t)[j] * v * r
			}
		}
	}
	return nil
}
