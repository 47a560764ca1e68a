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

// composeRoPE reads all of x before it writes y, which may be x. Angles are f32.
func composeRoPE(b *Builder, n *Node) {
	a, x, y := n.Attr.(RoPE), n.In[0], n.Out[0]
	rows, heads, width, half := x.Shape[0], x.Shape[1], x.Shape[2], a.RotaryDim/2
	positions := b.cast(abi.F32, n.In[1]).Split(0, rows, 1, 1)
	angle := b.times(positions, n.In[2])
	cos := b.affine(b.apply(abi.UnaryCos, angle), a.Scale, 0)
	sin := b.affine(b.apply(abi.UnarySin, angle), a.Scale, 0)
	if a.Inverse {
		sin = b.apply(abi.UnaryNeg, sin)
	}
	part := func(v *Value, from, to int64) *Value { return v.Slice(1, 0, a.Heads).Slice(2, from, to) }
	first, second := part(x, 0, half), part(x, half, 2*half)
	low := b.minus(b.times(first, cos), b.times(second, sin))
	high := b.plus(b.times(second, cos), b.times(first, sin))
	b.Cast(part(y, 0, half), low)
	b.Cast(part(y, half, 2*half), high)
	if a.RotaryDim < width {
		b.Cast(part(y, 2*half, width), part(x, 2*half, width))
	}
	if a.Heads < heads {
		b.Cast(y.Slice(1, a.Heads, heads), x.Slice(1, a.Heads, heads))
	}
}
