package training

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// shares draws many tokens and counts how often each came.
func (s Sampling) shares(logits []float32) []float64 {
	const draws = 20000
	next, counts := s.chooser(1), make([]float64, len(logits))
	for range draws {
		counts[next(logits)] += 1.0 / draws
	}
	return counts
}

func TestSampling(t *testing.T) {
	p := []float64{0.1, 0.4, 0.2, 0.3}
	logits := make([]float32, len(p))
	for i := range p {
		logits[i] = 5 + float32(math.Log(p[i]))
	}
	for _, c := range []struct {
		s    Sampling
		want []float64
	}{
		{Sampling{}, []float64{0, 1, 0, 0}},
		{Sampling{Temperature: 1}, p},
		{Sampling{Temperature: 0.5}, []float64{0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3}},
		{Sampling{Temperature: 1, TopK: 2}, []float64{0, 4.0 / 7, 0, 3.0 / 7}},
		{Sampling{Temperature: 1, TopK: 9, TopP: 1}, p},
		{Sampling{Temperature: 1, TopP: 0.65}, []float64{0, 4.0 / 7, 0, 3.0 / 7}},
		{Sampling{Temperature: 1, TopP: 0.75}, []float64{0, 4.0 / 9, 2.0 / 9, 3.0 / 9}},
		{Sampling{Temperature: 1, TopP: 1e-9}, []float64{0, 1, 0, 0}},
		{Sampling{Temperature: 1, TopK: 2, TopP: 0.5}, []float64{0, 1, 0, 0}}, // 4/7 of what top_k left
	} {
		got := c.s.shares(logits)
		for i := range p {
			require.InDelta(t, c.want[i], got[i], 0.02, "%+v, token %d", c.s, i)
		}
		require.Equal(t, got, c.s.shares(logits), "the same seed draws the same")
	}
	broken := []float32{float32(math.Inf(-1)), 1, float32(math.Inf(-1))}
	require.InDelta(t, 1, Sampling{Temperature: 1}.shares(broken)[1], 1e-9, "what is impossible is never drawn")
	first := Sampling{Temperature: 1}
	other := Sampling{Temperature: 1, Seed: 1}
	require.NotEqual(t, first.shares(logits), other.shares(logits))
}
