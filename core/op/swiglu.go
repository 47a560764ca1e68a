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

func composeSwiGLU(b *Builder, n *Node) {
	gate, up := n.In[0], n.In[1]
	b.Binary(abi.BinaryMul, n.Out[0], b.times(gate, b.apply(abi.UnarySigmoid, gate)), up)
}

// composeSwiGLUGrad: with s = sigmoid(gate), d silu = s + gate s (1 - s).
func composeSwiGLUGrad(b *Builder, n *Node) {
	dy, gate, up := n.In[0], n.In[1], n.In[2]
	s := b.apply(abi.UnarySigmoid, gate)
	silu := b.times(gate, s)
	if dgate := n.Out[0]; dgate != nil {
		slope := b.plus(s, b.times(silu, b.affine(s, -1, 1)))
		b.Binary(abi.BinaryMul, dgate, b.times(dy, up), slope)
	}
	if dup := n.Out[1]; dup != nil {
		b.Binary(abi.BinaryMul, dup, dy, silu)
	}
}
