package metrics

import (
	"math"
	"slices"
)

// untimedSteps are left out of a rate: they allocate, compile and warm caches.
const untimedSteps = 3

// Throughput collects how long steps took. The first three do not count, and
// loading never does, since only steps are added.
type Throughput struct {
	seen    int
	tokens  int
	seconds float64
	rates   []float64 // tokens per second of each counted step
}

// Add takes a step: its tokens without padding and its seconds.
func (t *Throughput) Add(tokens int, seconds float64) {
	if t.seen++; t.seen <= untimedSteps {
		return
	}
	t.tokens += tokens
	t.seconds += seconds
	t.rates = append(t.rates, float64(tokens)/seconds)
}

// TokensPerSecond is the rate over all counted steps, NaN before the first.
func (t *Throughput) TokensPerSecond() float64 { return float64(t.tokens) / t.seconds }

// Median is the rate of the median counted step, NaN before the first; of an even
// number of steps, the slower of the two in the middle.
func (t *Throughput) Median() float64 {
	if len(t.rates) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(t.rates))
	return sorted[(len(sorted)-1)/2]
}
