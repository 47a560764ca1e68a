package op

import (
	"slices"

	"trainer/core/abi"
)

// Backprop carries reverse-mode differentiation through one graph: the gradient of
// every value met so far, and the accumulators of the trained states.
type Backprop struct {
	*Builder
	trained map[*Value]*Value // state -> its gradient accumulator
	needs   map[*Value]bool   // roots whose gradient is wanted
	grads   map[*Value]*grad  // by root
}

// grad is the gradient of one root, and the views of the root written so far: two of
// them are the same, or have no element in common, unless one is the whole.
type grad struct {
	root  *Value
	parts []*Value
}

// covers reports whether v was written before.
func (g *grad) covers(v *Value) bool {
	return slices.ContainsFunc(g.parts, func(p *Value) bool {
		return isWhole(p) || p.Offset == v.Offset && slices.Equal(p.Shape, v.Shape) && slices.Equal(p.Stride, v.Stride)
	})
}

// isComplete reports whether every element was written.
func (g *grad) isComplete() bool {
	n := int64(0)
	for _, p := range g.parts {
		n += p.Count()
	}
	return n == g.root.Count()
}

func isWhole(v *Value) bool { return v.Count() == v.Root.Count() }

// NewBackprop prepares the backward pass of nodes, which Run emits to b. trained maps each
// trained state to the state its gradient is added to.
func NewBackprop(b *Builder, nodes []*Node, trained map[*Value]*Value) *Backprop {
	w := &Backprop{Builder: b, trained: trained, needs: map[*Value]bool{}, grads: map[*Value]*grad{}}
	for s := range trained {
		w.needs[s.Root] = true
	}
	for _, n := range nodes {
		if w.anyNeeds(n.In) && differentiable(n) {
			for _, o := range n.Out {
				if o != nil {
					w.needs[o.Root] = true
				}
			}
		}
	}
	return w
}

func differentiable(n *Node) bool { return !n.Detached && MustLookup(n.Op).Backward != nil }

func (w *Backprop) anyNeeds(vs []*Value) bool {
	for _, v := range vs {
		if w.Needs(v) {
			return true
		}
	}
	return false
}

// Needs reports whether a gradient of v is wanted.
func (w *Backprop) Needs(v *Value) bool { return v != nil && w.needs[v.Root] }

// Accumulator is the state that collects the gradient of a trained state, viewed as v views
// that, or nil.
func (w *Backprop) Accumulator(v *Value) *Value {
	if v == nil || w.trained[v.Root] == nil {
		return nil
	}
	return v.Like(w.trained[v.Root])
}

// Grad is the gradient of v as collected so far, or nil.
func (w *Backprop) Grad(v *Value) *Value {
	g := w.grads[v.Root]
	if g == nil {
		return nil
	}
	if !g.isComplete() {
		panic("op: the gradient of " + v.Root.Name + " is only partly written")
	}
	return v.Like(g.root)
}

// Seed starts the backward pass: dv is the gradient of the root v.
func (w *Backprop) Seed(v, dv *Value) { w.grads[v] = &grad{root: dv, parts: vals(v)} }

// Dest is where a node writes its contribution to v's gradient; call Done with it
// after the node was emitted, in the same order. It is nil where no gradient of v is
// wanted.
func (w *Backprop) Dest(v *Value) *Value {
	if !w.Needs(v) {
		return nil
	}
	g := w.grads[v.Root]
	if g == nil {
		g = &grad{root: w.Like("d."+v.Root.Name, v.Root)}
		w.grads[v.Root] = g
	}
	if g.covers(v) || isWhole(v) && g.parts != nil && g.isComplete() {
		return w.second(v)
	}
	if isWhole(v) && g.parts != nil {
		panic("op: a gradient of the whole " + v.Root.Name + " after one of a part")
	}
	g.parts = append(g.parts, v)
	return v.Like(g.root)
}

// second is room for a contribution beside the first: of the whole root, or of a part.
func (w *Backprop) second(v *Value) *Value {
	if isWhole(v) {
		return v.Like(w.Like("d."+v.Root.Name, v.Root))
	}
	return w.Like("d."+v.Root.Name, v)
}

// Done adds the contribution that Dest could not place because another was there
// first. The sum is a new value: others may read what was there.
func (w *Backprop) Done(v, dest *Value) {
	if dest == nil {
		return
	}
	g := w.grads[v.Root]
	if dest.Root == g.root {
		return
	}
	sum := w.Like("d."+v.Root.Name, g.root)
	if isWhole(v) {
		w.Binary(abi.BinaryAdd, sum, g.root, dest.Root)
	} else {
		w.Copy(sum, g.root)
		part := v.Like(sum)
		w.Binary(abi.BinaryAdd, part, part, dest)
	}
	g.root = sum
}

// Pass makes dv, a whole value, the gradient of v, or adds it to what is there: the
// backward of a residual, which computes nothing.
func (w *Backprop) Pass(v, dv *Value) {
	if !w.Needs(v) {
		return
	}
	if w.grads[v.Root] == nil && !v.IsView() && !dv.IsView() {
		w.Seed(v, dv)
		return
	}
	dest := w.Dest(v)
	w.Cast(dest, dv)
	w.Done(v, dest)
}

// Take returns the gradient of the root v and forgets it, for ops that fold it into
// their own result; nil if there is none.
func (w *Backprop) Take(v *Value) *Value {
	if v == nil || v.IsView() || w.grads[v] == nil {
		return nil
	}
	d := w.Grad(v)
	delete(w.grads, v)
	return d
}

// Run emits the backward of all nodes in reverse order.
func (w *Backprop) Run(nodes []*Node) {
	w.Phase = Backward
	for i := len(nodes) - 1; i >= 0; i-- {
		n := nodes[i]
		if !differentiable(n) || !w.reached(n) {
			continue
		}
		w.Block = n.Block
		MustLookup(n.Op).Backward(w, n)
	}
	w.Block = -1
}

// reached reports whether n lies between a trained state and the seed.
func (w *Backprop) reached(n *Node) bool {
	if !w.anyNeeds(n.In) {
		return false
	}
	for _, o := range n.Out {
		if o != nil && w.grads[o.Root] != nil {
			return true
		}
	}
	return false
}
