package reference

import (
	"math"

	"trainer/core/op"
)

// heads is the geometry and the optional operands of one attention.
type heads struct {
	attr                      op.Attention
	batch, queries, keys      int
	count, groups, width      int
	q, k, v                   *tensor
	lengths, segments, offset *tensor
}

// headsOf reads q, k, v, lengths, segments, offset.
func headsOf(c *call, in []*tensor) heads {
	q, k := in[0].shape, in[1].shape
	return heads{attr: c.attr.(op.Attention), batch: int(q[0]), queries: int(q[1]), keys: int(k[1]), count: int(q[2]), groups: int(k[2]),
		width: int(q[3]), q: in[0], k: in[1], v: in[2], lengths: in[3], segments: in[4], offset: in[5]}
}

// query views the rows of one head of q [B,S,H,D].
func (s heads) query(t *tensor, b, h int) matrix {
	return matrix{s.queries, s.width, s.count * s.width, t.from((b*s.queries*s.count + h) * s.width)}
}

// key views the rows of k or v [B,L,G,D] that head h reads.
func (s heads) key(t *tensor, b, h int) matrix {
	g := h / (s.count / s.groups)
	return matrix{s.keys, s.width, s.groups * s.width, t.from((b*s.keys*s.groups + g) * s.width)}
}

// sees reports whether query i of row b attends key l.
func (s heads) sees(b, i, l int) bool {
	at := i
	if s.offset != nil {
		at += int(s.offset.data[0])
	}
	switch {
	case s.lengths != nil && float64(l) >= s.lengths.data[b]:
		return false
	case s.segments != nil && s.segments.data[b*s.queries+i] != s.segments.data[b*s.queries+l]:
		return false
	case s.attr.Causal && l > at:
		return false
	}
	return s.attr.Window == 0 || l > at-int(s.attr.Window)
}

// scores is scale * q k^T of one head, -inf where nothing is attended.
func (s heads) scores(c *call, b, h int) matrix {
	z := newMatrix(s.queries, s.keys)
	c.addProduct(z, s.query(s.q, b, h), s.key(s.k, b, h).transposed(), f32(s.attr.Scale), s.attr.Compute)
	for i := range z.rows {
		for l := range z.row(i) {
			if !s.sees(b, i, l) {
				z.row(i)[l] = math.Inf(-1)
			}
		}
	}
	return z
}

func attention(c *call) error {
	s := headsOf(c, c.in)
	clear(c.out[0].data)
	for b := range s.batch {
		for h := range s.count {
			p := s.scores(c, b, h)
			for i := range p.rows {
				lse := logSumExp(p.row(i))
				if c.out[1] != nil {
					c.out[1].data[(b*s.count+h)*s.queries+i] = lse
				}
				probabilities(p.row(i), lse)
			}
			c.addProduct(s.query(c.out[0], b, h), p, s.key(s.v, b, h), 1, s.attr.Compute)
		}
	}
	return nil
}

// probabilities turns scores into exp(score - lse); a row without any key is zero.
func probabilities(row []float64, lse float64) {
	for l, z := range row {
		row[l] = 0
		if !math.IsInf(z, -1) {
			row[l] = math.Exp(z - lse)
		}
	}
}

func attentionGrad(c *call) error {
	do, o, lse := c.in[0], c.in[1], c.in[2]
	s := headsOf(c, c.in[3:])
	for _, d := range c.out {
		if d != nil {
			clear(d.data)
		}
	}
	for b := range s.batch {
		for h := range s.count {
			p := s.scores(c, b, h)
			for i := range p.rows {
				probabilities(p.row(i), lse.data[(b*s.count+h)*s.queries+i])
			}
			s.headGrad(c, b, h, p, s.query(do, b, h), s.query(o, b, h))
		}
	}
	return nil
}

// headGrad adds what one head contributes: ds = p (dp - rowsum(do o)).
func (s heads) headGrad(c *call, b, h int, p, do, o matrix) {
	compute, scale := s.attr.Compute, f32(s.attr.Scale)
	ds := newMatrix(s.queries, s.keys)
	c.addProduct(ds, do, s.key(s.v, b, h).transposed(), 1, compute)
	for i := range ds.rows {
		sum := 0.0
		for j, x := range do.row(i) {
			sum += x * o.row(i)[j]
		}
		for l, dp := range ds.row(i) {
			ds.row(i)[l] = p.row(i)[l] * (dp - sum)
		}
	}
	if dq := c.out[0]; dq != nil {
		c.addProduct(s.query(dq, b, h), ds, s.key(s.k, b, h), scale, compute)
	}
	if dk := c.out[1]; dk != nil {
		c.addProduct(s.key(dk, b, h), ds.transposed(), s.query(s.q, b, h), scale, compute)
	}
	if dv := c.out[2]; dv != nil {
		c.addProduct(s.key(dv, b, h), p.transposed(), do, 1, compute)
	}
}
