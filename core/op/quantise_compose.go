package op

import (
	"math"

	"trainer/core/abi"
)

// composeQuantise differs from the op where a sum's last bit decides: in the mean of nested
// scales, in the zeros of HQQ, and with them now and then in a code.
func composeQuantise(b *Builder, n *Node) {
	a, src := n.Attr.(Quantise), n.In[0]
	if a.Format.Format == abi.FormatDense {
		b.Cast(n.Out[abi.WeightData], src)
		return
	}
	mustFit(a.Format, a.Rows, a.Cols)
	flat := b.temp(src.Count())
	b.Cast(flat.Reshape(src.Shape...), src)
	var codes *Value
	switch a.Format.Format {
	case abi.FormatAffine:
		codes = b.quantiseAffine(n.Out, flat, a.Format)
	case abi.FormatBiased:
		codes = b.quantiseBiased(n.Out, flat, a.Format)
	case abi.FormatInt8:
		codes = b.quantiseInt8(n.Out, flat, a.Format)
	default:
		codes = b.quantiseTabled(n.Out, flat, a.Format)
	}
	b.Pack(n.Out[abi.WeightData], codes, a.Format.Bits, a.Format.CodeLayout)
}

// quantiseTabled takes the nearest number of a table, of a tie the lower one.
func (b *Builder) quantiseTabled(out []*Value, flat *Value, f abi.QuantFormat) *Value {
	absmax := out[abi.WeightScale]
	if f.NestedGroup > 0 {
		absmax = b.temp(absmax.Shape...)
	}
	book := BookOf(f)
	codes := b.blockCodes(flat, absmax, b.table(book.Values), f.Group, func(x, most *Value) *Value { return b.times(x, b.apply(abi.UnaryReciprocal, most)) })
	if f.NestedGroup > 0 {
		b.quantiseScales(out, absmax, f.NestedGroup)
	}
	return b.cast(abi.I32, b.lookup(b.table(book.Codes), codes))
}

// quantiseScales stores absmax minus its mean as codes of the dynamic map.
func (b *Builder) quantiseScales(out []*Value, absmax *Value, group uint32) {
	mean, code := out[abi.WeightScaleZero], out[abi.WeightCode]
	b.Binary(abi.BinaryDiv, mean, b.reduce(abi.ReduceSum, absmax, 0), b.scalar(float64(absmax.Count())))
	b.fillEach(code, DynamicMap())
	codes := b.blockCodes(b.minus(absmax, mean), out[abi.WeightScaleScale], code.Split(0, 256, 1), group, b.dynamicGrid)
	b.Cast(out[abi.WeightScale], codes)
}

// dynamicGrid is x / most on the grid of 65,536 even steps on which bitsandbytes looks
// codes of the dynamic map up. Every step rounds by itself.
func (b *Builder) dynamicGrid(x, most *Value) *Value {
	scaled := b.affine(b.affine(b.over(x, most), 1, 1), 32767.5, 0)
	step := b.apply(abi.UnaryFloor, b.affine(scaled, 1, 0.5))
	return b.affine(b.affine(step, 2.0/65535, 0), 1, -1)
}

// blockCodes is i32 [n], the index in table [m,1], ascending, of the value nearest to each
// ratio of x [n] to absmax; it emits absmax [blocks], the largest magnitude of each block.
func (b *Builder) blockCodes(x, absmax, table *Value, group uint32, ratio func(x, most *Value) *Value) *Value {
	last := table.Shape[0] - 1
	between := b.affine(b.plus(table.Slice(0, 0, last), table.Slice(0, 1, last+1)), 0.5, 0)
	codes := b.Fixed("codes", abi.I32, x.Count())
	for _, s := range blocksOf(x.Count(), group) {
		most := s.scale(absmax)
		b.Reduce(abi.ReduceMax, most, b.apply(abi.UnaryAbs, s.of(x)))
		place := ratio(s.of(x), b.choose(most, most, b.scalar(1)))
		passed := s.of(codes)
		b.FillInt(passed, 0)
		for i := range last {
			b.Binary(abi.BinaryAdd, passed, passed, b.below(between.Slice(0, i, i+1), place))
		}
	}
	return codes
}

// below is i32, 1 where x < y.
func (b *Builder) below(x, y *Value) *Value {
	v := b.Fixed("below", abi.I32, together(x.Shape, y.Shape)...)
	b.Binary(abi.BinaryLt, v, x, y)
	return v
}

// highest is the largest number [count,1] of each row of x [count,size], lowest the least.
func (b *Builder) highest(x *Value) *Value { return b.reduce(abi.ReduceMax, x, 1) }
func (b *Builder) lowest(x *Value) *Value {
	return b.apply(abi.UnaryNeg, b.highest(b.apply(abi.UnaryNeg, x)))
}

// clamped is x between 0 and top, rounded to nearest even.
func (b *Builder) clamped(x *Value, top float64) *Value {
	least := b.combine(abi.BinaryMax, x, b.scalar(0))
	return b.apply(abi.UnaryRound, b.combine(abi.BinaryMin, least, b.scalar(top)))
}

func topCode(bits uint32) float64 { return float64(int(1)<<bits - 1) }

// affineRange is the inverse scales and the zeros [count,1] that spread each row of x
// [count,size] over the codes.
func (b *Builder) affineRange(x *Value, bits uint32) (inv, zero *Value) {
	low := b.lowest(x)
	span := b.minus(b.highest(x), low)
	most := b.combine(abi.BinaryMin, b.affine(b.apply(abi.UnaryReciprocal, span), topCode(bits), 0), b.scalar(2e4))
	inv = b.choose(b.combine(abi.BinaryLe, span, b.scalar(float64(float32(1e-4)))), b.scalar(1), most)
	zero = b.times(b.apply(abi.UnaryNeg, low), inv)
	if bits == 4 {
		zero = b.apply(abi.UnaryRound, zero)
	}
	return inv, zero
}

