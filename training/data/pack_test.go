package data

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// numbered makes examples of given lengths whose every token is unique.
func numbered(lengths []int) []Example {
	var all []Example
	next := int32(1)
	for row, n := range lengths {
		e := Example{Row: 3 * row}
		for range n {
			e.IDs = append(e.IDs, next)
			e.Labels = append(e.Labels, next)
			next++
		}
		all = append(all, e)
	}
	return all
}

// like GSM8K: log-normal lengths around 200 tokens.
func likeGSM8K(rows int) []int {
	random := rand.New(rand.NewPCG(1, 2))
	lengths := make([]int, rows)
	for i := range lengths {
		lengths[i] = min(512, max(60, int(60+140*(0.4+random.ExpFloat64()*0.6))))
	}
	return lengths
}

// fill is the share of packed rows that holds tokens.
func fill(packed []Example, context int) float64 {
	tokens := 0
	for _, e := range packed {
		tokens += len(e.IDs)
	}
	return float64(tokens) / float64(len(packed)*context)
}

func TestPackKeepsEverySampleOnce(t *testing.T) {
	const context = 2048
	examples := numbered(likeGSM8K(packWindow + 3000))
	packed := Pack(examples, context)
	assert.Equal(t, packed, Pack(examples, context))
	seen := map[int]int{}
	for _, row := range packed {
		require.LessOrEqual(t, len(row.IDs), context)
		require.Equal(t, row.Parts[0].Row, row.Row)
		at := 0
		for _, part := range row.Parts {
			e := examples[part.Row/3]
			seen[part.Row]++
			require.Equal(t, e.IDs, row.IDs[at:at+part.Length])
			require.Equal(t, Ignored, row.Labels[at])
			require.Equal(t, e.Labels[1:], row.Labels[at+1:at+part.Length])
			at += part.Length
		}
		require.Len(t, row.IDs, at)
	}
	require.Len(t, seen, len(examples))
	for _, times := range seen {
		require.Equal(t, 1, times)
	}
	assert.Greater(t, fill(packed, context), 0.98)
}

func TestPackOddLengths(t *testing.T) {
	rows := func(context int, lengths ...int) (all [][]Part) {
		for _, e := range Pack(numbered(lengths), context) {
			all = append(all, e.Parts)
		}
		return all
	}
	assert.Equal(t, [][]Part{{{0, 3}, {9, 5}}, {{3, 8}}, {{6, 4}}}, rows(8, 3, 8, 4, 5))
	assert.Equal(t, [][]Part{{{0, 1}}}, rows(1, 1))
	assert.Equal(t, [][]Part{{{0, 64}}, {{3, 64}}}, rows(64, 64, 64))
	assert.Equal(t, [][]Part{{{0, 64}, {3, 64}}}, rows(128, 64, 64))
	assert.Empty(t, rows(8))
}

// TestPackedBatchCrossesNothing compares a packed batch with the same samples in rows of
// their own: the same tokens, at the same positions of the same samples, predict the same.
func TestPackedBatchCrossesNothing(t *testing.T) {
	type prediction struct{ sample, position, token, target int32 }
	predictions := func(b Batch) (all []prediction) {
		for _, i := range b.LabelRows {
			all = append(all, prediction{b.Samples[i], b.Positions[i], b.IDs[i], b.Labels[i]})
		}
		slices.SortFunc(all, func(a, b prediction) int { return int(a.token - b.token) })
		return all
	}
	examples := numbered(likeGSM8K(100))
	single, packed := Collate(examples, 0, 16), Collate(Pack(examples, 600), 0, 16)
	assert.Nil(t, single.Segments)
	assert.Equal(t, predictions(single), predictions(packed))
	assert.Equal(t, single.Labelled, packed.Labelled)
	assert.Equal(t, single.Tokens, packed.Tokens)
	for i, segment := range packed.Segments {
		padding := i%packed.Seq >= int(packed.Lengths[i/packed.Seq])
		if i%packed.Seq == 0 {
			require.Zero(t, segment)
			continue
		}
		require.GreaterOrEqual(t, segment, packed.Segments[i-1], "segments ascend")
		same := packed.Segments[i-1] == segment
		if padding {
			require.Equal(t, i%packed.Seq != int(packed.Lengths[i/packed.Seq]), same, "padding is one segment")
			continue
		}
		require.Equal(t, same, packed.Samples[i-1] == packed.Samples[i])
		require.Equal(t, same, packed.Positions[i] != 0)
	}
}

