package program

import (
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
)

// CopyLane is the lane of copies to and from the host.
const CopyLane = 1

// offloadLeast is the bytes below which a value is not worth a copy of its own.
const offloadLeast = 1 << 16

// Offload lets what the forward of some blocks keeps for the backward wait in memory of the
// host. The copies run in a lane of their own: a value's memory is given up so many blocks,
// reach, after its own has used it, and taken again one block less before its backward, where
// blocks take longer. (Rhu et al. 2016: vDNN)
func Offload(g *op.Graph, chosen func(block int) bool, reach int) {
	o := offloader{graph: g, reach: reach, ends: map[int]int{}, begins: map[int]int{}}
	o.cut = slices.IndexFunc(g.Nodes, func(n *op.Node) bool { return n.Op == Cut })
	for i, n := range g.Nodes {
		if i < o.cut {
			o.ends[n.Block] = i
		} else if _, seen := o.begins[n.Block]; !seen {
			o.begins[n.Block] = i
		}
	}
	moves, back := o.moves(chosen), map[*op.Value]*op.Value{}
	for _, m := range moves {
		back[m.value] = m.back
	}
	var nodes []*op.Node
	for i, n := range g.Nodes {
		for _, m := range moves {
			if m.in == i {
				nodes = append(nodes, copyNode(m.back, m.host, op.Backward, m.block))
			}
		}
		if i > o.cut {
			n.In = returned(n.In, back)
		}
		nodes = append(nodes, n)
		for _, m := range moves {
			if m.out == i {
				nodes = append(nodes, copyNode(m.host, m.value, op.Forward, m.block))
			}
		}
	}
	g.Nodes = nodes
}

type offloader struct {
	graph  *op.Graph
	cut    int
	reach  int
	ends   map[int]int // by block: its last node in the forward
	begins map[int]int // by block: its first node behind the cut
}

// move is one value's way: to the host behind node out, back before node in.
type move struct {
	value, host, back *op.Value
	block, out, in    int
}

// moves lists the transients that chosen blocks make and only nodes behind the cut read
// later.
func (o *offloader) moves(chosen func(int) bool) []*move {
	made := map[*op.Value]*move{}
	var order []*move
	for i, n := range o.graph.Nodes {
		for _, v := range slices.Concat(n.Out, n.In) {
			if v == nil || v.Root.Kind != op.Transient {
				continue
			}
			m := made[v.Root]
			if m == nil {
				m = &move{value: v.Root, block: n.Block, in: -1}
				made[v.Root] = m
				if i < o.cut && n.Block >= 0 && chosen(n.Block) && Bytes(v) >= offloadLeast {
					order = append(order, m)
				}
			}
			switch {
			case i < o.cut:
				m.out = max(m.out, i)
			case i == o.cut:
				m.block = -1 // what runs at the cut reads it
			case m.in < 0:
				m.in = i
			}
		}
	}
	order = slices.DeleteFunc(order, func(m *move) bool { return m.in < 0 || m.block < 0 })
	for _, m := range order {
		o.spread(m)
	}
	return order
}

// Stay is the bytes that Offload would move to the host for one block.
func Stay(g *op.Graph, block int) (bytes int64) {
	o := offloader{graph: g, cut: slices.IndexFunc(g.Nodes, func(n *op.Node) bool { return n.Op == Cut })}
	for _, m := range o.moves(func(b int) bool { return b == block }) {
		bytes += Bytes(m.value)
	}
	return bytes
}

// spread moves the ends of a stay apart from the compute that it must not hold up.
func (o *offloader) spread(m *move) {
	v := m.value
	m.host = op.NewValue(v.Name+".host", op.Host, op.Fixed, v.DType, v.Shape...)
	m.back = op.NewValue(v.Name+".back", op.Transient, op.Fixed, v.DType, v.Shape...)
	if end, ok := o.ends[m.block+o.reach]; ok {
		m.out = max(m.out, end)
	} else {
		m.out = o.cut - 1
	}
	if begin, ok := o.begins[m.block+max(1, o.reach-1)]; ok {
		m.in = min(m.in, begin)
	}
}

func copyNode(dst, src *op.Value, phase op.Phase, block int) *op.Node {
	return &op.Node{Op: abi.OpCopy, Out: []*op.Value{dst}, In: []*op.Value{src}, Phase: phase, Block: block, Lane: CopyLane}
}

// returned reads values where they came back to.
func returned(in []*op.Value, back map[*op.Value]*op.Value) []*op.Value {
	result := slices.Clone(in)
	for i, v := range in {
		if v != nil && back[v.Root] != nil {
			result[i] = v.Like(back[v.Root])
		}
	}
	return result
}

// PlanHost gives every value of the host an offset, a multiple of align, and returns the
// bytes they take together.
func PlanHost(g *op.Graph, align int64) (map[*op.Value]int64, int64) {
	at, end := map[*op.Value]int64{}, int64(0)
	for _, v := range g.Roots() {
		if v.Kind == op.Host {
			at[v] = end
			end += RoundUp(Bytes(v), align)
		}
	}
	return at, end
}
