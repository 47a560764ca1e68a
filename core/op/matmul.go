package op

import "trainer/core/abi"

// MatMul emits d = alpha a b + beta d over the last two dimensions; leading dimensions
// are batches, in which an input's stride may be 0.
func (b *Builder) MatMul(d, x, y *Value, alpha, beta float64) {
	b.Node(abi.OpMatmul, MatMul{Alpha: alpha, Beta: beta}, vals(d), vals(x, y))
}

// backwardMatMul covers beta = 0: dx = alpha dd y^T, dy = alpha x^T dd.
func backwardMatMul(w *Backprop, n *Node) {
	dd, x, y := w.Grad(n.Out[0]), n.In[0], n.In[1]
	last := len(x.Shape) - 1
	if w.Needs(x) {
		dx := w.Dest(x)
		w.MatMul(dx, dd, y.Transpose(last, last-1), n.Attr.(MatMul).Alpha, 0)
		w.Done(x, dx)
	}
	if w.Needs(y) {
		dy := w.Dest(y)
		w.MatMul(dy, x.Transpose(last, last-1), dd, n.Attr.(MatMul).Alpha, 0)
		w.Done(y, dy)
	}
}
