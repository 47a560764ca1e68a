package program_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/program"
)

// Three blocks of one value each; the last is what runs at the cut reads.
func offloaded(reach int) (*op.Graph, []*op.Value) {
	b := op.NewBuilder()
	var kept []*op.Value
	x := op.NewValue("x", op.Input, op.Fixed, abi.F32, 256, 256)
	for block := range 4 {
		b.Block = block
		y := b.Fixed("y", abi.F32, 256, 256)
		b.Affine(y, x, 2, 0)
		kept, x = append(kept, y), y
	}
	b.Block = -1
	b.Node(program.Cut, nil, []*op.Value{b.Fixed("head", abi.U8, 64)}, []*op.Value{x})
	b.Phase = op.Backward
	sum := op.NewValue("sum", op.Output, op.Fixed, abi.F32, 256, 256)
	b.FillFloat(sum, 0)
	for block := 3; block >= 0; block-- {
		b.Block = block
		b.Binary(abi.BinaryAdd, sum, sum, kept[block].Transpose(0, 1))
	}
	program.Offload(b.Graph, func(int) bool { return true }, reach)
	return b.Graph, kept
}

func TestOffloadMovesWhatOnlyTheBackwardReads(t *testing.T) {
	g, kept := offloaded(1)
	copies := slices.DeleteFunc(slices.Clone(g.Nodes), func(n *op.Node) bool { return n.Op != abi.OpCopy })
	require.Len(t, copies, 6) // not of the last block, which the cut reads
	for _, n := range copies {
		require.Equal(t, program.CopyLane, n.Lane)
	}
	_, host := program.PlanHost(g, 64)
	require.EqualValues(t, 3*4*256*256, host)
	cut := slices.IndexFunc(g.Nodes, func(n *op.Node) bool { return n.Op == program.Cut })
	for _, n := range g.Nodes[cut+1:] {
		for _, v := range n.In {
			require.NotContains(t, kept[:3], v.Root)
		}
	}
}

// A copy comes after what made its value alone, and what takes over the memory comes after
// the copy.
func TestOffloadedCopiesRunBeside(t *testing.T) {
	g, kept := offloaded(1)
	m := program.PlanMemory(g, 64, 0)
	host, _ := program.PlanHost(g, 64)
	at := func(v *op.Value) program.Address {
		if offset, ok := m.Offset[v]; ok {
			return program.Address{Offset: offset}
		}
		if offset, ok := host[v]; ok {
			return program.Address{Slot: 1, Offset: offset}
		}
		return program.Address{Slot: 2}
	}
	cut := slices.IndexFunc(g.Nodes, func(n *op.Node) bool { return n.Op == program.Cut })
	nodes := g.Nodes[:cut]
	after := program.Hazards(nodes, at)
	for i, n := range nodes {
		if n.Op != abi.OpCopy {
			continue
		}
		block := slices.Index(kept, n.In[0].Root)
		require.Len(t, after[i], 1)
		require.Equal(t, kept[block], nodes[after[i][0]].Out[0], "node %d", i)
	}
	require.Less(t, m.Bytes, int64(7*4*256*256))
}
