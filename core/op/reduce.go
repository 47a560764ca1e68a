package op

import "trainer/core/abi"

// Reduce emits dst = code over the dimensions of src where dst has extent 1.
func (b *Builder) Reduce(code uint32, dst, src *Value) {
	b.Node(abi.OpReduce, Reduce{Code: code}, vals(dst), vals(src))
}

func backwardReduce(w *Backprop, n *Node) {
	if n.Attr.(Reduce).Code != abi.ReduceSum {
		panic("op: only the sum has a gradient")
	}
	dx := w.Dest(n.In[0])
	w.Cast(dx, w.Grad(n.Out[0]).Broadcast(n.In[0].Shape...))
	w.Done(n.In[0], dx)
}
