package surgery

import "math"

// uniform is what formats that hold one rank and one scale for all modules are given: the
// largest rank, and the usual scale. What a module has else goes into its B.
func (a *Adapter) uniform() (rank int64, scale float64) {
	for _, m := range a.parts {
		rank = max(rank, m.A.Shape[0])
	}
	scale = a.Config.Alpha / float64(a.Config.R)
	if a.Config.UseRSLoRA {
		scale = a.Config.Alpha / math.Sqrt(float64(a.Config.R))
	}
	if scale == 0 {
		scale = 1 // a file may not hold 0 as its scale: B will be zero
	}
	return rank, scale
}

// scaledB is B with the factor that makes the module's scale of another.
func (p *pair) scaledB(scale float64) []float32 {
	factor := float32(float64(p.scale) / scale)
	out := make([]float32, len(p.b))
	for i, x := range p.b {
		out[i] = factor * x
	}
	return out
}