func TestCollatePacked(t *testing.T) {
	const no = Ignored
	row := Pack([]Example{
		{IDs: []int32{1, 5, 2}, Labels: []int32{no, 5, 2}, Row: 7},
		{IDs: []int32{1, 6}, Labels: []int32{1, 6}, Row: 9},
	}, 8)
	b := Collate(append(row, Example{IDs: []int32{1, 8}, Labels: []int32{no, 8}, Row: 4}), 0, 3)
	assert.Equal(t, Batch{
		Rows: 2, Seq: 6,
		IDs:       []int32{1, 5, 2, 1, 6, 0, 1, 8, 0, 0, 0, 0},
		Labels:    []int32{5, 2, no, 6, no, no, 8, no, no, no, no, no},
		Positions: []int32{0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5},
		Samples:   []int32{7, 7, 7, 9, 9, 9, 4, 4, 4, 4, 4, 4},
		Segments:  []int32{0, 0, 0, 1, 1, 2, 0, 0, 1, 1, 1, 1},
		Lengths:   []int32{5, 2},
		LabelRows: []int32{0, 1, 3, 6},
		Targets:   []int32{5, 2, 6, 8},
		Tokens:    7, Labelled: 4,
	}, b)
}

// padding is the share of a data set's batches that is padding.
func padding(examples []Example, order []int, batch, roundTo int) float64 {
	d := Dataset{Examples: examples}
	tokens, places := 0, 0
	for _, rows := range MicroBatches(order, 0, batch, len(order)) {
		b := Collate(d.Select(rows), 0, roundTo)
		tokens += b.Tokens
		places += b.Rows * b.Seq
	}
	return 1 - float64(tokens)/float64(places)
}

func TestGroupingKeepsEveryRowOnce(t *testing.T) {
	lengths := likeGSM8K(1003)
	s := Sampler{Rows: len(lengths), Shuffle: true, Seed: 3, Batch: 8}
	for _, n := range lengths {
		s.Lengths = append(s.Lengths, int32(n))
	}
	order := s.Order(1)
	assert.Equal(t, order, s.Order(1))
	assert.NotEqual(t, order, s.Order(2))
	sorted := slices.Sorted(slices.Values(order))
	assert.Equal(t, Sampler{Rows: len(lengths)}.Order(0), sorted)
	examples := numbered(lengths)
	assert.Less(t, padding(examples, order, 8, 1), 0.05)
	assert.Greater(t, padding(examples, Sampler{Rows: s.Rows, Shuffle: true, Seed: 3}.Order(1), 8, 1), 0.2)
	// Long and short batches come mixed.
	longest := func(order []int) (sum int) {
		for _, row := range order {
			sum += lengths[row]
		}
		return sum
	}
	assert.InEpsilon(t, longest(order[:500]), longest(order[500:1000]), 0.15)
	s.Batch = 1
	assert.Equal(t, Sampler{Rows: s.Rows, Shuffle: true, Seed: 3}.Order(1), s.Order(1))
}

func TestGSM8KIsPackedAndGroupedWell(t *testing.T) {
	shared := os.Getenv("TRAINER_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	path := filepath.Join(shared, "data", "gsm8k_train.alpaca.json")
	if _, err := os.Stat(path); err != nil {
		t.Skip("needs TRAINER_SHARED: the data sets are not in the repository")
	}
	d, err := Load(path, Options{ContextLength: 2048}, fourBytes{})
	require.NoError(t, err)
	packed := d.Packed(2048)
	assert.Greater(t, fill(packed.Examples, 2048), 0.99)
	s := Sampler{Rows: len(d.Examples), Shuffle: true, Seed: 42, Lengths: d.ExampleLengths(), Batch: 8}
	assert.Less(t, padding(d.Examples, s.Order(0), 8, 1), 0.03)
	t.Logf("fill %.4f, padding %.4f, in steps of 32 %.4f", fill(packed.Examples, 2048), padding(d.Examples, s.Order(0), 8, 1), padding(d.Examples, s.Order(0), 8, 32))
}

// fourBytes has a token for every four bytes, about as many as real ones have.
type fourBytes struct{ byteTokenizer }

func (fourBytes) EOS() (int32, bool) { return 2, true }

func (fourBytes) Encode(text string, addSpecial bool) []int32 {
	ids := bytewise.Encode(text, addSpecial)
	return ids[:(len(ids)+3)/4]
}
