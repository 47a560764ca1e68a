package program

import (
	"cmp"
	"slices"
	"sort"

	"trainer/core/abi"
	"trainer/core/op"
)

// Cut is the pseudo op that splits a graph into lists: what runs at a cut is another
// graph over the same memory. Its inputs stay alive for it, its outputs are written by
// it or are its scratch.
const Cut abi.Op = 0

// Shared lists the roots that lists on both sides of a cut touch, or what runs at it.
func Shared(g *op.Graph) map[*op.Value]bool {
	first, shared := map[*op.Value]int{}, map[*op.Value]bool{}
	part := 0
	for _, n := range g.Nodes {
		if n.Op == Cut {
			part++
		}
		for _, v := range slices.Concat(n.In, n.Out) {
			if v == nil {
				continue
			}
			if at, seen := first[v.Root]; n.Op == Cut || seen && at != part {
				shared[v.Root] = true
			}
			first[v.Root] = part
		}
	}
	return shared
}

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
}

// block is a span's place: bytes [begin, end) while nodes first to last run.
type block struct {
	first, last int
	begin, end  int64
}

// PlanMemory gives every transient root of the graph an arena offset, a multiple of
// align. Values whose lives do not meet may share memory; an op that allows it writes
// its result over an input that dies there. It looks harder for places while they take more
// than goal bytes and could take fewer; 0 = the first try is good enough.
func PlanMemory(g *op.Graph, align, goal int64) Memory {
	spans := mergeInPlace(g, liveness(g))
	best := placeAll(sortedBy(orders[0], spans), align)
	if goal == 0 || best.Bytes <= goal || alive(spans, len(g.Nodes)) > goal {
		return best
	}
	for _, before := range orders {
		order := sortedBy(before, spans)
		for range patience {
			m := placeAll(order, align)
			if m.Bytes < best.Bytes {
				best = m
			}
			if best.Bytes <= goal {
				return best
			}
			order = topFirst(order, m, align)
		}
	}
	return best
}

// patience is how often the places of one order are improved.
const patience = 60

// orders are the orders in which values are placed, each at the lowest free offset: the
// largest first, the longest lived, and those that take the most room for the longest time.
var orders = []func(a, b *span) int{
	func(a, b *span) int { return cmp.Compare(b.bytes, a.bytes) },
	func(a, b *span) int { return cmp.Compare(b.last-b.first, a.last-a.first) },
	func(a, b *span) int { return cmp.Compare(b.bytes*b.nodes(), a.bytes*a.nodes()) },
}

func (s *span) nodes() int64 { return int64(s.last - s.first + 1) }

func sortedBy(before func(a, b *span) int, spans []*span) []*span {
	order := slices.Clone(spans)
	slices.SortStableFunc(order, before)
	return order
}

// topFirst lets what lies highest choose its place before all others.
func topFirst(order []*span, m Memory, align int64) []*span {
	top := func(s *span) bool { return m.Offset[s.roots[0]]+RoundUp(s.bytes, align) == m.Bytes }
	var first, rest []*span
	for _, s := range order {
		if top(s) {
			first = append(first, s)
		} else {
			rest = append(rest, s)
		}
	}
	return append(first, rest...)
}

// alive is the most bytes alive at one node, which no plan can take less than.
func alive(spans []*span, nodes int) (most int64) {
	change := make([]int64, nodes+1)
	for _, s := range spans {
		change[s.first] += s.bytes
		change[s.last+1] -= s.bytes
	}
	sum := int64(0)
	for _, c := range change {
		sum += c
		most = max(most, sum)
	}
	return most
}

// placeAll places spans in their order.
func placeAll(spans []*span, align int64) Memory {
	m := Memory{Offset: map[*op.Value]int64{}}
	placed := make([]block, 0, len(spans))
	for _, s := range spans {
		b := block{first: s.first, last: s.last, end: RoundUp(s.bytes, align)}
		placed = place(placed, &b)
		m.Bytes = max(m.Bytes, b.end)
		for _, v := range s.roots {
			m.Offset[v] = b.begin
		}
	}
	return m
}

// RoundUp is the smallest multiple of align that is at least n.
func RoundUp(n, align int64) int64 { return (n + align - 1) / align * align }

// liveness is from where a value is written to where it is read last; what is written before
// the graph runs lives from its begin.
func liveness(g *op.Graph) []*span {
	byRoot := map[*op.Value]*span{}
	var spans []*span
	for i, n := range g.Nodes {
		for at, v := range slices.Concat(n.In, n.Out) {
			if v == nil || v.Root.Kind != op.Transient {
				continue
			}
			s := byRoot[v.Root]
			if s == nil {
				s = &span{roots: []*op.Value{v.Root}, first: i, bytes: Bytes(v)}
				if at < len(n.In) {
					s.first = 0
				}
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
		for _, r := range replacements(n) {
			so, si := owner[r.out], owner[r.in]
			if so == nil || si == nil || so == si || so.first != i || si.last != i {
				continue
			}
			si.last = so.last
			si.roots = append(si.roots, so.roots...)
			for _, v := range so.roots {
				owner[v] = si
			}
			gone[so] = true
		}
	}
	return slices.DeleteFunc(spans, func(s *span) bool { return gone[s] })
}

// sameStorage reports whether two views walk equal storage in the same way.
func sameStorage(a, b *op.Value) bool {
	return Bytes(a) == Bytes(b) && a.Type() == b.Type() && a.Offset == b.Offset &&
		slices.Equal(a.Shape, b.Shape) && slices.Equal(a.Stride, b.Stride)
}

// replacement is a root that a node may write where it reads another.
type replacement struct{ out, in *op.Value }

// replacements lists the pairs of roots of which a node's op lets every view be one and
// the same.
func replacements(n *op.Node) []replacement {
	var list []replacement
	pairs := map[replacement]int{}
	for _, p := range op.MustLookup(n.Op).InPlace {
		out, in := n.Out[p[0]], n.In[p[1]]
		if out == nil || in == nil || !sameStorage(out, in) {
			continue
		}
		r := replacement{out.Root, in.Root}
		if pairs[r]++; pairs[r] == 1 {
			list = append(list, r)
		}
	}
	return slices.DeleteFunc(list, func(r replacement) bool {
		return uses(n.Out, r.out) != pairs[r] || uses(n.In, r.in) != pairs[r]
	})
}

func uses(vs []*op.Value, root *op.Value) (count int) {
	for _, v := range vs {
		if v != nil && v.Root == root {
			count++
		}
	}
	return count
}

// place moves b, which begins at 0, to the lowest offset at which it meets no block
// alive at the same time, and puts it among the blocks, which are in order of begin.
func place(placed []block, b *block) []block {
	size := b.end - b.begin
	for i := range placed {
		p := &placed[i]
		if p.last < b.first || b.last < p.first {
			continue
		}
		if b.begin+size <= p.begin {
			break
		}
		b.begin = max(b.begin, p.end)
	}
	b.end = b.begin + size
	at := sort.Search(len(placed), func(i int) bool { return placed[i].begin > b.begin })
	return slices.Insert(placed, at, *b)
}
