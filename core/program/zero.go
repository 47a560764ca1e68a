package program

import (
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
)

// Zero makes accumulators start at 0: the first node that adds to one sets it instead, where
// its op can, or comes after its filling with 0. So a gradient that is no state takes memory
// from there on only.
func Zero(g *op.Graph, accumulators []*op.Value) {
	waiting := map[*op.Value]bool{}
	for _, v := range accumulators {
		waiting[v.Root] = true
	}
	b := op.Builder{Graph: &op.Graph{}, Block: -1}
	for _, n := range g.Nodes {
		refresh(n, waiting)
		for _, v := range slices.Concat(n.Out, n.In) {
			if v != nil && waiting[v.Root] {
				delete(waiting, v.Root)
				b.Phase = n.Phase
				b.FillFloat(v.Root, 0)
			}
		}
		b.Graph.Nodes = append(b.Graph.Nodes, n)
	}
	g.Nodes = b.Graph.Nodes
}

// refresh lets a node set its outputs where all of them are waiting, whole.
func refresh(n *op.Node, waiting map[*op.Value]bool) {
	a, ok := n.Attr.(op.Linear)
	if !ok || n.Op != abi.OpLinearGradWeight {
		return
	}
	outputs := slices.DeleteFunc(slices.Clone(n.Out), func(v *op.Value) bool { return v == nil })
	for i, v := range outputs {
		again := slices.ContainsFunc(outputs[:i], func(w *op.Value) bool { return w.Root == v.Root })
		if !waiting[v.Root] || again || v.Count() != v.Root.Count() {
			return
		}
	}
	for _, v := range outputs {
		delete(waiting, v.Root)
	}
	a.Fresh = true
	n.Attr = a
}
