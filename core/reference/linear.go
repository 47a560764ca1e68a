package reference

import (
	"trainer/core/abi"
	"trainer/core/op"
)

// projection is one projection's share of a linear's operands.
type projection struct {
	w           matrix // [N,K]
	bias        *tensor
	a, b        *tensor
	scale       float64
	from, width int // columns of y
	first, rank int // columns of u and v
}

// projections reads the operands behind x: a weight, a bias where the op has one, A and B.
func (c *call) projections(attr op.Linear, in []*tensor, hasBias bool) ([]projection, error) {
	var list []projection
	from, first := 0, 0
	for _, p := range attr.Projections {
		w, err := c.weight(in[:abi.WeightOperands], p.Weight.Format, p.Weight.Out, p.Weight.In)
		if err != nil {
			return nil, err
		}
		q := projection{w: w, from: from, width: w.rows, first: first}
		in = in[abi.WeightOperands:]
		if hasBias {
			q.bias, in = in[0], in[1:]
		}
		q.a, q.b, in = in[0], in[1], in[2:]
		if q.a != nil {
			q.scale, q.rank = f32(p.Adapter.Scale), int(q.a.shape[0])
		}
		from, first = from+q.width, first+q.rank
		list = append(list, q)
	}
	return list, nil
}

func linear(c *call) error {
	attr := c.attr.(op.Linear)
	x, mask, y := c.in[0].matrix(), c.in[1], c.out[0].matrix()
	list, err := c.projections(attr, c.in[2:], true)
	if err != nil {
		return err
	}
	clear(y.data)
	kept := x
	if mask != nil && mask.dtype.IsFloat() {
		kept = mask.matrix()
	} else if attr.Rank() > 0 {
		kept = dropped(x, mask, attr.KeepScale)
	}
	for _, p := range list {
		yp := y.columns(p.from, p.width)
		c.addProduct(yp, x, p.w.transposed(), 1, attr.Compute)
		if p.bias != nil {
			addRow(yp, p.bias.data)
		}
		if p.a == nil {
			continue
		}
		up := newMatrix(x.rows, p.rank)
		c.addProduct(up, kept, p.a.matrix().transposed(), 1, attr.Compute)
		c.addProduct(yp, up, p.b.matrix().transposed(), p.scale, attr.Compute)
		copyInto(c.out[1].matrix().columns(p.first, p.rank), up)
	}
	return nil
}

func addRow(m matrix, row []float64) {
	for i := range m.rows {
		for j, x := range row {
			m.row(i)[j] += x
		}
	}
}

func copyInto(dst, src matrix) {
	for i := range src.rows {
		copy(dst.row(i), src.row(i))
	}
}

func linearGradInput(c *call) error {
	attr := c.attr.(op.Linear)
	dy, mask, residual := c.in[0].matrix(), c.in[1], c.in[2]
	list, err := c.projections(attr, c.in[3:], false)
	if err != nil {
		return err
	}
	k := list[0].w.cols
	dx, through := newMatrix(dy.rows, k), newMatrix(dy.rows, k)
	for _, p := range list {
		dyp := dy.columns(p.from, p.width)
		c.addProduct(dx, dyp, p.w, 1, attr.Compute)
		if p.a == nil {
			continue
		}
		vp := newMatrix(dy.rows, p.rank)
		c.addProduct(vp, dyp, p.b.matrix(), p.scale, attr.Compute)
		c.addProduct(through, vp, p.a.matrix(), 1, attr.Compute)
		if v := c.out[1]; v != nil {
			copyInto(v.matrix().columns(p.first, p.rank), vp)
		}
	}
	if c.out[0] == nil {
		return nil
	}
	through = dropped(through, mask, attr.KeepScale)
	for i := range dx.data {
		c.out[0].data[i] = dx.data[i] + through.data[i]
		if residual != nil {
			c.out[0].data[i] += residual.data[i]
		}
	}
	return nil
}

func linearGradWeight(c *call) error {
	attr := c.attr.(op.Linear)
	dy, x := c.in[0].matrix(), c.in[1].matrix()
	from := 0
	for i, p := range attr.Projections {
		dyp := dy.columns(from, int(p.Weight.Out))
		from += int(p.Weight.Out)
		if dw := c.out[2*i]; dw != nil {
			if attr.Fresh {
				clear(dw.data)
			}
			c.addProduct(dw.matrix(), dyp.transposed(), x, 1, attr.Compute)
		}
		if db := c.out[2*i+1]; db != nil {
			if attr.Fresh {
				clear(db.data)
			}
			for t := range dyp.rows {
				for j, g := range dyp.row(t) {
					db.data[j] += g
				}
			}
		}
	}
	return nil
}

func linearGradAdapter(c *call) error {
	attr := c.attr.(op.Linear)
	dy, x, mask, u, v := c.in[0].matrix(), c.in[1].matrix(), c.in[2], c.in[3].matrix(), c.in[4].matrix()
	from, first := 0, 0
	for i, p := range attr.Projections {
		dyp := dy.columns(from, int(p.Weight.Out))
		from += int(p.Weight.Out)
		if p.Adapter == nil {
			continue
		}
		rank := int(p.Adapter.A.Shape[0])
		up, vp := u.columns(first, rank), v.columns(first, rank)
		first += rank
		if da := c.out[2*i]; da != nil {
			c.addProduct(da.matrix(), vp.transposed(), dropped(x, mask, attr.KeepScale), 1, attr.Compute)
		}
		if db := c.out[2*i+1]; db != nil {
			c.addProduct(db.matrix(), dyp.transposed(), up, f32(p.Adapter.Scale), attr.Compute)
		}
	}
	return nil
}
