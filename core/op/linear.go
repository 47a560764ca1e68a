package op

import "trainer/core/abi"

// Adapter is a LoRA pair on one projection: A [r,K], B [N,r], Scale = alpha/r.
// (Hu et al. 2021)
type Adapter struct {
	A, B  *Value
	Scale float64
}

// Projection is one weight of a linear with what hangs on it.
type Projection struct {
	Weight  *Weight
	Bias    *Value   // [N] or nil
	Adapter *Adapter // or nil
}

func (p Projection) rank() int64 {
	if p.Adapter == nil {
		return 0
	}
	return p.Adapter.A.Shape[0]
}

// Linear is the attribute of the four linear ops.
type Linear struct {
	Compute     abi.DType
	KeepScale   float64 // 1/(1-p) where a dropout mask is given
	Fresh       bool    // LinearGradWeight sets its outputs instead of adding to them
	Projections []Projection
	Dropped     *Value // drop(x), where it is at hand
	mask        *Value // what it was made with, for the backward
}

// Bytes encodes the header and one trainer_projection each.
func (a Linear) Bytes() []byte {
	header := abi.AttrLinear{NProjections: uint32(len(a.Projections)), Compute: uint32(a.Compute), KeepScaleBits: f32(a.KeepScale)}
	if a.Fresh {
		header.Fresh = 1
	}
	out := abi.AttrBytes(header)
	for _, p := range a.Projections {
		e := abi.Projection{OutFeatures: p.Weight.Out, InFeatures: p.Weight.In, Rank: uint32(p.rank()), Format: p.Weight.Format}
		if p.Adapter != nil {
			e.ScaleBits = f32(p.Adapter.Scale)
		}
		out = append(out, abi.AttrBytes(e)...)
	}
	return out
}

// WithCompute implements the precision pass's setting.
func (a Linear) WithCompute(d abi.DType) Attr { a.Compute = orElse(a.Compute, d); return a }

// Width is the sum of the projections' output features, Rank that of their ranks.
func (a Linear) Width() (n int64) {
	for _, p := range a.Projections {
		n += p.Weight.Out
	}
	return n
}

// Rank is the sum of the adapters' ranks; 0 without adapters.
func (a Linear) Rank() (r int64) {
	for _, p := range a.Projections {
		r += p.rank()
	}
	return r
}

// Linear applies projections to one x [T,K]: y [T, sum N], side by side. mask is the
// adapters' dropout mask or nil; a.Dropped spares the backend applying it to x.
func (b *Builder) Linear(a Linear, x, mask *Value) *Value {
	y := b.linearOutput(a, x)
	b.linear(a, y, x, mask)
	return y
}

// LinearApart is Linear with a node for each projection, which needs less workspace.
func (b *Builder) LinearApart(a Linear, x, mask *Value) *Value {
	y, from := b.linearOutput(a, x), int64(0)
	for _, p := range a.Projections {
		one := Linear{Compute: a.Compute, KeepScale: a.KeepScale, Dropped: a.Dropped, Projections: []Projection{p}}
		to := from + one.Width()
		b.linear(one, y.Slice(1, from, to), x, mask)
		from = to
	}
	return y
}

func (b *Builder) linearOutput(a Linear, x *Value) *Value {
	return b.Value(a.Projections[0].Weight.Name+".y", Activation, x.Shape[0], a.Width())
}

func (b *Builder) linear(a Linear, y, x, mask *Value) {
	var u *Value
	if a.Rank() > 0 {
		u = b.Value("u", Activation, x.Shape[0], a.Rank())
	} else {
		mask, a.Dropped = nil, nil
	}
	in := vals(x, mask)
	if a.Dropped != nil {
		a.mask, in[1] = mask, a.Dropped
	}
	for _, p := range a.Projections {
		in = append(in, p.Weight.Operands[:]...)
		in = append(in, p.Bias)
		in = append(in, p.adapterValues()...)
	}
	b.Node(abi.OpLinear, a, vals(y, u), in)
}

func (p Projection) adapterValues() []*Value {
	if p.Adapter == nil {
		return vals(nil, nil)
	}
	return vals(p.Adapter.A, p.Adapter.B)
}

func backwardLinear(w *Backprop, n *Node) {
	a, x, mask := n.Attr.(Linear), n.In[0], n.In[1]
	kept, drop := x, mask // what the adapters read, or are to drop
	if a.Dropped != nil {
		mask, kept, drop = a.mask, n.In[1], nil
	}
	dy, u := w.Grad(n.Out[0]), n.Out[1]
	w.linearGradWeight(a, x, dy) // before dx takes memory: x may have been recomputed for it
	v := w.linearGradInput(a, x, mask, dy)
	if a.Rank() > 0 {
		w.linearGradAdapter(a, kept, drop, u, v, dy)
	}
}

// linearGradInput emits dx where it is wanted, and v [T, sum r] where there are adapters.
func (w *Backprop) linearGradInput(a Linear, x, mask, dy *Value) *Value {
	rest := w.Take(x)
	dx := w.Dest(x)
	var v *Value
	if a.Rank() > 0 {
		v = w.Value("v", Activation, dy.Shape[0], a.Rank())
	}
	if dx == nil && v == nil {
		return nil
	}
	in := vals(dy, mask, rest)
	for _, p := range a.Projections {
		in = append(in, p.Weight.Operands[:]...)
		in = append(in, p.adapterValues()...)
	}
	w.Node(abi.OpLinearGradInput, a, vals(dx, v), in)
	w.Done(x, dx)
	return v
}

