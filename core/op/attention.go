package op

import (
	"math"

	"trainer/core/abi"
)

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

// grouped views heads [B,S,H,D] as [B,G,H/G,S,D]: the heads that read one key together.
func grouped(v *Value, groups int64) *Value {
	return v.Split(2, groups, v.Shape[2]/groups).Permute(0, 2, 3, 1, 4)
}

// stacked copies heads [B,S,H,D] to [B,G,H/G*S,D], so that a group is one matrix.
func (b *Builder) stacked(v *Value, groups int64) *Value {
	g := grouped(v, groups)
	c := b.Fixed(v.Name, v.Type(), g.Shape...)
	b.Copy(c, g)
	return c.Reshape(g.Shape[0], groups, g.Shape[2]*g.Shape[3], g.Shape[4])
}

// keys views k or v [B,L,G,D] as [B,G,L,D].
func keys(v *Value) *Value { return v.Permute(0, 2, 1, 3) }

// scores is scale * q k^T as [B,G,H/G,S,L], -inf where a query does not attend a key.
func (b *Builder) scores(a Attention, x Attend) *Value {
	groups := x.K.Shape[2]
	z := b.product(b.stacked(x.Q, groups), transposed(keys(x.K)), a.Scale, a.Compute)
	z = z.Split(2, x.Q.Shape[2]/groups, x.Q.Shape[1])
	if attended := b.attended(a, x); attended != nil {
		return b.choose(attended, z, b.scalar(math.Inf(-1)))
	}
	return z
}

// attended is i32, not 0 where a query attends a key, and broadcasts to [B,G,H/G,S,L]; nil
// where all attend all.
func (b *Builder) attended(a Attention, x Attend) *Value {
	batch, queries, length := x.Q.Shape[0], x.Q.Shape[1], x.K.Shape[1]
	key := b.iota(4, 1, 1, 1, 1, length)
	at := b.iota(3, 1, 1, 1, queries, 1)
	if x.Offset != nil {
		at = b.plus(at, x.Offset)
	}
	var all *Value
	and := func(condition *Value) {
		if all != nil {
			condition = b.times(all, condition)
		}
		all = condition
	}
	if x.Lengths != nil {
		and(b.combine(abi.BinaryLt, key, x.Lengths.Split(0, batch, 1, 1, 1, 1)))
	}
	if s := x.Segments; s != nil {
		ofQuery := s.Slice(1, 0, queries).Split(1, 1, 1, queries, 1)
		ofKey := s.Slice(1, 0, length).Split(1, 1, 1, 1, length)
		and(b.combine(abi.BinaryEq, ofQuery, ofKey))
	}
	if a.Causal {
		and(b.combine(abi.BinaryLe, key, at))
	}
	if a.Window > 0 {
		and(b.combine(abi.BinaryLt, b.minus(at, b.integer(int32(a.Window))), key))
	}
	return all
}

// finite replaces -inf by the lowest f32, so that exp(-inf - finite) is 0 and not NaN.
func (b *Builder) finite(x *Value) *Value {
	return b.combine(abi.BinaryMax, x, b.scalar(-math.MaxFloat32))
}

// matrices views [B,G,H/G,S,L] as [B,G,H/G*S,L].
func matrices(z *Value) *Value {
	s := z.Shape
	return z.Reshape(s[0], s[1], s[2]*s[3], s[4])
}

// composeAttention forms the whole score matrix.
func composeAttention(b *Builder, n *Node) {
	a, o, lse := n.Attr.(Attention), n.Out[0], n.Out[1]
	x := Attend{n.In[0], n.In[1], n.In[2], n.In[3], n.In[4], n.In[5]}
	groups := x.K.Shape[2]
	z := b.scores(a, x)
	most := b.finite(b.reduce(abi.ReduceMax, z, 4))
	e := b.apply(abi.UnaryExp, b.minus(z, most))
	total := b.reduce(abi.ReduceSum, e, 4)
	// The largest score adds 1 to the total: only rows without any key have less.
	p := b.over(e, b.combine(abi.BinaryMax, total, b.scalar(1)))
	og := b.product(matrices(p), keys(x.V), 1, a.Compute)
	b.Cast(grouped(o, groups), og.Reshape(grouped(o, groups).Shape...))
	if lse != nil {
		b.sum(lse.Split(1, groups, lse.Shape[1]/groups), most.Squeeze(4), b.apply(abi.UnaryLog, total.Squeeze(4)))
	}
}

// composeAttentionGrad: p = exp(z - lse), ds = p (do v^T - rowsum(do o)).
func composeAttentionGrad(b *Builder, n *Node) {
	a, do, o, lse := n.Attr.(Attention), n.In[0], n.In[1], n.In[2]
	x := Attend{n.In[3], n.In[4], n.In[5], n.In[6], n.In[7], n.In[8]}
	groups, queries := x.K.Shape[2], x.Q.Shape[1]
	z := b.scores(a, x)
	of := lse.Split(1, groups, lse.Shape[1]/groups).Split(3, queries, 1)
	p := b.apply(abi.UnaryExp, b.minus(z, b.finite(of)))
	dog := b.stacked(do, groups)
	dp := b.product(dog, transposed(keys(x.V)), 1, a.Compute).Reshape(p.Shape...)
	delta := b.reduce(abi.ReduceSum, b.times(do, o), 3)
	ds := matrices(b.times(p, b.minus(dp, grouped(delta, groups))))
	if dq := n.Out[0]; dq != nil {
		dqg := b.product(ds, keys(x.K), a.Scale, a.Compute)
		b.Cast(grouped(dq, groups), dqg.Reshape(grouped(dq, groups).Shape...))
	}
	if dk := n.Out[1]; dk != nil {
		b.Cast(keys(dk), b.product(transposed(ds), b.stacked(x.Q, groups), a.Scale, a.Compute))
	}
	if dv := n.Out[2]; dv != nil {
		b.Cast(keys(dv), b.product(transposed(matrices(p)), dog, 1, a.Compute))
	}
}
