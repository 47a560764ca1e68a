package op

import "trainer/core/abi"

// SwiGLU makes gate * sigmoid(gate) * up, all [T,F].
func (b *Builder) SwiGLU(gate, up *Value) *Value {
	y := b.Value("swiglu", Activation, gate.Shape...)
	b.Node(abi.OpSwiglu, nil, vals(y), vals(gate, up))
	return y
}

func backwardSwiGLU(w *Backprop, n *Node) {
	gate, up := n.In[0], n.In[1]
	dgate, dup := w.Dest(gate), w.Dest(up)
	w.Node(abi.OpSwigluGrad, nil, vals(dgate, dup), vals(w.Grad(n.Out[0]), gate, up))
	w.Done(gate, dgate)
	w.Done(up, dup)
}
