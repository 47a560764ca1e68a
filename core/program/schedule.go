package program

import (
	"math"
	"slices"
	"sort"

	"trainer/core/op"
)

// Address is where a root's storage begins.
type Address struct {
	Slot   uint32
	Offset int64 // bytes
	Shared bool  // other lists touch it too: a transient must really be stored
}

// Lanes is how many lanes there are: compute, copy, collective.
const Lanes = 3

// Hazards lists for each node the earlier nodes of other lanes it must come after:
// those whose memory it reads after they wrote it, or writes after they touched it.
// Nodes of one lane run in order: of each other lane the last one is enough, and what an
// earlier node of the same lane already came after needs no mention. at tells where roots
// live.
func Hazards(nodes []*op.Node, at func(*op.Value) Address) [][]uint32 {
	after := make([][]uint32, len(nodes))
	if !slices.ContainsFunc(nodes, func(n *op.Node) bool { return n.Lane != 0 }) {
		return after
	}
	memory := touched{}
	var known [Lanes]last // by lane: what its nodes so far came after
	for i, n := range nodes {
		var wanted last
		memory.each(n.In, at, func(s *segment) { wanted.raise(s.written) })
		memory.each(n.Out, at, func(s *segment) { wanted.raise(s.written); wanted.raise(s.read) })
		memory.each(n.In, at, func(s *segment) { s.read[n.Lane] = i + 1 })
		memory.each(n.Out, at, func(s *segment) { s.written[n.Lane] = i + 1 })
		for lane, w := range wanted {
			if lane != n.Lane && w > known[n.Lane][lane] {
				after[i] = append(after[i], uint32(w-1))
			}
		}
		slices.Sort(after[i])
		known[n.Lane].raise(wanted)
	}
	return after
}

// last is for each lane the index of a node plus 1; 0 is none.
type last [Lanes]int

func (l *last) raise(other last) {
	for lane, i := range other {
		l[lane] = max(l[lane], i)
	}
}

// segment is a piece of a slot, up to where the next one begins, whose bytes were always
// touched together.
type segment struct {
	begin         int64
	read, written last
}

// touched is the segments of each slot, ascending.
type touched map[uint32][]segment

// each calls f for the segments that make up the storage of values.
func (t touched) each(vs []*op.Value, at func(*op.Value) Address, f func(*segment)) {
	for _, v := range vs {
		if v == nil || v.Root.Kind == op.Param {
			continue
		}
		a := at(v.Root)
		from := t.split(a.Slot, a.Offset)
		to := t.split(a.Slot, a.Offset+Bytes(v))
		for i := from; i < to; i++ {
			f(&t[a.Slot][i])
		}
	}
}

// split is the index of the segment that begins at a byte, made if there is none.
func (t touched) split(slot uint32, begin int64) int {
	if t[slot] == nil {
		t[slot] = []segment{{begin: math.MinInt64}}
	}
	segments := t[slot]
	i := sort.Search(len(segments), func(i int) bool { return segments[i].begin >= begin })
	if i < len(segments) && segments[i].begin == begin {
		return i
	}
	whole := segments[i-1]
	whole.begin = begin
	t[slot] = slices.Insert(segments, i, whole)
	return i
}
