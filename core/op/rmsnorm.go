package op

import "trainer/core/abi"

// RMSNormAttr is the attribute of OpRMSNorm and its gradient.
type RMSNormAttr struct{ Eps float64 }

// Bytes encodes the attribute.
func (a RMSNormAttr) Bytes() []byte { return abi.AttrBytes(abi.AttrRmsnorm{EpsBits: f32(a.Eps)}) }

// RMSNorm normalises x [T,H] by weight [H]. With a residual it first adds it: h = x +
// residual; without, h is x. y and h are what the block reads and passes on.
func (b *Builder) RMSNorm(x, residual, weight *Value, eps float64) (y, h *Value) {
	y = b.Value("norm", Activation, x.Shape...)
	rstd := b.Fixed("rstd", abi.F32, x.Shape[0])
	var sum *Value
	if residual != nil {
		sum = b.Value("h", Residual, x.Shape...)
	}
	b.Node(abi.OpRmsnorm, RMSNormAttr{eps}, vals(y, sum, rstd), vals(x, residual, weight))
	if sum == nil {
		return y, x
	}
	return y, sum
}

func backwardRMSNorm(w *Backprop, n *Node) {
	x, residual, weight := n.In[0], n.In[1], n.In[2]
	y, h, rstd := n.Out[0], n.Out[1], n.Out[2]
	if h == nil {
		h = x
	}
	rest := w.Take(h)
	dy := w.Grad(y)
	if dy == nil {
		panic("op: rmsnorm whose output has no gradient")
	}
	dx := w.Like("d."+h.Name, h)
	w.Node(abi.OpRmsnormGrad, n.Attr, vals(dx, w.Accumulator(weight)), vals(dy, h, rstd, weight, rest))
	w.Pass(x, dx)
	if residual != nil {
		w.Pass(residual, dx)
	}
}

func composeRMSNorm(b *Builder, n *Node) {
	x, residual, weight := n.In[0], n.In[1], n.In[2]
	h := x
	if residual != nil {
		h = b.plus(x, residual)
	}
	if n.Out[1] != nil {
		b.Cast(n.Out[1], h)
	}
	rstd := b.apply(abi.UnaryRsqrt, b.affine(b.mean(b.times(h, h)), 1, n.Attr.(RMSNormAttr).Eps))
	if n.Out[2] != nil {
		b.Copy(n.Out[2], rstd.Squeeze(1))
	}
	b.Binary(abi.BinaryMul, n.Out[0], b.times(h, rstd), weight)
}

func composeRMSNormGrad(b *Builder, n *Node) {
	dy, h, weight, residual := n.In[0], n.In[1], n.In[3], n.In[4]
	rstd := n.In[2].Split(0, n.In[2].Shape[0], 1)
	normed := b.times(h, rstd)
	if dx := n.Out[0]; dx != nil {
		g := b.times(dy, weight)
		along := b.times(normed, b.mean(b.times(g, normed)))
		b.sum(dx, b.times(rstd, b.minus(g, along)), residual)
	}
	if dw := n.Out[1]; dw != nil {
		b.sum(dw, dw, b.reduce(abi.ReduceSum, b.times(dy, normed), 0).Squeeze(0))
	}
}
