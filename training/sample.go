package training

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Sampling says how the next token is chosen from its scores: the likeliest, or drawn as
// Transformers draws it.
type Sampling struct {
	Temperature float64 `codec:"temperature"` // what scores are divided by; 0 = the likeliest token
	TopK        int     `codec:"top_k"`       // draw from the likeliest so many; 0 = all
	TopP        float64 `codec:"top_p"`       // of them, from the fewest that have this share of the probability; 0 = all
	Seed        uint64  `codec:"seed"`
}

// candidate is a token and its probability, not normalised.
type candidate struct {
	id int32
	p  float64
}

// chooser chooses the tokens of one text. The same seed and stream give the same choices.
func (s Sampling) chooser(stream uint64) func(logits []float32) int32 {
	if s.Temperature == 0 {
		return argmax
	}
	numbers := rand.New(rand.NewPCG(s.Seed, stream))
	return func(logits []float32) int32 { return draw(s.candidates(logits), numbers.Float64()) }
}

// candidates are the tokens that may be drawn, the likeliest first.
func (s Sampling) candidates(logits []float32) []candidate {
	top := float64(logits[argmax(logits)])
	all := make([]candidate, len(logits))
	for i, x := range logits {
		all[i] = candidate{int32(i), math.Exp((float64(x) - top) / s.Temperature)}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(b.p, a.p) })
	if s.TopK > 0 {
		all = all[:min(s.TopK, len(all))]
	}
	if s.TopP <= 0 || s.TopP >= 1 {
		return all
	}
	rest := s.TopP * total(all)
	for i, c := range all {
		if rest -= c.p; rest <= 0 {
			return all[:i+1]
		}
	}
	return all
}

func total(all []candidate) (sum float64) {
	for _, c := range all {
		sum += c.p
	}
	return sum
}

// draw takes the candidate at a share u, from 0 to below 1, of the probability.
func draw(all []candidate, u float64) int32 {
	u *= total(all)
	for _, c := range all {
		if u -= c.p; u < 0 {
			return c.id
		}
	}
	return all[len(all)-1].id
}
