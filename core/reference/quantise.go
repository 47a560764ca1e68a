package reference

import (
	"errors"
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
	return w, c.dequantised(w.data, in, format)
}

func isNF4(f abi.QuantFormat) error {
	if f.Format != abi.FormatNF4 || f.Bits != 4 || f.Group == 0 || f.CodeLayout != 0 {
		return errors.New("the reference does not know this weight format")
	}
	return nil
}

func dequantise(c *call) error {
	a := c.attr.(op.Quantise)
	if a.Format.Format == abi.FormatDense {
		return copyKernel(c)
	}
	return c.dequantised(c.out[0].data, c.in, a.Format)
}

// dequantised is NF4[code] * absmax of each element's block.
func (c *call) dequantised(dst []float64, in []*tensor, format abi.QuantFormat) error {
	if err := isNF4(format); err != nil {
		return err
	}
	codes, group := in[abi.WeightData].data, int(format.Group)
	for i := range dst {
		code := int(codes[i/2]) >> (4 * (1 - i%2)) & 15
		dst[i] = op.NF4Values[code] * absmaxOf(in, format, i/group)
		if c.rounding {
			dst[i] = f32(dst[i])
		}
	}
	return nil
}

// absmaxOf is the scale of one block.
func absmaxOf(in []*tensor, format abi.QuantFormat, block int) float64 {
	scale := in[abi.WeightScale].data[block]
	if format.NestedGroup == 0 {
		return scale
	}
	outer := in[abi.WeightScaleScale].data[block/int(format.NestedGroup)]
	return in[abi.WeightCode].data[int(scale)]*outer + in[abi.WeightScaleZero].data[0]
}

// quantise works in float32, as bitsandbytes does, so that codes agree bit for bit.
func quantise(c *call) error {
	a, src := c.attr.(op.Quantise), c.in[0]
	if a.Format.Format == abi.FormatDense {
		return copyKernel(c)
	}
	if err := isNF4(a.Format); err != nil {
		return err
	}
	codes, absmax := blockCodes(src.data, int(a.Format.Group), between(op.NF4Values[:]), func(x float32) float32 { return x })
	packed := c.out[abi.WeightData].data
	clear(packed)
	for i, code := range codes {
		packed[i/2] += float64(code << (4 * (1 - i%2)))
	}
	if a.Format.NestedGroup == 0 {
		copyFloats(c.out[abi.WeightScale].data, absmax)
		return nil
	}
	quantiseScales(c.out, absmax, int(a.Format.NestedGroup))
	return nil
}

// quantiseScales stores absmax minus its mean as codes of the dynamic map.
func quantiseScales(out []*tensor, absmax []float32, group int) {
	sum := 0.0
	for _, x := range absmax {
		sum += float64(x)
	}
	mean := float32(sum) / float32(len(absmax))
	centred := make([]float64, len(absmax))
	for i, x := range absmax {
		centred[i] = float64(x - mean)
	}
	codes, outer := blockCodes(centred, group, between(op.DynamicMap()), dynamicGrid)
	for i, code := range codes {
		out[abi.WeightScale].data[i] = float64(code)
	}
	copyFloats(out[abi.WeightScaleScale].data, outer)
	out[abi.WeightScaleZero].data[0] = float64(mean)
	copy(out[abi.WeightCode].data, op.DynamicMap())
}

// dynamicGrid puts x in [-1, 1] on the grid of 65,536 even steps on which bitsandbytes
// looks codes of the dynamic map up.
func dynamicGrid(x float32) float32 {
	step := float32(math.Floor(float64(float32((x+1)*32767.5) + 0.5)))
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

// blockCodes is the nearest code of each x / absmax on a grid, a tie taking the lower one,
// and the largest magnitude of each block.
func blockCodes(x []float64, group int, middles []float32, grid func(float32) float32) (codes []int, absmax []float32) {
	for begin := 0; begin < len(x); begin += group {
		block := x[begin:min(begin+group, len(x))]
		most := float32(0)
		for _, v := range block {
			most = max(most, float32(math.Abs(v)))
		}
		absmax = append(absmax, most)
		if most == 0 {
			most = 1
		}
		for _, v := range block {
			codes = append(codes, nearest(grid(float32(v)/most), middles))
		}
	}
	return codes, absmax
}

func nearest(x float32, middles []float32) (code int) {
	for _, m := range middles {
		if x > m {
			code++
		}
	}
	return code
}
