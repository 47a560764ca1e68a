package op

import (
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

// NewWeight makes the states of a weight [out, in] in a format that CheckFormat allows.
// kind is Constant for what is only read, State where a program quantises into it.
func NewWeight(name string, kind Kind, format abi.QuantFormat, out, in int64) *Weight {
	w := &Weight{Name: name, Format: format, Out: out, In: in}
	if format.Format == abi.FormatDense {
		w.Operands[abi.WeightData] = NewValue(name, kind, Frozen, 0, out, in)
		return w
	}
	for _, p := range parts(format, out*in) {
		w.Operands[p.slot] = NewValue(name+p.suffix, kind, Fixed, p.dtype, p.count)
	}
	return w
}

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

func composeDequantise(b *Builder, n *Node) {
	a := n.Attr.(Quantise)
	b.Cast(n.Out[0], b.dense(n.In, a.Format, a.Rows, a.Cols))
}

// mustFit refuses a format that a weight cannot have.
func mustFit(f abi.QuantFormat, out, in int64) {
	if err := CheckFormat(f, out, in); err != nil {
		panic("op: " + err.Error())
	}
}

// dense is the matrix [out, in] of a weight's eight operands.
func (b *Builder) dense(weight []*Value, f abi.QuantFormat, out, in int64) *Value {
	if f.Format == abi.FormatDense {
		return weight[abi.WeightData]
	}
	mustFit(f, out, in)
	n := out * in
	codes := b.Fixed("codes", abi.I32, n)
	b.Unpack(codes, weight[abi.WeightData], f.Bits, f.CodeLayout)
	x, level := b.numbers(codes, f), levelOf(n, f)
	if f.NestedGroup == 0 {
		b.join(x, level, weight[abi.WeightScale], weight[abi.WeightZero])
		return x.Reshape(out, in)
	}
	outer := nestedLevel(weight[abi.WeightScale].Shape[0], f)
	scale := b.inner(weight, abi.WeightScale, outer, f)
	var zero *Value
	if weight[abi.WeightZero] != nil {
		zero = b.inner(weight, abi.WeightZero, outer, f)
	}
	b.join(x, level, scale, zero)
	return x.Reshape(out, in)
}

// numbers is the number f32 [n] of each code.
func (b *Builder) numbers(codes *Value, f abi.QuantFormat) *Value {
	if values := NumbersOf(f); values != nil {
		return b.lookup(b.table(values), codes)
	}
	if f.Format == abi.FormatInt8 { // from 128 on: negative
		negative := b.combine(abi.BinaryLe, b.integer(128), codes)
		codes = b.minus(codes, b.times(negative, b.integer(256)))
	}
	return b.cast(abi.F32, codes)
}

// lookup is f32 [n], the rows of a table [m,1] that indexes i32 [n] name.
func (b *Builder) lookup(table, index *Value) *Value {
	n := index.Count()
	v := b.temp(n)
	b.Gather(v.Split(0, n, 1), table, index)
	return v
}

// inner is the scale or zero f32 [groups] of each group, itself stored as codes.
func (b *Builder) inner(weight []*Value, slot int, outer level, f abi.QuantFormat) *Value {
	codes := weight[slot]
	if f.Format != abi.FormatAffine {
		x := b.lookup(weight[abi.WeightCode].Split(0, 256, 1), b.cast(abi.I32, codes))
		b.join(x, outer, weight[abi.WeightScaleScale], nil)
		b.Binary(abi.BinaryAdd, x, x, weight[abi.WeightScaleZero])
		return x
	}
	x := b.cast(abi.F32, codes)
	second := map[int][2]int{abi.WeightScale: {abi.WeightScaleScale, abi.WeightScaleZero}, abi.WeightZero: {abi.WeightZeroScale, abi.WeightZeroZero}}[slot]
	b.join(x, outer, weight[second[0]], weight[second[1]])
	return x
}

// level is how the groups of n numbers lie, and how a number is joined with the scale and
// zero of its group.
type level struct {
	groups []blocks
	biased bool // number * scale + zero, else (number - zero) * scale
}

func levelOf(n int64, f abi.QuantFormat) level {
	return level{groupsOf(n, f.Group, f.Interleaved > 0), f.Format == abi.FormatBiased}
}

// nestedLevel is that of n scales.
func nestedLevel(n int64, f abi.QuantFormat) level {
	return level{groupsOf(n, f.NestedGroup, f.Format == abi.FormatAffine), false}
}

// join changes numbers [n] into values; zero may be nil.
func (b *Builder) join(x *Value, l level, scale, zero *Value) {
	for _, s := range l.groups {
		g := s.of(x)
		if zero != nil && !l.biased {
			b.Binary(abi.BinarySub, g, g, s.scale(zero))
		}
		b.Binary(abi.BinaryMul, g, g, s.scale(scale))
		if zero != nil && l.biased {
			b.Binary(abi.BinaryAdd, g, g, s.scale(zero))
		}
	}
}

// blocks are equal blocks of a flat value: all whole ones, or the shorter last one. Those
// that are interleaved have their elements as far apart as there are blocks.
type blocks struct {
	first, count, group, size int64
	interleaved               bool
}

func blocksOf(n int64, group uint32) []blocks { return groupsOf(n, group, false) }

func groupsOf(n int64, group uint32, interleaved bool) (list []blocks) {
	g := int64(group)
	whole := n / g
	if whole > 0 {
		list = append(list, blocks{0, whole, g, g, interleaved})
	}
	if rest := n % g; rest > 0 {
		list = append(list, blocks{whole, 1, g, rest, false})
	}
	return list
}

// of views the blocks of flat v as [count, size].
func (s blocks) of(v *Value) *Value {
	if s.interleaved {
		return v.Split(0, s.size, s.count).Transpose(0, 1)
	}
	return v.Slice(0, s.first*s.group, s.first*s.group+s.count*s.size).Split(0, s.count, s.size)
}

// scale views the blocks' part of one number per block as [count, 1].
func (s blocks) scale(v *Value) *Value {
	return v.Slice(0, s.first, s.first+s.count).Split(0, s.count, 1)
}
