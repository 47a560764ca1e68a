package llama

import (
	"cmp"
	"fmt"
	"math"
	"reflect"

	"trainer/files/jsonstrict"
)

// RopeScaling stretches the rotary embedding to longer contexts.
type RopeScaling struct {
	Type                          string    // default, linear, llama3, yarn or longrope
	Factor                        float64   // linear, llama3, yarn
	LowFreqFactor, HighFreqFactor float64   // llama3
	OriginalMaxPositions          int       // llama3, yarn, longrope
	Attention                     float64   // yarn, longrope: factor on sines and cosines
	BetaFast, BetaSlow            float64   // yarn: turns above which a wave is left, below which it is stretched
	Fractional                    bool      // yarn: the bounds are not rounded to whole frequencies
	Short, Long                   []float64 // longrope [RotaryDim/2]: what frequencies are divided by, up to OriginalMaxPositions and above
}

// readRope reads rope_theta, partial_rotary_factor and rope_scaling, which newer versions
// hold together in rope_parameters.
func (c *Config) readRope(f *jsonstrict.Fields, m family) {
	const lowTheta, highTheta = 1e-3, 1e30
	theta, part := f.Float("rope_theta", 10000, lowTheta, highTheta), f.Float("partial_rotary_factor", 1, 0, 1)
	c.RopeTheta, c.RopeScaling = theta, RopeScaling{Type: "default"}
	rotary := part
	old, parameters := f.Object("rope_scaling"), f.Object("rope_parameters")
	for _, form := range []*jsonstrict.Fields{old, parameters} {
		if form != nil {
			c.RopeTheta = form.Float("rope_theta", theta, lowTheta, highTheta)
			rotary = form.Float("partial_rotary_factor", part, 0, 1)
			c.RotaryDim = int(float64(c.HeadDim) * rotary)
			c.RopeScaling = c.readScaling(f, form)
		}
	}
	if old != nil && parameters != nil && !reflect.DeepEqual(c.readScaling(f, old), c.RopeScaling) {
		f.Refuse("rope_scaling", "something else than in rope_parameters", "one of the two, or the same in both", "correct the file")
	}
	c.RotaryDim = int(float64(c.HeadDim) * rotary)
	switch {
	case rotary != 1 && !m.partialRotary:
		f.Refuse("partial_rotary_factor", fmt.Sprint(rotary), "1", unsupportedRope)
	case c.RotaryDim == 0 || c.RotaryDim%2 != 0:
		f.Refuse("partial_rotary_factor", fmt.Sprintf("%g, which rotates %d of %d features", rotary, c.RotaryDim, c.HeadDim), "an even number of them", unsupportedRope)
	}
}

// unsupportedRope is the remedy for rotary embeddings that are not computed.
const unsupportedRope = "this rotary embedding is not supported"

// The bounds of factors.
const lowFactor, highFactor = 1e-3, 1e6

// readScaling reads one form of the scaling; whole is the config around it.
func (c *Config) readScaling(whole, f *jsonstrict.Fields) RopeScaling {
	s := RopeScaling{Type: f.String("rope_type", f.String("type", "default"))}
	if c.ModelType == "phi3" && (s.Type == "su" || s.Type == "yarn") { // older names of it
		s.Type = "longrope"
	}
	switch s.Type {
	case "default":
	case "linear":
		f.Require("factor")
		s.Factor = f.Float("factor", 1, lowFactor, highFactor)
	case "llama3":
		s.readLlama3(f)
	case "yarn":
		s.OriginalMaxPositions = c.originalPositions(whole, f)
		s.readYarn(f, c.MaxPositions)
	case "longrope":
		s.OriginalMaxPositions = c.originalPositions(whole, f)
		s.readLongrope(f, c.MaxPositions, c.RotaryDim/2)
	default:
		f.Refuse("rope_type", fmt.Sprintf("%.40q", s.Type), "default, linear, llama3, yarn or longrope", unsupportedRope)
	}
	return s
}

func (s *RopeScaling) readLlama3(f *jsonstrict.Fields) {
	f.Require("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
	s.Factor = f.Float("factor", 1, lowFactor, highFactor)
	s.LowFreqFactor = f.Float("low_freq_factor", 1, lowFactor, highFactor)
	s.HighFreqFactor = f.Float("high_freq_factor", 4, lowFactor, highFactor)
	s.OriginalMaxPositions = int(f.Int("original_max_position_embeddings", 1, 1, maxPositions))
	if s.HighFreqFactor <= s.LowFreqFactor {
		f.Refuse("high_freq_factor", fmt.Sprint(s.HighFreqFactor), fmt.Sprintf("more than low_freq_factor, %g", s.LowFreqFactor), "correct the file")
	}
}

// originalPositions is the context before it was stretched: beside the scaling, in it, or
// where neither says, the model's own.
func (c *Config) originalPositions(whole, f *jsonstrict.Fields) int {
	const name = "original_max_position_embeddings"
	absent := f.Int(name, int64(c.MaxPositions), 1, maxPositions)
	if c.ModelType == "phi3" {
		absent = 4096
	}
	return int(whole.Int(name, absent, 1, maxPositions))
}

// readYarn reads the form of Peng et al. 2023.
func (s *RopeScaling) readYarn(f *jsonstrict.Fields, positions int) {
	s.Factor = f.Float("factor", float64(positions)/float64(s.OriginalMaxPositions), lowFactor, highFactor)
	// Transformers takes 0 for not given.
	given := func(name string, absent float64) float64 { return cmp.Or(f.Float(name, absent, 0, highFactor), absent) }
	s.BetaFast, s.BetaSlow = given("beta_fast", 32), given("beta_slow", 1)
	s.Fractional = !f.Bool("truncate", true)
	scale := func(m float64) float64 {
		if s.Factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(s.Factor) + 1
	}
	attention, m, all := scale(1), given("mscale", 0), given("mscale_all_dim", 0)
	if m != 0 && all != 0 {
		attention = scale(m) / scale(all)
	}
	s.Attention = f.Float("attention_factor", attention, 0, highFactor)
}

// readLongrope reads the form of Ding et al. 2024.
func (s *RopeScaling) readLongrope(f *jsonstrict.Fields, positions, n int) {
	f.Require("short_factor", "long_factor")
	s.Short, s.Long = readFactors(f, "short_factor", n), readFactors(f, "long_factor", n)
	factor, attention := f.Float("factor", float64(positions)/float64(s.OriginalMaxPositions), lowFactor, highFactor), 1.0
	if factor > 1 && s.OriginalMaxPositions > 1 {
		attention = math.Sqrt(1 + math.Log(factor)/math.Log(float64(s.OriginalMaxPositions)))
	}
	s.Attention = f.Float("attention_factor", attention, 0, highFactor)
}

// readFactors reads a list of n factors.
func readFactors(f *jsonstrict.Fields, name string, n int) (factors []float64) {
	v, _ := f.Get(name)
	for _, m := range v.Members() {
		x, ok := m.Value.AsFloat()
		if !ok || !(x >= lowFactor && x <= highFactor) {
			f.Refuse(name, m.Value.Found(), fmt.Sprintf("numbers from %g to %g", lowFactor, highFactor), "correct the file")
		}
		factors = append(factors, x)
	}
	if v.Kind() != jsonstrict.Array || len(factors) != n {
		f.Refuse(name, fmt.Sprintf("%d numbers", len(factors)), fmt.Sprintf("a list of %d, half of the features that are rotated", n), "correct the file")
	}
	return factors
}
