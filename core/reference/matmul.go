package reference

import "trainer/core/op"

// matmul multiplies the last two dimensions; an input's leading dimension may be 1
// where the output's is larger.
func matmul(c *call) error {
	a, dst := c.attr.(op.MatMul), c.out[0]
	alpha, beta := f32(a.Alpha), f32(a.Beta)
	for i, x := range dst.data {
		if beta == 0 { // not read: it may hold NaN
			dst.data[i] = 0
		} else {
			dst.data[i] = beta * x
		}
	}
	lead := dst.shape[:len(dst.shape)-2]
	batches := int64(1)
	for _, n := range lead {
		batches *= n
	}
	for batch := range batches {
		c.addProduct(c.out[0].batch(batch, lead), c.in[0].batch(batch, lead), c.in[1].batch(batch, lead), alpha, a.Compute)
	}
	return nil
}

// batch is the matrix of one batch index, which counts over lead.
func (t *tensor) batch(i int64, lead []int64) matrix {
	rows, cols := int(t.shape[len(lead)]), int(t.shape[len(lead)+1])
	at := int(target(i, lead, t.shape[:len(lead)])) * rows * cols
	return matrix{rows, cols, cols, t.data[at:][:rows*cols]}
}
