package reference

import (
	"math"

	"trainer/core/op"
)

func linearCrossEntropy(c *call) error {
	a := c.attr.(op.LinearCrossEntropy)
	h, labels, gradScale := c.in[0].matrix(), c.in[1].data, c.in[2].data[0]
	w, err := c.weight(c.in[3:], a.Format, a.Out, a.In)
	if err != nil {
		return err
	}
	logits := newMatrix(h.rows, w.rows)
	c.addProduct(logits, h, w.transposed(), 1, a.Compute)
	g, loss := newMatrix(h.rows, w.rows), 0.0
	for r, label := range labels {
		if label < 0 {
			continue
		}
		lse := logSumExp(logits.row(r))
		loss += lse - logits.row(r)[int(label)]
		for j, z := range logits.row(r) {
			g.row(r)[j] = gradScale * (math.Exp(z-lse) - truth(j == int(label)))
		}
	}
	c.out[0].data[0] = loss
	if dh := c.out[1]; dh != nil {
		clear(dh.data)
		c.addProduct(dh.matrix(), g, w, 1, a.Compute)
	}
	if dw := c.out[2]; dw != nil {
		c.addProduct(dw.matrix(), g.transposed(), h, 1, a.Compute)
	}
	return nil
}

// logSumExp is log sum exp of a row; -inf of an empty one.
func logSumExp(row []float64) float64 {
	most := math.Inf(-1)
	for _, x := range row {
		most = max(most, x)
	}
	if math.IsInf(most, -1) {
		return most
	}
	sum := 0.0
	for _, x := range row {
		sum += math.Exp(x - most)
	}
	return most + math.Log(sum)
}
