package op

import "trainer/core/abi"

// RoPE is the attribute of OpRope (Su et al. 2021, half-split as Hugging Face).
type RoPE struct {
	Heads, RotaryDim int64
	Scale            float64
	Inverse          bool
}

// Bytes encodes the attribute.
func (a RoPE) Bytes() []byte {
	inverse := uint32(0)
	if a.Inverse {
		inverse = 1
	}
	return abi.AttrBytes(abi.AttrRope{Heads: uint32(a.Heads), RotaryDim: uint32(a.RotaryDim), ScaleBits: f32(a.Scale), Inverse: inverse})
}

// RoPE rotates the first a.Heads heads of x [T,heads,D]; the rest passes through.
func (b *Builder) RoPE(a RoPE, x, positions, invFreq *Value) *Value {
	y := b.Like("rope", x)
	b.Node(abi.OpRope, a, vals(y), vals(x, positions, invFreq))
	return y
}

func backwardRoPE(w *Backprop, n *Node) {
	a := n.Attr.(RoPE)
	a.Inverse = !a.Inverse
	dy := w.Grad(n.Out[0])
	dx := w.Dest(n.In[0])
	w.Node(abi.OpRope, a, vals(dx), vals(dy, n.In[1], n.In[2]))
	w.Done(n.In[0], dx)
}
