package tokenizer

import "sync"

const dead = int32(-1) // the id of a symbol that was merged into its left neighbour

// symbol is one element of a word under merging, in a doubly linked list of
// indices; -1 ends the list.
type symbol struct{ id, prev, next int32 }

// scratch is the working memory of one word's merging.
type scratch struct {
	symbols []symbol
	queue   queue
}

// scratchKeep bounds what a pooled scratch may hold on to, in symbols.
const scratchKeep = 1 << 16

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) reset() {
	if cap(s.symbols) > scratchKeep || cap(s.queue) > 3*scratchKeep {
		s.symbols, s.queue = nil, nil
	}
	s.symbols, s.queue = s.symbols[:0], s.queue[:0]
}

// add appends a symbol at the end of the list.
func (s *scratch) add(id int32) {
	i := int32(len(s.symbols))
	if i > 0 {
		s.symbols[i-1].next = i
	}
	s.symbols = append(s.symbols, symbol{id: id, prev: i - 1, next: -1})
}

// queue is a binary min-heap of merge candidates. A candidate is its rank in the
// high half and its position in the low half, so that the order of the numbers is
// "lowest rank first, leftmost of equals".
type queue []uint64

func candidate(rank uint32, pos int32) uint64 { return uint64(rank)<<32 | uint64(uint32(pos)) }

// order makes a heap of elements in any order, in linear time.
func (q queue) order() {
	for i := len(q)/2 - 1; i >= 0; i-- {
		q.down(i)
	}
}

func (q *queue) push(c uint64) {
	*q = append(*q, c)
	h := *q
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent] <= c {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = c
}

// pop removes the least candidate; the queue must not be empty.
func (q *queue) pop() (rank uint32, pos int32) {
	h := *q
	top := h[0]
	h[0] = h[len(h)-1]
	h = h[:len(h)-1]
	*q = h
	if len(h) > 1 {
		h.down(0)
	}
	return uint32(top >> 32), int32(uint32(top))
}

func (q queue) down(i int) {
	c := q[i]
	for {
		child := 2*i + 1
		if child >= len(q) {
			break
		}
		if child+1 < len(q) && q[child+1] < q[child] {
			child++
		}
		if c <= q[child] {
			break
		}
		q[i] = q[child]
		i = child
	}
	q[i] = c
}