func (b *Builder) affineCodes(x, inv, zero *Value, bits uint32) *Value {
	return b.clamped(b.plus(b.times(x, inv), zero), topCode(bits))
}

func (b *Builder) quantiseAffine(out []*Value, flat *Value, f abi.QuantFormat) *Value {
	s := groupsOf(flat.Count(), f.Group, f.Interleaved > 0)[0]
	x, codes := s.of(flat), b.Fixed("codes", abi.I32, flat.Count())
	inv, zero := b.affineRange(x, f.Bits)
	zero = b.solved(x, inv, zero, f.Bits)
	b.Cast(s.of(codes), b.affineCodes(x, inv, zero, f.Bits))
	scale := b.apply(abi.UnaryReciprocal, inv)
	if f.NestedGroup == 0 {
		b.Copy(out[abi.WeightScale], scale.Squeeze(1))
		b.Copy(out[abi.WeightZero], zero.Squeeze(1))
		return codes
	}
	b.nest(out[abi.WeightScale], out[abi.WeightScaleScale], out[abi.WeightScaleZero], scale.Squeeze(1), f.NestedGroup)
	b.nest(out[abi.WeightZero], out[abi.WeightZeroScale], out[abi.WeightZeroZero], zero.Squeeze(1), f.NestedGroup)
	return codes
}

// nest stores scales or zeros x [groups] in 8 bits.
func (b *Builder) nest(codes, scale, zero, x *Value, group uint32) {
	s := groupsOf(x.Count(), group, true)[0]
	inv, offset := b.affineRange(s.of(x), 8)
	b.Cast(s.of(codes), b.affineCodes(s.of(x), inv, offset, 8))
	b.Unary(abi.UnaryReciprocal, scale, inv.Squeeze(1))
	b.Copy(zero, offset.Squeeze(1))
}

// solved is the zeros after HQQ's rounds: each shrinks the error of the values, and what
// is left moves the zeros. Once a round does not improve the mean error, no later one
// changes anything.
func (b *Builder) solved(x, inv, zero *Value, bits uint32) *Value {
	best, ended := b.scalar(math.Inf(1)), b.scalar(0)
	for range 20 {
		q := b.affineCodes(x, inv, zero, bits)
		off := b.minus(x, b.over(b.minus(q, zero), inv))
		size := b.apply(abi.UnaryAbs, off)
		moved := b.mean(b.minus(q, b.times(b.minus(x, b.shrunk(off, size)), inv)))
		err := b.over(b.reduce(abi.ReduceSum, b.reduce(abi.ReduceSum, size, 1), 0), b.scalar(float64(x.Count()))).Reshape(1)
		zero = b.choose(ended, zero, moved)
		better := b.combine(abi.BinaryLt, err, best)
		best = b.choose(better, err, best)
		ended = b.combine(abi.BinaryMax, ended, b.affine(better, -1, 1))
	}
	return zero
}

// shrunk is sign(x) max(size - size^(p-1) / beta, 0) of x with magnitudes size, where
// p = 0.7 and beta = 10.
func (b *Builder) shrunk(x, size *Value) *Value {
	power := b.combine(abi.BinaryPow, size, b.scalar(-0.3))
	less := b.combine(abi.BinaryMax, b.minus(size, b.affine(power, 0.1, 0)), b.scalar(0))
	return b.choose(b.below(x, b.scalar(0)), b.apply(abi.UnaryNeg, less), less)
}

func (b *Builder) quantiseBiased(out []*Value, flat *Value, f abi.QuantFormat) *Value {
	s := blocksOf(flat.Count(), f.Group)[0]
	x, codes := s.of(flat), b.Fixed("codes", abi.I32, flat.Count())
	low, high := b.lowest(x), b.highest(x)
	step := b.combine(abi.BinaryMax, b.over(b.minus(high, low), b.scalar(topCode(f.Bits))), b.scalar(float64(float32(1e-7))))
	fromLow := b.below(b.apply(abi.UnaryAbs, high), b.apply(abi.UnaryAbs, low))
	step, edge := b.choose(fromLow, step, b.apply(abi.UnaryNeg, step)), b.choose(fromLow, low, high)
	q := b.apply(abi.UnaryRound, b.over(edge, step))
	scale, zero := b.choose(q, b.over(edge, q), step), b.choose(q, edge, b.scalar(0))
	b.Copy(out[abi.WeightScale], scale.Squeeze(1))
	b.Copy(out[abi.WeightZero], zero.Squeeze(1))
	b.Cast(s.of(codes), b.clamped(b.over(b.minus(x, zero), scale), topCode(f.Bits)))
	return codes
}

func (b *Builder) quantiseInt8(out []*Value, flat *Value, f abi.QuantFormat) *Value {
	s := blocksOf(flat.Count(), f.Group)[0]
	x, codes := s.of(flat), b.Fixed("codes", abi.I32, flat.Count())
	most := b.highest(b.apply(abi.UnaryAbs, x))
	b.Binary(abi.BinaryDiv, out[abi.WeightScale], most.Squeeze(1), b.scalar(127))
	factor := b.over(b.scalar(127), most)
	factor = b.choose(b.apply(abi.UnaryIsFinite, factor), factor, b.scalar(0))
	b.Cast(s.of(codes), b.apply(abi.UnaryRound, b.times(x, factor)))
	return codes
}
