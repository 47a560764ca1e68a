package op

import "trainer/core/abi"

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
