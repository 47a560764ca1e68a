package reference

import (
	"math"
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
)

// spread is the inverse scale and the zero that spread numbers over the codes from 0
// to top.
type spread struct{ inv, zero, top float32 }

func spreadOver(x []float32, bits uint32) spread {
	s := spread{top: float32(int(1)<<bits - 1)}
	low := slices.Min(x)
	span := slices.Max(x) - low
	s.inv = min(float32((1/span)*s.top), 2e4)
	if span <= 1e-4 {
		s.inv = 1
	}
	s.zero = -low * s.inv
	if bits == 4 {
		s.zero = rounded(s.zero)
	}
	return s
}

// rounded is the nearest integer, of a tie the even one.
func rounded(x float32) float32 { return float32(math.RoundToEven(float64(x))) }

func clamped(x, top float32) float32 { return min(max(rounded(x), 0), top) }

func (s spread) code(x float32) float32 { return clamped(float32(x*s.inv)+s.zero, s.top) }

// value is what a code stands for.
func (s spread) value(code float32) float32 { return (code - s.zero) / s.inv }

// members lists where the elements of each group of n lie.
func members(n, group int, interleaved bool) [][]int {
	groups := make([][]int, n/group)
	for i := range n {
		g := groupOf(i, group, len(groups), interleaved)
		groups[g] = append(groups[g], i)
	}
	return groups
}

func pick(x []float32, at []int) []float32 {
	picked := make([]float32, len(at))
	for i, k := range at {
		picked[i] = x[k]
	}
	return picked
}

func quantiseAffine(out []*tensor, x []float32, f abi.QuantFormat) []float64 {
	groups := members(len(x), int(f.Group), f.Interleaved > 0)
	spreads := make([]spread, len(groups))
	for g, at := range groups {
		spreads[g] = spreadOver(pick(x, at), f.Bits)
	}
	solve(spreads, x, groups)
	codes := make([]float64, len(x))
	scale, zero := make([]float32, len(groups)), make([]float32, len(groups))
	for g, s := range spreads {
		scale[g], zero[g] = 1/s.inv, s.zero
		for _, i := range groups[g] {
			codes[i] = float64(s.code(x[i]))
		}
	}
	if f.NestedGroup == 0 {
		copyFloats(out[abi.WeightScale].data, scale)
		copyFloats(out[abi.WeightZero].data, zero)
		return codes
	}
	nest(out[abi.WeightScale], out[abi.WeightScaleScale], out[abi.WeightScaleZero], scale, f)
	nest(out[abi.WeightZero], out[abi.WeightZeroScale], out[abi.WeightZeroZero], zero, f)
	return codes
}

// nest stores scales or zeros in 8 bits.
func nest(codes, scale, zero *tensor, x []float32, f abi.QuantFormat) {
	for g, at := range members(len(x), int(f.NestedGroup), true) {
		s := spreadOver(pick(x, at), 8)
		scale.data[g], zero.data[g] = float64(1/s.inv), float64(s.zero)
		for _, i := range at {
			codes.data[i] = float64(s.code(x[i]))
		}
	}
}

// solve moves the zeros: half-quadratic quantisation (Badri & Shaji 2023) as the HQQ
// library does it, until a round does not improve the mean error of the whole weight.
func solve(spreads []spread, x []float32, groups [][]int) {
	best := math.Inf(1)
	for range 20 {
		sum := 0.0
		for g := range spreads {
			s := &spreads[g]
			zeros := 0.0
			for _, i := range groups[g] {
				q := s.code(x[i])
				off := x[i] - s.value(q)
				sum += math.Abs(float64(off))
				zeros += float64(q - float32((x[i]-shrunk(off))*s.inv))
			}
			s.zero = float32(zeros / float64(len(groups[g])))
		}
		if !(sum < best) {
			return
		}
		best = sum
	}
}

// shrunk is sign(x) max(|x| - |x|^(p-1) / beta, 0) with p = 0.7 and beta = 10.
func shrunk(x float32) float32 {
	size := math.Abs(float64(x))
	less := max(float32(size)-float32(0.1*float32(math.Pow(size, -0.3))), 0)
	return float32(math.Copysign(float64(less), float64(x)))
}

func quantiseBiased(out []*tensor, x []float32, f abi.QuantFormat) []float64 {
	codes := make([]float64, len(x))
	for g, at := range members(len(x), int(f.Group), false) {
		b := op.BiasedOver(pick(x, at), f.Bits)
		out[abi.WeightScale].data[g], out[abi.WeightZero].data[g] = float64(b.Scale), float64(b.Bias)
		for _, i := range at {
			codes[i] = float64(b.Code(x[i]))
		}
	}
	return codes
}

func quantiseInt8(out []*tensor, x []float32, f abi.QuantFormat) []float64 {
	codes := make([]float64, len(x))
	for g, at := range members(len(x), int(f.Group), false) {
		most := largest(pick(x, at))
		out[abi.WeightScale].data[g] = float64(most / 127)
		factor := 127 / most
		if factor > math.MaxFloat32 {
			factor = 0
		}
		for _, i := range at {
			codes[i] = float64(rounded(x[i] * factor))
		}
	}
	return codes
}