func (w *Backprop) linearGradWeight(a Linear, x, dy *Value) {
	var out []*Value
	wanted := false
	for _, p := range a.Projections {
		dw, db := w.Accumulator(p.Weight.Dense()), w.Accumulator(p.Bias)
		wanted = wanted || dw != nil || db != nil
		out = append(out, dw, db)
	}
	if wanted {
		w.Node(abi.OpLinearGradWeight, a, out, vals(dy, x))
	}
}

func (w *Backprop) linearGradAdapter(a Linear, x, mask, u, v, dy *Value) {
	var out []*Value
	for _, p := range a.Projections {
		if p.Adapter == nil {
			out = append(out, nil, nil)
			continue
		}
		out = append(out, w.Accumulator(p.Adapter.A), w.Accumulator(p.Adapter.B))
	}
	w.Node(abi.OpLinearGradAdapter, a, out, vals(dy, x, mask, u, v))
}

// operands is one projection's share of a linear node's operands.
type operands struct {
	weight      []*Value // eight
	format      abi.QuantFormat
	bias, a, b  *Value
	scale       float64
	n, k, r     int64
	from, first int64 // where its columns begin in y, and in u and v
}

// split reads the operands behind x: of each projection a weight, a bias where the op
// has one, A and B.
func (a Linear) split(in []*Value, hasBias bool) []operands {
	var list []operands
	from, first := int64(0), int64(0)
	for _, p := range a.Projections {
		o := operands{weight: in[:abi.WeightOperands], format: p.Weight.Format, n: p.Weight.Out, k: p.Weight.In, r: p.rank(), from: from, first: first}
		in = in[abi.WeightOperands:]
		if hasBias {
			o.bias, in = in[0], in[1:]
		}
		if p.Adapter != nil {
			o.scale = p.Adapter.Scale
		}
		o.a, o.b, in = in[0], in[1], in[2:]
		from, first = from+o.n, first+o.r
		list = append(list, o)
	}
	return list
}

func composeLinear(b *Builder, n *Node) {
	a, x, y, u := n.Attr.(Linear), n.In[0], n.Out[0], n.Out[1]
	kept := x
	if drop := n.In[1]; drop != nil && drop.Type().IsFloat() {
		kept = drop
	} else if a.Rank() > 0 {
		kept = b.dropped(x, drop, a.KeepScale)
	}
	for _, p := range a.split(n.In[2:], true) {
		yp := b.product(x, transposed(b.dense(p.weight, p.format, p.n, p.k)), 1, a.Compute)
		if p.a != nil {
			up := b.product(kept, transposed(p.a), 1, a.Compute)
			b.addProduct(yp, up, transposed(p.b), p.scale, a.Compute)
			b.Cast(columns(u, p.first, p.r), up)
		}
		b.sum(columns(y, p.from, p.n), yp, p.bias)
	}
}

// composeLinearGradInput forms v even where it is not asked for: dx needs it.
func composeLinearGradInput(b *Builder, n *Node) {
	a, dy, mask, residual := n.Attr.(Linear), n.In[0], n.In[1], n.In[2]
	dx, v := n.Out[0], n.Out[1]
	var direct, through *Value // the weights' part and the adapters'
	for _, p := range a.split(n.In[3:], false) {
		dyp := columns(dy, p.from, p.n)
		if dx != nil {
			direct = b.plusProduct(direct, dyp, b.dense(p.weight, p.format, p.n, p.k), a.Compute)
		}
		if p.a == nil {
			continue
		}
		vp := b.product(dyp, p.b, p.scale, a.Compute)
		if v != nil {
			b.Cast(columns(v, p.first, p.r), vp)
		}
		if dx != nil {
			through = b.plusProduct(through, vp, p.a, a.Compute)
		}
	}
	if dx == nil {
		return
	}
	if through != nil {
		through = b.dropped(through, mask, a.KeepScale)
	}
	b.sum(dx, direct, through, residual)
}

// before is the factor on what LinearGradWeight's outputs held.
func (a Linear) before() float64 {
	if a.Fresh {
		return 0
	}
	return 1
}

func composeLinearGradWeight(b *Builder, n *Node) {
	a, dy, x := n.Attr.(Linear), n.In[0], n.In[1]
	from := int64(0)
	for i, p := range a.Projections {
		dyp := columns(dy, from, p.Weight.Out)
		from += p.Weight.Out
		if dw := n.Out[2*i]; dw != nil {
			b.Node(abi.OpMatmul, MatMul{Alpha: 1, Beta: a.before(), Compute: a.Compute}, vals(dw), vals(transposed(dyp), x))
		}
		if db := n.Out[2*i+1]; db != nil {
			sum := b.reduce(abi.ReduceSum, dyp, 0).Squeeze(0)
			if a.Fresh {
				b.Cast(db, sum)
			} else {
				b.sum(db, db, sum)
			}
		}
	}
}

func composeLinearGradAdapter(b *Builder, n *Node) {
	a, dy, u, v := n.Attr.(Linear), n.In[0], n.In[3], n.In[4]
	kept := b.dropped(n.In[1], n.In[2], a.KeepScale)
	from, first := int64(0), int64(0)
	for i, p := range a.Projections {
		dyp, r := columns(dy, from, p.Weight.Out), p.rank()
		if da := n.Out[2*i]; da != nil {
			b.addProduct(da, transposed(columns(v, first, r)), kept, 1, a.Compute)
		}
		if db := n.Out[2*i+1]; db != nil {
			b.addProduct(db, transposed(dyp), columns(u, first, r), p.Adapter.Scale, a.Compute)
		}
		from, first = from+p.Weight.Out, first+r
	}
}
