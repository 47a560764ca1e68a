package data

import (
	"cmp"
	"math/bits"
	"slices"
)

// packWindow is how many examples are packed together: enough to fill rows well, and few
// enough that neighbours in the file stay near each other.
const packWindow = 8192

// Pack joins examples into rows of at most context tokens (at least as many as the longest
// example has) by best fit decreasing within windows of the given order. Every example is
// in exactly one row. Its first token has no label there, since nothing before it in the
// row is its own, just as nothing predicts it alone in a row. A row's number is that of its
// first part. The result is a function of the arguments alone.
func Pack(examples []Example, context int) []Example {
	var packed []Example
	for at := 0; at < len(examples); at += packWindow {
		window := examples[at:min(at+packWindow, len(examples))]
		for _, row := range bestFit(window, context) {
			packed = append(packed, join(window, row))
		}
	}
	return packed
}

// Packed is the data set with its examples packed into rows of at most context tokens; the
// statistics still count samples.
func (d *Dataset) Packed(context int) *Dataset {
	packed := *d
	packed.Examples = Pack(d.Examples, context)
	return &packed
}

// Packing says how well a data set packs.
type Packing struct {
	Rows int     `json:"rows"`
	Fill float64 `json:"fill"` // share of the rows' places that hold tokens
}

// Packing computes what Packed would give.
func (d *Dataset) Packing(context int) *Packing {
	rows := len(Pack(d.Examples, context))
	return &Packing{Rows: rows, Fill: float64(d.Stats.Tokens) / float64(rows*context)}
}

// join makes one row of the examples of these indices.
func join(examples []Example, indices []int) Example {
	row := Example{Row: examples[indices[0]].Row}
	for _, i := range indices {
		e := examples[i]
		start := len(row.IDs)
		row.IDs = append(row.IDs, e.IDs...)
		row.Labels = append(row.Labels, e.Labels...)
		if len(e.IDs) > 0 {
			row.Labels[start] = Ignored
		}
		row.Parts = append(row.Parts, Part{Row: e.Row, Length: len(e.IDs)})
	}
	return row
}

// bestFit puts examples, the longest first, where the least space is left over. The indices
// of a row ascend, and so do the first ones of the rows.
func bestFit(examples []Example, context int) [][]int {
	order := make([]int, len(examples))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(examples[b].IDs), len(examples[a].IDs)) })
	var rows [][]int
	open := newSpaces(context)
	for _, i := range order {
		n := len(examples[i].IDs)
		row, space, ok := open.take(n)
		if !ok {
			row, space = len(rows), max(context, n)
			rows = append(rows, nil)
		}
		rows[row] = append(rows[row], i)
		open.put(row, space-n)
	}
	for _, row := range rows {
		slices.Sort(row)
	}
	slices.SortFunc(rows, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	return rows
}

// spaces knows the rows that have space left, by how much.
type spaces struct {
	rows [][]int  // by space
	some []uint64 // bit s: rows[s] is not empty
}

func newSpaces(context int) *spaces {
	return &spaces{make([][]int, context+1), make([]uint64, context/64+1)}
}

func (s *spaces) put(row, space int) {
	s.rows[space] = append(s.rows[space], row)
	s.some[space/64] |= 1 << (space % 64)
}

// take removes a row with the least space of at least n, the one put in last.
func (s *spaces) take(n int) (row, space int, ok bool) {
	word := n / 64
	if word >= len(s.some) {
		return 0, 0, false
	}
	found := s.some[word] >> (n % 64) << (n % 64)
	for found == 0 {
		if word++; word == len(s.some) {
			return 0, 0, false
		}
		found = s.some[word]
	}
	space = word*64 + bits.TrailingZeros64(found)
	last := len(s.rows[space]) - 1
	row, s.rows[space] = s.rows[space][last], s.rows[space][:last]
	if last == 0 {
		s.some[word] &^= 1 << (space % 64)
	}
	return row, space, true
}
