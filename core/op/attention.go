package op

import "trainer/core/abi"

// Attention is the attribute of OpAttention and its gradient.
type Attention struct {
	Scale   float64
	Causal  bool
	Window  int64
	Compute abi.DType
}

// Bytes encodes the attribute.
func (a Attention) Bytes() []byte {
	causal := uint32(0)
	if a.Causal {
		causal = 1
	}
	return abi.AttrBytes(abi.AttrAttention{ScaleBits: f32(a.Scale), Causal: causal, Window: uint32(a.Window), Compute: uint32(a.Compute)})
}

// WithCompute implements the precision pass's setting.
func (a Attention) WithCompute(d abi.DType) Attr { a.Compute = orElse(a.Compute, d); return a }

// Attend is the inputs of an attention: q [B,S,H,D], k and v [B,L,G,D], and optional
// lengths i32 [B], segments i32 [B,S], offset i32 [1].
type Attend struct {
	Q, K, V                   *Value
	Lengths, Segments, Offset *Value
}

// Attention makes o [B,S,H,D].
func (b *Builder) Attention(a Attention, x Attend) *Value {
	s := x.Q.Shape
	o := b.Value("attention", Activation, s...)
	lse := b.Fixed("lse", abi.F32, s[0], s[2], s[1])
	b.Node(abi.OpAttention, a, vals(o, lse), vals(x.Q, x.K, x.V, x.Lengths, x.Segments, x.Offset))
	return o
}

func backwardAttention(w *Backprop, n *Node) {
	q, k, v := n.In[0], n.In[1], n.In[2]
	do := w.Grad(n.Out[0])
	dq, dk, dv := w.Dest(q), w.Dest(k), w.Dest(v)
	in := append(vals(do, n.Out[0], n.Out[1]), n.In...)
	w.Node(abi.OpAttentionGrad, n.Attr, vals(dq, dk, dv), in)
	w.Done(q, dq)
	w.Done(k, dk)
	w.Done(v, dv)
}
