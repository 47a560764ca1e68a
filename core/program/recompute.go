package program

import (
	"fmt"
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
)

// Policy says which forward results of a block are kept for its backward.
type Policy uint8

const (
	KeepAll   Policy = iota // nothing is computed twice
	Selective               // products and attention are kept, or what is written over them; the cheap rest is recomputed
	Block                   // only the block's checkpoint is kept (Chen et al. 2016)
)

// String names the policy as the command line does.
func (p Policy) String() string { return [...]string{"none", "selective", "block"}[p] }

// ParsePolicy is the inverse of String.
func ParsePolicy(name string) (Policy, error) {
	for p := KeepAll; p <= Block; p++ {
		if p.String() == name {
			return p, nil
		}
	}
	return 0, fmt.Errorf("recompute %q is not one of none, selective, block", name)
}

// Recompute rewrites the graph so that backward nodes read recomputed copies of the
// forward values their block's policy drops. Copies are emitted right before the first
// backward node that needs them.
func Recompute(g *op.Graph, policy func(block int) Policy) {
	r := recomputer{policy: policy, producers: map[*op.Value][]*op.Node{}, readers: readers(g), emitted: map[*op.Node]bool{}, copies: map[*op.Value]*op.Value{}}
	for _, n := range g.Nodes {
		if n.Phase == op.Forward {
			for _, v := range n.Out {
				if v != nil && v.Root.Kind == op.Transient {
					r.producers[v.Root] = append(r.producers[v.Root], n)
				}
			}
		}
	}
	for _, n := range g.Nodes {
		if n.Phase == op.Backward {
			n.In = r.substitute(n.In)
		}
		r.out = append(r.out, n)
	}
	g.Nodes = r.out
}

type recomputer struct {
	policy    func(block int) Policy
	producers map[*op.Value][]*op.Node // of forward transients: several write parts of one
	readers   map[*op.Value]int        // how many nodes read a root
	emitted   map[*op.Node]bool
	copies    map[*op.Value]*op.Value
	out       []*op.Node
}

func (r *recomputer) substitute(in []*op.Value) []*op.Value {
	result := make([]*op.Value, len(in))
	for i, v := range in {
		if v != nil {
			result[i] = v.Like(r.available(v.Root))
		}
	}
	return result
}

// kept reports whether a forward value survives until the backward pass.
func (r *recomputer) kept(root *op.Value) bool {
	producers := r.producers[root]
	if len(producers) == 0 || producers[0].Block < 0 || root.Keep {
		return true
	}
	n := producers[0]
	switch r.policy(n.Block) {
	case KeepAll:
		return true
	case Selective:
		return op.MustLookup(n.Op).Dear || r.replaces(n, root)
	}
	return false
}

// replaces tells whether a node writes root over a kept value that nothing else reads: root
// then takes the room of the other.
func (r *recomputer) replaces(n *op.Node, root *op.Value) bool {
	return slices.ContainsFunc(replacements(n), func(p replacement) bool {
		return p.out == root && r.readers[p.in] == 1 && len(r.producers[p.in]) > 0 && r.kept(p.in)
	})
}

// readers counts the nodes that read each root.
func readers(g *op.Graph) map[*op.Value]int {
	count := map[*op.Value]int{}
	for _, n := range g.Nodes {
		var seen []*op.Value
		for _, v := range n.In {
			if v != nil && !slices.Contains(seen, v.Root) {
				seen = append(seen, v.Root)
				count[v.Root]++
			}
		}
	}
	return count
}

// available returns the value itself where it is kept, else its recomputed copy.
func (r *recomputer) available(root *op.Value) *op.Value {
	if r.kept(root) {
		return root
	}
	for _, n := range r.producers[root] {
		if !r.emitted[n] {
			r.emit(n)
		}
	}
	return r.copies[root]
}

// emit appends a copy of a forward node whose outputs are fresh values.
func (r *recomputer) emit(n *op.Node) {
	r.emitted[n] = true
	c := *n
	c.Phase = op.Recompute
	c.In = n.In
	c.Out = make([]*op.Value, len(n.Out))
	if n.Op == abi.OpRmsnorm && n.Out[1] != nil && r.kept(n.Out[1].Root) {
		// The sum is a checkpoint: normalise it instead of adding it up again.
		c.In = []*op.Value{n.Out[1], nil, n.In[2]}
	}
	c.In = r.substitute(c.In)
	for i, v := range n.Out {
		if v == nil || n.Op == abi.OpRmsnorm && i == 1 && c.In[1] == nil {
			continue
		}
		fresh := r.copies[v.Root]
		if fresh == nil {
			fresh = op.NewValue(v.Root.Name+"'", op.Transient, v.Root.Role, v.Root.DType, v.Root.Shape...)
			r.copies[v.Root] = fresh
		}
		c.Out[i] = v.Like(fresh)
	}
	r.out = append(r.out, &c)
}
