package op

import "trainer/core/abi"

// Scale makes x [T,N] times g f32 [N], column by column.
func (b *Builder) Scale(x, g *Value) *Value {
	y := b.Like(x.Name+".scaled", x)
	b.Node(abi.OpScale, nil, vals(y), vals(x, g))
	return y
}

func backwardScale(w *Backprop, n *Node) {
	x, g := n.In[0], n.In[1]
	dy, kept := w.Grad(n.Out[0]), x
	dx, dg := w.Dest(x), w.Dest(g)
	if dg == nil {
		kept = nil
	}
	w.Node(abi.OpScaleGrad, nil, vals(dx, dg), vals(dy, kept, g))
	w.Done(x, dx)
	w.Done(g, dg)
}

func composeScale(b *Builder, n *Node) { b.Binary(abi.BinaryMul, n.Out[0], n.In[0], n.In[1]) }

// composeScaleGrad makes dg first: dx may lie where dy does.
func composeScaleGrad(b *Builder, n *Node) {
	dy, x, g := n.In[0], n.In[1], n.In[2]
	if dg := n.Out[1]; dg != nil {
		b.Cast(dg, b.reduce(abi.ReduceSum, b.times(dy, x), 0).Squeeze(0))
	}
	if dx := n.Out[0]; dx != nil {
		b.Binary(abi.BinaryMul, dx, dy, g)
	}
}
