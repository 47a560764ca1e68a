package program

import (
	"slices"

	"trainer/core/op"
)

// Address is where a root's storage begins.
type Address struct {
	Slot   uint32
	Offset int64 // bytes
}

// Hazards lists for each node the earlier nodes of other lanes it must come after:
// those whose memory it reads after they wrote it, or writes after they touched it.
// Nodes of one lane run in order and need no mention. at tells where roots live.
func Hazards(nodes []*op.Node, at func(*op.Value) Address) [][]uint32 {
	after := make([][]uint32, len(nodes))
	if !slices.ContainsFunc(nodes, func(n *op.Node) bool { return n.Lane != 0 }) {
		return after
	}
	for i, n := range nodes {
		latest := map[int]int{} // lane -> last conflicting node; earlier ones are implied
		for j := range i {
			if nodes[j].Lane != n.Lane && conflict(nodes[j], n, at) {
				latest[nodes[j].Lane] = j
			}
		}
		for _, j := range latest {
			after[i] = append(after[i], uint32(j))
		}
		slices.Sort(after[i])
	}
	return after
}

// conflict reports whether b must wait for a.
func conflict(a, b *op.Node, at func(*op.Value) Address) bool {
	return touches(a.Out, b.Out, at) || touches(a.Out, b.In, at) || touches(a.In, b.Out, at)
}

func touches(as, bs []*op.Value, at func(*op.Value) Address) bool {
	for _, a := range as {
		for _, b := range bs {
			if a != nil && b != nil && a.Kind != op.Param && b.Kind != op.Param && meet(a, b, at) {
				return true
			}
		}
	}
	return false
}

func meet(a, b *op.Value, at func(*op.Value) Address) bool {
	x, y := at(a.Root), at(b.Root)
	return x.Slot == y.Slot && x.Offset < y.Offset+Bytes(b) && y.Offset < x.Offset+Bytes(a)
}
