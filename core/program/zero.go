package program

import (
	"slices"

	"trainer/core/op"
)

// Zero emits, before the first node that adds to each accumulator, its filling with 0. So
// a gradient that is no state takes memory from there on only.
func Zero(g *op.Graph, accumulators []*op.Value) {
	waiting := map[*op.Value]bool{}
	for _, v := range accumulators {
		waiting[v.Root] = true
	}
	b := op.Builder{Graph: &op.Graph{}, Block: -1}
	for _, n := range g.Nodes {
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
