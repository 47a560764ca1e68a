package op

import (
	"fmt"
	"slices"

	"trainer/core/abi"
)

// NF4 describes QLoRA's format: blocks of 64, double quantised where nested
// (Dettmers et al. 2023).
func NF4(nested bool) abi.QuantFormat { return tabled(abi.FormatNF4, nested) }

// FP4 is NF4 with the numbers of bitsandbytes' 4-bit float.
func FP4(nested bool) abi.QuantFormat { return tabled(abi.FormatFP4, nested) }

func tabled(format uint32, nested bool) abi.QuantFormat {
	f := abi.QuantFormat{Format: format, Bits: 4, Group: 64, ScaleDType: uint32(abi.F32)}
	if nested {
		f.ScaleDType, f.NestedGroup = uint32(abi.U8), 256
	}
	return f
}

// HQQ describes half-quadratic quantisation to 1, 2, 3, 4 or 8 bits (Badri & Shaji 2023).
// interleaved is HQQ's axis 0, else its axis 1. nested stores scale and zero in 8 bits,
// 128 to a group.
func HQQ(bits, group uint32, interleaved, nested bool) abi.QuantFormat {
	f := abi.QuantFormat{Format: abi.FormatAffine, Bits: bits, Group: group, CodeLayout: 1, ScaleDType: uint32(abi.F32), ZeroDType: uint32(abi.F32)}
	if interleaved {
		f.Interleaved = 1
	}
	if nested {
		f.ScaleDType, f.ZeroDType, f.NestedGroup = uint32(abi.U8), uint32(abi.U8), 128
	}
	return f
}

// MLX describes MLX's affine quantisation to 2, 3, 4, 5, 6 or 8 bits.
func MLX(bits, group uint32) abi.QuantFormat {
	return abi.QuantFormat{Format: abi.FormatBiased, Bits: bits, Group: group, CodeLayout: 1, ScaleDType: uint32(abi.F32), ZeroDType: uint32(abi.F32)}
}

// Int8 describes rows of int8, of weights with so many columns.
func Int8(in int64) abi.QuantFormat {
	return abi.QuantFormat{Format: abi.FormatInt8, Bits: 8, Group: uint32(in), CodeLayout: 1, ScaleDType: uint32(abi.F32)}
}

// formatRule is what the border's table says of a format: its codes, and which groups
// a weight [out, in] may have.
type formatRule struct {
	name        string
	bits        []uint32
	layout      uint32
	hasZero     bool // of each group
	interleaves bool
	nests       bool
	group       string // what must be true of a group
	groups      func(group, n, in int64) bool
}

var fourBits = formatRule{name: "a 4-bit float", bits: []uint32{4}, nests: true, group: "even",
	groups: func(group, _, _ int64) bool { return group%2 == 0 }}

var formatRules = map[uint32]formatRule{
	abi.FormatNF4: fourBits,
	abi.FormatFP4: fourBits,
	abi.FormatAffine: {name: "HQQ", bits: []uint32{1, 2, 3, 4, 8}, layout: 1, hasZero: true, interleaves: true, nests: true,
		group: "a multiple of 8 that divides the weight", groups: func(group, n, _ int64) bool { return group%8 == 0 && n%group == 0 }},
	abi.FormatBiased: {name: "MLX", bits: []uint32{2, 3, 4, 5, 6, 8}, layout: 1, hasZero: true,
		group: "a multiple of 8 that divides a row", groups: func(group, _, in int64) bool { return group%8 == 0 && in%group == 0 }},
	abi.FormatInt8: {name: "int8", bits: []uint32{8}, layout: 1,
		group: "a row", groups: func(group, _, in int64) bool { return group == in }},
}

// CheckFormat says in a sentence why a weight [out, in] cannot have a format; nil where
// it can.
func CheckFormat(f abi.QuantFormat, out, in int64) error {
	if f == (abi.QuantFormat{}) {
		return nil
	}
	r, ok := formatRules[f.Format]
	level, zero := uint32(abi.F32), uint32(0)
	if f.NestedGroup > 0 {
		level = uint32(abi.U8)
	}
	if r.hasZero {
		zero = level
	}
	switch n := out * in; {
	case !ok:
		return fmt.Errorf("there is no weight format %d", f.Format)
	case !slices.Contains(r.bits, f.Bits):
		return fmt.Errorf("%s has %v bits, not %d", r.name, r.bits, f.Bits)
	case f.CodeLayout != r.layout || f.ScaleDType != level || f.ZeroDType != zero || f.Interleaved > 0 && !r.interleaves || f.NestedGroup > 0 && !r.nests:
		return fmt.Errorf("%s is not stored as %+v", r.name, f)
	case f.Group == 0 || !r.groups(int64(f.Group), n, in):
		return fmt.Errorf("a group of %s must be %s: %d in [%d %d] is not", r.name, r.group, f.Group, out, in)
	case f.NestedGroup > 0 && r.hasZero && n/int64(f.Group)%int64(f.NestedGroup) != 0:
		return fmt.Errorf("the %d scales of a weight [%d %d] do not divide into groups of %d", n/int64(f.Group), out, in, f.NestedGroup)
	}
	return nil
}

// part is one stored operand of a weight.
type part struct {
	slot   int
	suffix string // as checkpoints of the format call it
	dtype  abi.DType
	count  int64
}

// parts lists the operands of a quantised weight of n elements.
func parts(f abi.QuantFormat, n int64) []part {
	groups := ceilDiv(n, int64(f.Group))
	data := part{abi.WeightData, "", abi.U8, ceilDiv(n*int64(f.Bits), 8)}
	scale := part{abi.WeightScale, ".scale", abi.DType(f.ScaleDType), groups}
	zero := part{abi.WeightZero, ".zero", abi.DType(f.ZeroDType), groups}
	switch f.Format {
	case abi.FormatInt8:
		scale.suffix = ".SCB"
		return []part{data, scale}
	case abi.FormatBiased:
		scale.suffix, zero.suffix = ".scales", ".biases"
		return []part{data, scale, zero}
	case abi.FormatAffine:
		if f.NestedGroup == 0 {
			return []part{data, scale, zero}
		}
		outer := groups / int64(f.NestedGroup)
		return []part{data, scale, zero, {abi.WeightScaleScale, ".scale.scale", abi.F32, outer}, {abi.WeightScaleZero, ".scale.zero", abi.F32, outer},
			{abi.WeightZeroScale, ".zero.scale", abi.F32, outer}, {abi.WeightZeroZero, ".zero.zero", abi.F32, outer}}
	}
	scale.suffix = ".absmax"
	if f.NestedGroup == 0 {
		return []part{data, scale}
	}
	return []part{data, scale, {abi.WeightScaleScale, ".nested_absmax", abi.F32, ceilDiv(groups, int64(f.NestedGroup))},
		{abi.WeightScaleZero, ".nested_offset", abi.F32, 1}, {abi.WeightCode, ".nested_quant_map", abi.F32, 256}}
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
