package program

import "trainer/core/op"

// Gradient appends the backward of nodes to b's graph. seed maps values to their
// gradients; trained maps each trained state to the accumulator it is added to. Nothing
// is computed for a state that is not trained.
func Gradient(b *op.Builder, nodes []*op.Node, seed, trained map[*op.Value]*op.Value) {
	w := op.NewBackprop(b, nodes, trained)
	for v, dv := range seed {
		w.Seed(v, dv)
	}
	w.Run(nodes)
}
