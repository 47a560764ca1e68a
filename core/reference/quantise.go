package reference

import (
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

// weight is the dense form [rows, cols] of eight operands.
func (c *call) weight(in []*tensor, format abi.QuantFormat, rows, cols int64) (matrix, error) {
	if format.Format == abi.FormatDense {
		return in[abi.WeightData].matrix(), nil
	}
	w := newMatrix(int(rows), int(cols))
	return w, c.dequantised(w, in, format)
}

func dequantise(c *call) error {
	a := c.attr.(op.Quantise)
	if a.Format.Format == abi.FormatDense {
		return copyKernel(c)
	}
	return c.dequantised(c.out[0].matrix(), c.in, a.Format)
}

// dequantised joins the number of each code with the scale and zero of its group.
func (c *call) dequantised(dst matrix, in []*tensor, f abi.QuantFormat) error {
	if err := op.CheckFormat(f, int64(dst.rows), int64(dst.cols)); err != nil {
		return err
	}
	codes := unpacked(in[abi.WeightData].data, op.Bits{Bits: f.Bits, Order: f.CodeLayout}, len(dst.data))
	scale, zero := c.scales(in, f)
	groups := len(scale)
	for i, code := range codes {
		g := groupOf(i, int(f.Group), groups, f.Interleaved > 0)
		switch x := numberOf(code, f); f.Format {
		case abi.FormatAffine:
			dst.data[i] = c.f32(c.f32(x-zero[g]) * scale[g])
		case abi.FormatBiased:
			dst.data[i] = c.f32(c.f32(x*scale[g]) + zero[g])
		default:
			dst.data[i] = c.f32(x * scale[g])
		}
	}
	return nil
}

// f32 rounds where the machine rounds.
func (c *call) f32(x float64) float64 {
	if c.rounding {
		return f32(x)
	}
	return x
}

func groupOf(i, group, groups int, interleaved bool) int {
	if interleaved {
		return i % groups
	}
	return i / group
}

// numberOf is what a code stands for before scale and zero.
func numberOf(code float64, f abi.QuantFormat) float64 {
	if values := op.NumbersOf(f); values != nil {
		return values[int(code)]
	}
	if f.Format == abi.FormatInt8 {
		return float64(int8(uint8(code)))
	}
	return code
}

// scales is the scale and the zero of each group; a format without zeros has none.
func (c *call) scales(in []*tensor, f abi.QuantFormat) (scale, zero []float64) {
	scale = in[abi.WeightScale].data
	if f.ZeroDType > 0 {
		zero = in[abi.WeightZero].data
	}
	switch {
	case f.NestedGroup == 0:
		return scale, zero
	case f.Format == abi.FormatAffine:
		return c.inner(scale, in[abi.WeightScaleScale].data, in[abi.WeightScaleZero].data), c.inner(zero, in[abi.WeightZeroScale].data, in[abi.WeightZeroZero].data)
	}
	values := make([]float64, len(scale))
	for g, code := range scale {
		outer := in[abi.WeightScaleScale].data[g/int(f.NestedGroup)]
		values[g] = c.f32(c.f32(in[abi.WeightCode].data[int(code)]*outer) + in[abi.WeightScaleZero].data[0])
	}
	return values, zero
}

// inner is scales or zeros that are themselves stored as codes of 8 bits, interleaved.
func (c *call) inner(codes, scale, zero []float64) []float64 {
	values := make([]float64, len(codes))
	for g, code := range codes {
		values[g] = c.f32(c.f32(code-zero[g%len(zero)]) * scale[g%len(scale)])
	}
	return values
}

// quantise works in float32, as the libraries do whose formats these are, so that codes
// agree bit for bit.
func quantise(c *call) error {
	a, src := c.attr.(op.Quantise), c.in[0]
	if a.Format.Format == abi.FormatDense {
		return copyKernel(c)
	}
	if err := op.CheckFormat(a.Format, a.Rows, a.Cols); err != nil {
		return err
	}
	x := make([]float32, len(src.data))
	for i, v := range src.data {
		x[i] = float32(v)
	}
	var codes []float64
	switch a.Format.Format {
	case abi.FormatAffine:
		codes = quantiseAffine(c.out, x, a.Format)
	case abi.FormatBiased:
		codes = quantiseBiased(c.out, x, a.Format)
	case abi.FormatInt8:
		codes = quantiseInt8(c.out, x, a.Format)
	default:
		codes = quantiseTabled(c.out, x, a.Format)
	}
	packInto(c.out[abi.WeightData].data, codes, op.Bits{Bits: a.Format.Bits, Order: a.Format.CodeLayout})
	return nil
}

// quantiseTabled takes the nearest number of a table.
func quantiseTabled(out []*tensor, x []float32, f abi.QuantFormat) []float64 {
	book := op.BookOf(f)
	codes, absmax := blockCodes(x, int(f.Group), between(book.Values), func(x, most float32) float32 { return x * (1 / most) })
	for i, place := range codes {
		codes[i] = book.Codes[int(place)]
	}
	if f.NestedGroup == 0 {
		copyFloats(out[abi.WeightScale].data, absmax)
	} else {
		quantiseScales(out, absmax, int(f.NestedGroup))
	}
	return codes
}

// quantiseScales stores absmax minus its mean as codes of the dynamic map.
func quantiseScales(out []*tensor, absmax []float32, group int) {
	sum := 0.0
	for _, x := range absmax {
		sum += float64(x)
	}
	mean := float32(sum) / float32(len(absmax))
	centred := make([]float32, len(absmax))
	for i, x := range absmax {
		centred[i] = x - mean
	}
	codes, outer := blockCodes(centred, group, between(op.DynamicMap()), dynamicGrid)
	copy(out[abi.WeightScale].data, codes)
	copyFloats(out[abi.WeightScaleScale].data, outer)
	out[abi.WeightScaleZero].data[0] = float64(mean)
	copy(out[abi.WeightCode].data, op.DynamicMap())
}

// dynamicGrid puts x / most on the grid of 65,536 even steps on which bitsandbytes looks
// codes of the dynamic map up.
func dynamicGrid(x, most float32) float32 {
	step := float32(math.Floor(float64(float32((x/most+1)*32767.5) + 0.5)))
	return float32(step*float32(2.0/65535.0)) - 1
}

func copyFloats(dst []float64, src []float32) {
	for i, x := range src {
		dst[i] = float64(x)
	}
}

// between is the middle of each value and the next, in float32.
func between(values []float64) []float32 {
	middles := make([]float32, len(values)-1)
	for i := range middles {
		middles[i] = (float32(values[i]) + float32(values[i+1])) / 2
	}
	return middles
}

// blockCodes is the place among ascending values of the one nearest to each ratio of x to
// absmax, a tie taking the lower one, and absmax, the largest magnitude of each block.
func blockCodes(x []float32, group int, middles []float32, ratio func(x, most float32) float32) (codes []float64, absmax []float32) {
	for begin := 0; begin < len(x); begin += group {
		block := x[begin:min(begin+group, len(x))]
		most := largest(block)
		absmax = append(absmax, most)
		if most == 0 {
			most = 1
		}
		for _, v := range block {
			codes = append(codes, float64(nearest(ratio(v, most), middles)))
		}
	}
	return codes, absmax
}

// largest is the largest magnitude.
func largest(x []float32) (most float32) {
	for _, v := range x {
		most = max(most, float32(math.Abs(float64(v))))
	}
	return most
}

func nearest(x float32, middles []float32) (code int) {
	for _, m := range middles {
		if x > m {
			code++
		}
	}
	return code
}
