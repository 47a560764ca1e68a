package op

import (
	"fmt"

	"trainer/core/abi"
)

// Weight is a matrix [Out, In] in any format, as the border's eight operands.
type Weight struct {
	Name     string
	Operands [abi.WeightOperands]*Value
	Format   abi.QuantFormat
	Out, In  int64
}

// DenseWeight makes a Weight of a dense value [out, in].
func DenseWeight(v *Value) *Weight {
	w := &Weight{Name: v.Name, Out: v.Shape[0], In: v.Shape[1]}
	w.Operands[abi.WeightData] = v
	return w
}

// Dense is the value of a dense weight, else nil.
func (w *Weight) Dense() *Value {
	if w.Format.Format != abi.FormatDense {
		return nil
	}
	return w.Operands[abi.WeightData]
}

// NF4 describes QLoRA's format: blocks of 64, double quantised where nested.
func NF4(nested bool) abi.QuantFormat {
	f := abi.QuantFormat{Format: abi.FormatNF4, Bits: 4, Group: 64, ScaleDType: uint32(abi.F32)}
	if nested {
		f.ScaleDType, f.NestedGroup = uint32(abi.U8), 256
	}
	return f
}

// NewWeight makes the states of a weight [out, in] in a format. kind is Constant for
// what is only read, State where a program quantises into it.
func NewWeight(name string, kind Kind, format abi.QuantFormat, out, in int64) *Weight {
	w := &Weight{Name: name, Format: format, Out: out, In: in}
	if format.Format == abi.FormatDense {
		w.Operands[abi.WeightData] = NewValue(name, kind, Frozen, 0, out, in)
		return w
	}
	n := out * in
	blocks := ceilDiv(n, int64(format.Group))
	part := func(slot int, suffix string, dtype abi.DType, count int64) {
		w.Operands[slot] = NewValue(name+suffix, kind, Fixed, dtype, count)
	}
	part(abi.WeightData, "", abi.U8, ceilDiv(n*int64(format.Bits), 8))
	part(abi.WeightScale, ".absmax", abi.DType(format.ScaleDType), blocks)
	if format.NestedGroup > 0 {
		part(abi.WeightScaleScale, ".nested_absmax", abi.F32, ceilDiv(blocks, int64(format.NestedGroup)))
		part(abi.WeightScaleZero, ".nested_offset", abi.F32, 1)
		part(abi.WeightCode, ".nested_quant_map", abi.F32, 256)
	}
	return w
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

// Quantise is the attribute of OpQuantise and OpDequantise.
type Quantise struct {
	Format     abi.QuantFormat
	Rows, Cols int64
}

// Bytes encodes the attribute.
func (a Quantise) Bytes() []byte {
	return abi.AttrBytes(abi.AttrQuant{Format: a.Format, Rows: a.Rows, Cols: a.Cols})
}

// Quantise emits w = quantised src [out, in].
func (b *Builder) Quantise(w *Weight, src *Value) {
	b.Node(abi.OpQuantise, Quantise{w.Format, w.Out, w.In}, w.Operands[:], vals(src))
}

// Dequantise emits dst [out, in] = w.
func (b *Builder) Dequantise(dst *Value, w *Weight) {
	b.Node(abi.OpDequantise, Quantise{w.Format, w.Out, w.In}, vals(dst), w.Operands[:])
}

// mustNF4 refuses formats that have no composition.
func mustNF4(f abi.QuantFormat) {
	if f.Format != abi.FormatNF4 || f.Bits != 4 || f.Group == 0 || f.CodeLayout != 0 {
		panic(fmt.Sprintf("op: weight format %+v has no composition", f))
	}
}

// dense is the matrix [out, in] of a weight's eight operands.
func (b *Builder) dense(weight []*Value, f abi.QuantFormat, out, in int64) *Value {
	if f.Format == abi.FormatDense {
		return weight[abi.WeightData]
	}
	mustNF4(f)
	n := out * in
	codes := b.Fixed("codes", abi.I32, n)
	b.Unpack(codes, weight[abi.WeightData], 4, 0)
	values := b.temp(n)
	b.Gather(values.Split(0, n, 1), b.table(NF4Values[:]), codes)
	absmax := b.absmax(weight, f)
	for _, s := range blocksOf(n, f.Group) {
		x := s.of(values)
		b.Binary(abi.BinaryMul, x, x, s.scale(absmax))
	}
	return values.Reshape(out, in)
}

// absmax is the scale f32 [blocks] of each block of a weight.
func (b *Builder) absmax(weight []*Value, f abi.QuantFormat) *Value {
	scale := weight[abi.WeightScale]
	if f.NestedGroup == 0 {
		return scale
	}
	n := scale.Shape[0]
	absmax := b.temp(n)
	b.Gather(absmax.Split(0, n, 1), weight[abi.WeightCode].Split(0, 256, 1), b.cast(abi.I32, scale))
	for _, s := range blocksOf(n, f.NestedGroup) {
		x := s.of(absmax)
		b.Binary(abi.BinaryMul, x, x, s.scale(weight[abi.WeightScaleScale]))
		b.Binary(abi.BinaryAdd, x, x, weight[abi.WeightScaleZero])
	}
	return absmax
}

// blocks are equal blocks of a flat value: all whole ones, or the shorter last one.
type blocks struct{ first, count, group, size int64 }

func blocksOf(n int64, group uint32) (list []blocks) {
	g := int64(group)
	whole := n / g
	if whole > 0 {
		list = append(list, blocks{0, whole, g, g})
	}
	if rest := n % g; rest > 0 {
		list = append(list, blocks{whole, 1, g, rest})
	}
	return list
}

// of views the blocks of flat v as [count, size].
func (s blocks) of(v *Value) *Value {
	return v.Slice(0, s.first*s.group, s.first*s.group+s.count*s.size).Split(0, s.count, s.size)
}

// scale views the blocks' part of one number per block as [count, 1].
func (s blocks) scale(v *Value) *Value {
	return v.Slice(0, s.first, s.first+s.count).Split(0, s.count, 1)
}

func composeDequantise(b *Builder, n *Node) {
	a := n.Attr.(Quantise)
	b.Cast(n.Out[0], b.dense(n.In, a.Format, a.Rows, a.Cols))
}

// composeQuantise takes the nearest code, of a tie the lower one. The mean of nested
// scales depends on the order of the sum: it may differ in the last bit, and with it a code.
func composeQuantise(b *Builder, n *Node) {
	a, src := n.Attr.(Quantise), n.In[0]
	if a.Format.Format == abi.FormatDense {
		b.Cast(n.Out[abi.WeightData], src)
		return
	}
	mustNF4(a.Format)
	flat := b.temp(src.Count())
	b.Cast(flat.Reshape(src.Shape...), src)
	absmax := n.Out[abi.WeightScale]
	if a.Format.NestedGroup > 0 {
		absmax = b.temp(absmax.Shape...)
	}
	codes := b.blockCodes(flat, absmax, b.table(NF4Values[:]), a.Format.Group, func(x *Value) *Value { return x })
	b.Pack(n.Out[abi.WeightData], codes, 4, 0)
	if a.Format.NestedGroup > 0 {
		b.quantiseScales(n.Out, absmax, a.Format.NestedGroup)
	}
}

// quantiseScales stores absmax minus its mean as codes of the dynamic map.
func (b *Builder) quantiseScales(out []*Value, absmax *Value, group uint32) {
	mean, code := out[abi.WeightScaleZero], out[abi.WeightCode]
	b.Binary(abi.BinaryDiv, mean, b.reduce(abi.ReduceSum, absmax, 0), b.scalar(float64(absmax.Count())))
	b.fillEach(code, DynamicMap())
	codes := b.blockCodes(b.minus(absmax, mean), out[abi.WeightScaleScale], code.Split(0, 256, 1), group, b.dynamicGrid)
	b.Cast(out[abi.WeightScale], codes)
}

// dynamicGrid is x in [-1, 1] on the grid of 65,536 even steps on which bitsandbytes looks
// codes of the dynamic map up. Every step rounds by itself.
func (b *Builder) dynamicGrid(x *Value) *Value {
	scaled := b.affine(b.affine(x, 1, 1), 32767.5, 0)
	step := b.apply(abi.UnaryFloor, b.affine(scaled, 1, 0.5))
	return b.affine(b.affine(step, 2.0/65535, 0), 1, -1)
}

// blockCodes is i32 [n], the index in table [m,1], ascending, of the value nearest to each
// x [n] / absmax on a grid; it emits absmax [blocks], the largest magnitude of each block.
func (b *Builder) blockCodes(x, absmax, table *Value, group uint32, grid func(*Value) *Value) *Value {
	last := table.Shape[0] - 1
	between := b.affine(b.plus(table.Slice(0, 0, last), table.Slice(0, 1, last+1)), 0.5, 0)
	codes := b.Fixed("codes", abi.I32, x.Count())
	for _, s := range blocksOf(x.Count(), group) {
		most := s.scale(absmax)
		b.Reduce(abi.ReduceMax, most, b.apply(abi.UnaryAbs, s.of(x)))
		ratio := grid(b.over(s.of(x), b.choose(most, most, b.scalar(1))))
		passed := s.of(codes)
		b.FillInt(passed, 0)
		for i := range last {
			b.Binary(abi.BinaryAdd, passed, passed, b.below(between.Slice(0, i, i+1), ratio))
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
