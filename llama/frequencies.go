package llama

import "math"

// InvFreq is the table of inverse frequencies [RotaryDim/2] of the rotary embedding of texts
// of up to so many tokens, and the factor on its sines and cosines, in float32 steps as
// Transformers computes them. (Su et al. 2021; the llama3 form: Llama 3.1)
func (c Config) InvFreq(tokens int64) (frequencies []float32, scale float64) {
	s := c.RopeScaling
	frequencies = make([]float32, c.RotaryDim/2)
	for i := range frequencies {
		exponent := float32(2*i) / float32(c.RotaryDim)
		wave := float32(math.Pow(c.RopeTheta, float64(exponent)))
		switch s.Type {
		case "linear":
			frequencies[i] = 1 / wave / float32(s.Factor)
		case "llama3":
			frequencies[i] = s.llama3(1 / wave)
		case "yarn":
			frequencies[i] = s.yarn(wave, s.ramp(i, c))
		case "longrope":
			frequencies[i] = 1 / (float32(s.factors(tokens)[i]) * wave)
		default:
			frequencies[i] = 1 / wave
		}
	}
	if s.Type == "yarn" || s.Type == "longrope" {
		return frequencies, s.Attention
	}
	return frequencies, 1
}

// factors are those of the longrope form for texts of up to so many tokens.
func (s RopeScaling) factors(tokens int64) []float64 {
	if tokens > int64(s.OriginalMaxPositions) {
		return s.Long
	}
	return s.Short
}

// yarn goes over from a wave's own frequency to the one divided by the factor, as share goes
// from 0 to 1.
func (s RopeScaling) yarn(wave, share float32) float32 {
	kept := 1 - share
	return float32(1/(float32(s.Factor)*wave)*(1-kept)) + float32(1/wave*kept)
}

// ramp is how far frequency i of c lies from the bound above which frequencies are kept to
// the one below which they are divided, 0 to 1.
func (s RopeScaling) ramp(i int, c Config) float32 {
	dim := float64(c.RotaryDim)
	// bound is the frequency, as a fractional number, that turns so often in the original context.
	bound := func(turns float64) float64 {
		return dim * math.Log(float64(s.OriginalMaxPositions)/(turns*2*math.Pi)) / (2 * math.Log(c.RopeTheta))
	}
	low, high := bound(s.BetaFast), bound(s.BetaSlow)
	if !s.Fractional {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, dim-1)
	if low == high {
		high += 0.001
	}
	return min(max((float32(i)-float32(low))/float32(high-low), 0), 1)
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

// Factors are what the llama3 form divides each inverse frequency by, [RotaryDim/2]; nil for
// the other forms.
func (s RopeScaling) Factors(c Config) []float32 {
	if s.Type != "llama3" {
		return nil
	}
	plain := c
	plain.RopeScaling = RopeScaling{Type: "default"}
	unscaled, _ := plain.InvFreq(1)
	scaled, _ := c.InvFreq(1)
	for i := range unscaled {
		unscaled[i] /= scaled[i]
	}
	return unscaled
}
