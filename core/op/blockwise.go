package op

import (
	"math"
	"slices"

	"trainer/core/abi"
)

// Optimizer states of 8 bits (Dettmers et al. 2022): every block of so many elements is
// divided by its largest magnitude and stored as codes of a dynamic map.

// BlockwiseGroup is the elements of a block.
const BlockwiseGroup = 256

// Blockwise is a state of n elements in 8 bits.
type Blockwise struct {
	Codes  *Value // u8 [n]
	Absmax *Value // f32 [ceil(n/256)], the largest magnitude of each block
	Map    *Value // f32 [256], the value of each code, ascending
}

// UnsignedDynamicMap is the 8-bit dynamic map of numbers from 0 to 1, as bitsandbytes has
// it: twice the steps of DynamicMap in each decade. 256 values, ascending, each a float32.
func UnsignedDynamicMap() []float64 {
	values := []float64{0, 1}
	for decade := range 7 {
		scale, items := float32(math.Pow(10, float64(decade-6))), 2<<decade
		for i := range items {
			values = append(values, float64(scale*((linspace(i, items+1)+linspace(i+1, items+1))/2)))
		}
	}
	slices.Sort(values)
	return values
}

// AdamW8Bit emits AdamW's update of one parameter whose moments are kept in 8 bits.
func (b *Builder) AdamW8Bit(a AdamW, param *Value, m, v Blockwise, grad, lr, seed *Value, g Guarded) {
	shape := param.Shape
	newParam, newM, newV := b.adamwStep(a, param, b.Expand(m).Reshape(shape...), b.Expand(v).Reshape(shape...), grad, lr, g.Clip, g.Steps)
	b.settle(Rounding{a.Stochastic, a.Site}, g.Skip, g.Steps, seed, [2]*Value{param, newParam})
	b.Shrink(m, newM, g.Skip)
	b.Shrink(v, newV, g.Skip)
}

// Expand is the state as f32 [n].
func (b *Builder) Expand(s Blockwise) *Value {
	n := s.Codes.Count()
	values := b.temp(n)
	b.Gather(values.Split(0, n, 1), s.Map.Split(0, 256, 1), b.cast(abi.I32, s.Codes))
	for _, block := range blocksOf(n, BlockwiseGroup) {
		x := block.of(values)
		b.Binary(abi.BinaryMul, x, x, block.scale(s.Absmax))
	}
	return values
}

// Shrink stores x as the nearest codes, of a tie the lower one, unless skip is not 0.
func (b *Builder) Shrink(s Blockwise, x, skip *Value) {
	n := s.Codes.Count()
	flat, absmax, ratio := x.Reshape(n), b.temp(s.Absmax.Shape...), b.temp(n)
	for _, block := range blocksOf(n, BlockwiseGroup) {
		most := block.scale(absmax)
		b.Reduce(abi.ReduceMax, most, b.apply(abi.UnaryAbs, block.of(flat)))
		b.Binary(abi.BinaryDiv, block.of(ratio), block.of(flat), b.choose(most, most, b.scalar(1)))
	}
	b.Select(s.Codes, skip, s.Codes, b.cast(abi.U8, b.nearest(s.Map, ratio)))
	b.Select(s.Absmax, skip, s.Absmax, absmax)
}

// nearest is i32 [n], the index in a map [256] of the value nearest to each x [n]: how
// many of the middles between values x lies above, found by halving.
func (b *Builder) nearest(values, x *Value) *Value {
	n := x.Count()
	middles := b.affine(b.plus(values.Slice(0, 0, 255), values.Slice(0, 1, 256)), 0.5, 0).Split(0, 255, 1)
	above := b.Fixed("codes", abi.I32, n)
	b.FillInt(above, 0)
	for step := int32(128); step > 0; step /= 2 {
		middle := b.temp(n, 1)
		b.Gather(middle, middles, b.plus(above, b.integer(step-1)))
		passed := b.below(middle.Reshape(n), x)
		above = b.plus(above, b.times(passed, b.integer(step)))
	}
	return above
}
