package llama

import (
	"fmt"
	"math"

	"trainer/files/jsonstrict"
)

// RopeScaling stretches the rotary embedding to longer contexts.
type RopeScaling struct {
	Type                          string  // default, linear or llama3
	Factor                        float64 // linear, llama3
	LowFreqFactor, HighFreqFactor float64 // llama3
	OriginalMaxPositions          int     // llama3
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
			c.RopeScaling = readScaling(form)
		}
	}
	if old != nil && parameters != nil && readScaling(old) != c.RopeScaling {
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

func readScaling(f *jsonstrict.Fields) RopeScaling {
	s := RopeScaling{Type: f.String("rope_type", f.String("type", "default"))}
	const low, high = 1e-3, 1e6
	switch s.Type {
	case "default":
	case "linear":
		f.Require("factor")
		s.Factor = f.Float("factor", 1, low, high)
	case "llama3":
		f.Require("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
		s.Factor = f.Float("factor", 1, low, high)
		s.LowFreqFactor = f.Float("low_freq_factor", 1, low, high)
		s.HighFreqFactor = f.Float("high_freq_factor", 4, low, high)
		s.OriginalMaxPositions = int(f.Int("original_max_position_embeddings", 1, 1, maxPositions))
		if s.HighFreqFactor <= s.LowFreqFactor {
			f.Refuse("high_freq_factor", fmt.Sprint(s.HighFreqFactor), fmt.Sprintf("more than low_freq_factor, %g", s.LowFreqFactor), "correct the file")
		}
	default:
		f.Refuse("rope_type", fmt.Sprintf("%.40q", s.Type), "default, linear or llama3", unsupportedRope)
	}
	return s
}

// InvFreq is the table of inverse frequencies [RotaryDim/2] of the rotary embedding and the
// factor on its sines and cosines, in float32 steps as Transformers computes them. (Su et
// al. 2021; the llama3 form: Llama 3.1)
func (c Config) InvFreq() (frequencies []float32, scale float64) {
	frequencies = make([]float32, c.RotaryDim/2)
	for i := range frequencies {
		exponent := float32(2*i) / float32(c.RotaryDim)
		frequency := 1 / float32(math.Pow(c.RopeTheta, float64(exponent)))
		frequencies[i] = c.RopeScaling.apply(frequency)
	}
	return frequencies, 1
}

// apply scales one inverse frequency.
func (s RopeScaling) apply(f float32) float32 {
	switch s.Type {
	case "linear":
		return f / float32(s.Factor)
	case "llama3":
		return s.llama3(f)
	}
	return f
}

// llama3 divides long wavelengths by the factor, leaves short ones, and goes over smoothly
// between.
func (s RopeScaling) llama3(f float32) float32 {
	original := float64(s.OriginalMaxPositions)
	wavelength := float32(2*math.Pi) * (1 / f) // PyTorch divides a number by a tensor this way
	switch {
	case wavelength > float32(original/s.LowFreqFactor):
		return f / float32(s.Factor)
	case wavelength < float32(original/s.HighFreqFactor):
		return f
	}
	smooth := (float32(original)*(1/wavelength) - float32(s.LowFreqFactor)) / float32(s.HighFreqFactor-s.LowFreqFactor)
	return float32((1-smooth)*f)/float32(s.Factor) + float32(smooth*f)
}
