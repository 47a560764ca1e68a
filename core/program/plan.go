package program

import (
	"slices"
	"sort"

	"trainer/core/abi"
	"trainer/core/op"
)

// Cut is the pseudo op that splits a graph into lists: what runs at a cut is another
// graph over the same memory. Its inputs stay alive for it, its outputs are written by
// it or are its scratch.
const Cut abi.Op = 0

// Memory is where each transient root lives in the arena.
type Memory struct {
	Offset map[*op.Value]int64 // bytes
	Bytes  int64               // arena size
}

// Bytes is the storage of a root.
func Bytes(v *op.Value) int64 { return v.Root.Count() * int64(v.Root.DType.Size()) }

// span is the life of one piece of storage in node indexes, both included.
type span struct {
	roots       []*op.Value // values that share it, one after the other
	first, last int
	bytes       int64
	offset      int64
}

// PlanMemory gives every transient root of the graph an arena offset, a multiple of
// align. Values whose lives do not meet may share memory; an op that allows it writes
// its result over an input that dies there.
func PlanMemory(g *op.Graph, align int64) Memory {
	spans := liveness(g)
	spans = mergeInPlace(g, spans)
	sort.SliceStable(spans, func(i, j int) bool { return spans[i].bytes > spans[j].bytes })
	m := Memory{Offset: map[*op.Value]int64{}}
	var placed []*span
	for _, s := range spans {
		s.offset = place(s, placed, align)
		placed = append(placed, s)
		m.Bytes = max(m.Bytes, s.offset+s.bytes)
		for _, v := range s.roots {
			m.Offset[v] = s.offset
		}
	}
	m.Bytes = roundUp(m.Bytes, align)
	return m
}

func roundUp(n, align int64) int64 { return (n + align - 1) / align * align }

func liveness(g *op.Graph) []*span {
	byRoot := map[*op.Value]*span{}
	var spans []*span
	for i, n := range g.Nodes {
		for _, v := range slices.Concat(n.In, n.Out) {
			if v == nil || v.Root.Kind != op.Transient {
				continue
			}
			s := byRoot[v.Root]
			if s == nil {
				s = &span{roots: []*op.Value{v.Root}, first: i, bytes: Bytes(v)}
				byRoot[v.Root] = s
				spans = append(spans, s)
			}
			s.last = i
		}
	}
	return spans
}

// mergeInPlace joins the span of an output with that of an input that ends where the
// output begins.
func mergeInPlace(g *op.Graph, spans []*span) []*span {
	owner := map[*op.Value]*span{}
	for _, s := range spans {
		owner[s.roots[0]] = s
	}
	gone := map[*span]bool{}
	for i, n := range g.Nodes {
		if n.Op == Cut {
			continue
		}
		for _, pair := range op.MustLookup(n.Op).InPlace {
			out, in := n.Out[pair[0]], n.In[pair[1]]
			if out == nil || in == nil || !sameStorage(out, in) {
				continue
			}
			so, si := owner[out.Root], owner[in.Root]
			if so == nil || si == nil || so == si || so.first != i || si.last != i || uses(n, in.Root) > 1 {
				continue
			}
			si.last = so.last
			si.roots = append(si.roots, so.roots...)
			for _, v := range so.roots {
				owner[v] = si
			}
			gone[so] = true
			break
		}
	}
	return slices.DeleteFunc(spans, func(s *span) bool { return gone[s] })
}

// sameStorage reports whether two views walk equal storage in the same way.
func sameStorage(a, b *op.Value) bool {
	return Bytes(a) == Bytes(b) && a.Type() == b.Type() && a.Offset == b.Offset &&
		slices.Equal(a.Shape, b.Shape) && slices.Equal(a.Stride, b.Stride)
}

func uses(n *op.Node, root *op.Value) (count int) {
	for _, v := range n.In {
		if v != nil && v.Root == root {
			count++
		}
	}
	return count
}

// place finds the lowest offset at which s meets no living neighbour.
func place(s *span, placed []*span, align int64) int64 {
	var rivals []*span
	for _, p := range placed {
		if p.first <= s.last && s.first <= p.last {
			rivals = append(rivals, p)
		}
	}
	sort.Slice(rivals, func(i, j int) bool { return rivals[i].offset < rivals[j].offset })
	at := int64(0)
	for _, p := range rivals {
		if at+s.bytes <= p.offset {
			break
		}
		at = max(at, roundUp(p.offset+p.bytes, align))
	}
	return at
}
