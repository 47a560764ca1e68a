package data

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCollate(t *testing.T) {
	const no = Ignored
	b := Collate([]Example{
		{IDs: []int32{1, 5, 6, 7, 2}, Labels: []int32{no, no, 6, 7, 2}, Row: 9},
		{IDs: []int32{1, 8, 2}, Labels: []int32{no, 8, 2}, Row: 4},
	}, 0, 4)
	assert.Equal(t, Batch{
		Rows: 2, Seq: 8,
		IDs:       []int32{1, 5, 6, 7, 2, 0, 0, 0, 1, 8, 2, 0, 0, 0, 0, 0},
		Labels:    []int32{no, 6, 7, 2, no, no, no, no, 8, 2, no, no, no, no, no, no},
		Positions: []int32{0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7},
		Samples:   []int32{9, 9, 9, 9, 9, 9, 9, 9, 4, 4, 4, 4, 4, 4, 4, 4},
		Lengths:   []int32{5, 3},
		LabelRows: []int32{1, 2, 3, 8, 9},
		Targets:   []int32{6, 7, 2, 8, 2},
		Tokens:    8, Labelled: 5,
	}, b)
	assert.Equal(t, 5, Collate([]Example{{IDs: make([]int32, 5), Labels: make([]int32, 5)}}, 0, 1).Seq)
}

func TestPadID(t *testing.T) {
	assert.Equal(t, int32(2), PadID(bytewise))
	assert.Equal(t, int32(7), PadID(byteTokenizer{eos: 2, pad: 7}))
}

func TestOrder(t *testing.T) {
	assert.Equal(t, []int{0, 1, 2, 3}, Sampler{Rows: 4, Seed: 1}.Order(3))
	assert.Empty(t, Sampler{Shuffle: true}.Order(0))
	s := Sampler{Rows: 1000, Shuffle: true, Seed: 42}
	first := s.Order(0)
	assert.Equal(t, first, s.Order(0))
	assert.NotEqual(t, first, s.Order(1))
	assert.NotEqual(t, first, Sampler{Rows: 1000, Shuffle: true, Seed: 43}.Order(0))
	sorted := slices.Clone(first)
	slices.Sort(sorted)
	assert.Equal(t, Sampler{Rows: 1000}.Order(0), sorted)
}

// TestOrderNeverChanges pins the order: a run repeated later must be the same.
func TestOrderNeverChanges(t *testing.T) {
	s := Sampler{Rows: 8, Shuffle: true, Seed: 42}
	assert.Equal(t, [][]int{{4, 2, 5, 1, 7, 0, 6, 3}, {6, 1, 3, 7, 5, 2, 0, 4}}, [][]int{s.Order(0), s.Order(1)})
}

// TestOrderIsFair counts where a row lands over many epochs.
func TestOrderIsFair(t *testing.T) {
	const rows, epochs = 5, 20_000
	s := Sampler{Rows: rows, Shuffle: true, Seed: 7}
	var seen [rows][rows]int
	for epoch := range epochs {
		for place, row := range s.Order(epoch) {
			seen[row][place]++
		}
	}
	for row := range rows {
		for place := range rows {
			assert.InDelta(t, epochs/rows, seen[row][place], 0.06*epochs/rows)
		}
	}
}

func TestMicroBatches(t *testing.T) {
	s := Sampler{Rows: 11}
	order := s.Order(0)
	assert.Equal(t, 2, s.StepsPerEpoch(2, 3))
	assert.Equal(t, [][]int{{0, 1}, {2, 3}, {4, 5}}, MicroBatches(order, 0, 2, 3))
	assert.Equal(t, [][]int{{6, 7}, {8, 9}, {10}}, MicroBatches(order, 1, 2, 3))
	assert.Empty(t, MicroBatches(order, 2, 2, 3))
	assert.Equal(t, [][]int{{8, 9}, {10}}, MicroBatches(order, 2, 2, 2))
	d := Dataset{Examples: []Example{{Row: 3}, {Row: 5}}}
	assert.Equal(t, []Example{{Row: 5}, {Row: 3}}, d.Select([]int{1, 0}))
}
