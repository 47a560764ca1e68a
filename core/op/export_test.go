package op

// StochasticBF16 and Noise are words of AdamW's composition that are exact.
func (b *Builder) StochasticBF16(x, noise *Value) *Value { return b.stochasticBF16(x, noise) }

// Noise is the 16 random bits of each element over 2^16.
func (b *Builder) Noise(shape []int64, site Site, which int, steps, seed *Value) *Value {
	return b.noise(shape, site, which, steps, seed)
}
