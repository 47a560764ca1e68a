package data

import (
	"cmp"
	"math/bits"
	"slices"
)

// Sampler decides in which order rows are seen. The order is a function of its
// fields and the epoch alone, the same on every machine.
type Sampler struct {
	Rows    int
	Shuffle bool // another order each epoch; false = file order
	Seed    uint64
	// Lengths [Rows], if given and rows are shuffled, puts rows of about one length into the
	// same batch of Batch rows, so that little is padded.
	Lengths []int32
	Batch   int
}

// groupBatches is how many batches are sorted together. More would pad less and leave less
// to chance.
const groupBatches = 128

// Order is the order of the rows in an epoch, counted from 0: a Fisher-Yates
// shuffle, from the last place to the first, with the numbers of a SplitMix64
// generator (Steele, Lea, Flood 2014) that starts at mix(mix(seed) XOR epoch).
// A number x chooses among n places as the high 64 bits of x·n. With Lengths,
// the shuffled rows are sorted by length, groupBatches batches at a time, and the
// batches are shuffled by the numbers that follow; an incomplete batch stays last.
func (s Sampler) Order(epoch int) []int {
	order := make([]int, s.Rows)
	for i := range order {
		order[i] = i
	}
	if !s.Shuffle {
		return order
	}
	g := generator{mix(mix(s.Seed) ^ uint64(epoch))}
	shuffle(order, &g)
	if s.Lengths == nil || s.Batch < 2 {
		return order
	}
	return s.grouped(order, &g)
}

// grouped sorts rows into batches of about one length and shuffles the batches.
func (s Sampler) grouped(order []int, g *generator) []int {
	for group := range slices.Chunk(order, groupBatches*s.Batch) {
		slices.SortStableFunc(group, func(a, b int) int { return cmp.Compare(s.Lengths[b], s.Lengths[a]) })
	}
	whole := len(order) / s.Batch * s.Batch
	batches := slices.Collect(slices.Chunk(order[:whole], s.Batch))
	shuffle(batches, g)
	return append(slices.Concat(batches...), order[whole:]...)
}

// shuffle puts items into an order that the generator's next numbers choose.
func shuffle[T any](items []T, g *generator) {
	for i := len(items) - 1; i > 0; i-- {
		j, _ := bits.Mul64(g.next(), uint64(i+1))
		items[i], items[j] = items[j], items[i]
	}
}

// generator is a SplitMix64 generator.
type generator struct{ state uint64 }

func (g *generator) next() uint64 {
	x := mix(g.state)
	g.state += golden
	return x
}

// StepsPerEpoch is the number of optimizer steps that see every row once:
// rows / (batch · accumulation), rounded up, since the last step of an epoch
// takes the rows that are left.
func (s Sampler) StepsPerEpoch(batch, accumulation int) int {
	return (s.Rows + batch*accumulation - 1) / (batch * accumulation)
}

// MicroBatches gives the rows of an optimizer step of an epoch, the step counted
// from 0 in its epoch: at most `accumulation` micro-batches of at most `batch`
// rows, cut from the epoch's order as it comes. It is empty past the last step.
func MicroBatches(order []int, step, batch, accumulation int) [][]int {
	first := min(step*batch*accumulation, len(order))
	last := min(first+batch*accumulation, len(order))
	var micro [][]int
	for ; first < last; first += batch {
		micro = append(micro, order[first:min(first+batch, last)])
	}
	return micro
}

const golden = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio

// mix is what a SplitMix64 generator in state x gives next.
func mix(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
