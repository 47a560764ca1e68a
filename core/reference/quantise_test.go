package reference

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/files/safetensors"
)

// quantisedTo is a weight in a format.
func quantisedTo(t *testing.T, format abi.QuantFormat, weight []float64, shape []int64) (*Machine, *op.Weight) {
	t.Helper()
	w := op.NewWeight("w", op.State, format, shape[0], shape[1])
	src := value(op.Input, abi.F32, shape...)
	data := map[*op.Value][]float64{src: weight}
	for _, v := range w.Operands {
		if v != nil {
			data[v] = make([]float64, v.Count())
		}
	}
	return run(t, true, data, func(b *op.Builder) { b.Quantise(w, src) }), w
}

// dequantisedFrom is the values of a weight that was quantised.
func dequantisedFrom(t *testing.T, m *Machine, w *op.Weight, dtype abi.DType) []float64 {
	t.Helper()
	data := map[*op.Value][]float64{}
	for _, v := range w.Operands {
		if v != nil {
			data[v] = m.Get(v)
		}
	}
	dst := value(op.Output, dtype, w.Out, w.In)
	return run(t, true, data, func(b *op.Builder) { b.Dequantise(dst, w) }).Get(dst)
}

func codesOf(m *Machine, w *op.Weight) []float64 {
	return unpacked(m.Get(w.Operands[abi.WeightData]), op.Bits{Bits: w.Format.Bits, Order: w.Format.CodeLayout}, int(w.Out*w.In))
}

func dtypeOf(t *testing.T, f *safetensors.File, name string) abi.DType {
	t.Helper()
	info, ok := f.Tensor(name)
	require.True(t, ok, name)
	if info.DType == "BF16" {
		return abi.BF16
	}
	return abi.F32
}

// requireNear demands equal numbers up to some units in the last place of float32.
func requireNear(t *testing.T, f *safetensors.File, name string, got []float64, ulps float64) {
	t.Helper()
	want, _ := numbers(t, f, name)
	require.Len(t, got, len(want))
	for i, w := range want {
		require.InDelta(t, w, got[i], ulps*0x1p-23*math.Abs(w), "%s [%d]", name, i)
	}
}

// requireSum is requireNear of sums whose order is not ours: errors are relative to the
// largest.
func requireSum(t *testing.T, f *safetensors.File, name string, got []float64) {
	t.Helper()
	want, _ := numbers(t, f, name)
	most := 0.0
	for _, w := range want {
		most = max(most, math.Abs(w))
	}
	require.InDeltaSlice(t, want, got, 4*0x1p-23*most, name)
}

func TestFP4IsThatOfBitsandbytes(t *testing.T) {
	f := open(t, "quant/bitsandbytes.safetensors")
	requireSame(t, f, "fp4.code", op.FP4Values[:])
	for _, name := range []string{"a", "odd", "bf16", "big"} {
		weight, shape := numbers(t, f, "nf4."+name+".weight")
		m, w := quantisedTo(t, op.FP4(false), weight, shape)
		single := "fp4." + name + ".single."
		requireSame(t, f, single+"packed", m.Get(w.Operands[abi.WeightData]))
		requireSame(t, f, single+"absmax", m.Get(w.Operands[abi.WeightScale]))
		requireSame(t, f, single+"dequantised", dequantisedFrom(t, m, w, dtypeOf(t, f, single+"dequantised")))
	}
}

// unpackHQQ undoes HQQ's packing of rows [rows, columns]: part i of the rows stands in the
// i-th bits from the top.
func unpackHQQ(packed []float64, bits uint32, n int) []float64 {
	width, first := 8, 8-int(bits)
	if bits == 3 {
		width, first = 32, 27
	}
	var codes []float64
	for shift := first; shift >= 0 && width > 0; shift -= int(bits) {
		for _, x := range packed {
			codes = append(codes, float64(int64(x)>>shift&(1<<bits-1)))
		}
	}
	return codes[:n]
}

func TestHQQIsThatOfHQQ(t *testing.T) {
	f := open(t, "quant/hqq.safetensors")
	for _, bits := range []uint32{8, 4, 3, 2, 1} {
		for axis := range 2 {
			for _, group := range []uint32{64, 32} {
				name := fmt.Sprintf("hqq.b%d.axis%d.g%d.", bits, axis, group)
				weight, shape := numbers(t, f, name+"weight")
				m, w := quantisedTo(t, op.HQQ(bits, group, axis == 0, false), weight, shape)
				packed, _ := numbers(t, f, name+"packed")
				require.Equal(t, unpackHQQ(packed, bits, len(weight)), codesOf(m, w), name)
				requireSame(t, f, name+"scale", m.Get(w.Operands[abi.WeightScale]))
				requireSum(t, f, name+"zero", m.Get(w.Operands[abi.WeightZero]))
				m.Set(w.Operands[abi.WeightZero], must(numbers(t, f, name+"zero")))
				requireSame(t, f, name+"dequantised", dequantisedFrom(t, m, w, abi.F32))
			}
		}
	}
}

func must(data []float64, _ []int64) []float64 { return data }

func TestNestedHQQIsThatOfHQQ(t *testing.T) {
	f := open(t, "quant/hqq.safetensors")
	for axis := range 2 {
		name := fmt.Sprintf("hqq.meta.axis%d.", axis)
		weight, shape := numbers(t, f, name+"weight")
		m, w := quantisedTo(t, op.HQQ(4, 64, axis == 0, true), weight, shape)
		packed, _ := numbers(t, f, name+"packed")
		require.Equal(t, unpackHQQ(packed, 4, len(weight)), codesOf(m, w), name)
		for slot, part := range map[int]string{abi.WeightScale: "scale.packed", abi.WeightZero: "zero.packed"} {
			requireSame(t, f, name+part, m.Get(w.Operands[slot]))
		}
		for slot, part := range map[int]string{abi.WeightScaleScale: "scale.scale", abi.WeightScaleZero: "scale.zero", abi.WeightZeroScale: "zero.scale", abi.WeightZeroZero: "zero.zero"} {
			requireNear(t, f, name+part, m.Get(w.Operands[slot]), 4)
			m.Set(w.Operands[slot], must(numbers(t, f, name+part)))
		}
		requireSame(t, f, name+"dequantised", dequantisedFrom(t, m, w, abi.F32))
	}
}

func TestMLXIsThatOfMLX(t *testing.T) {
	f := open(t, "quant/mlx.safetensors")
	for _, bits := range []uint32{2, 3, 4, 5, 6, 8} {
		for _, group := range []uint32{32, 64, 128} {
			name := fmt.Sprintf("mlx.b%d.g%d.", bits, group)
			weight, shape := numbers(t, f, name+"weight")
			m, w := quantisedTo(t, op.MLX(bits, group), weight, shape)
			words, _ := numbers(t, f, name+"packed")
			var packed []float64
			for _, x := range words {
				for i := range 4 {
					packed = append(packed, float64(uint32(int32(x))>>(8*i)&255))
				}
			}
			require.Equal(t, packed, m.Get(w.Operands[abi.WeightData]), name)
			requireSame(t, f, name+"scales", m.Get(w.Operands[abi.WeightScale]))
			requireSame(t, f, name+"biases", m.Get(w.Operands[abi.WeightZero]))
			want, _ := numbers(t, f, name+"dequantised")
			got := dequantisedFrom(t, m, w, abi.F32)
			require.InDeltaSlice(t, want, got, 0x1p-23*slices.Max(want), name+": MLX may fuse product and sum")
		}
	}
}

func TestInt8IsThatOfTorch(t *testing.T) {
	f := open(t, "quant/int8.safetensors")
	weight, shape := numbers(t, f, "int8.weight")
	m, w := quantisedTo(t, op.Int8(shape[1]), weight, shape)
	codes := codesOf(m, w)
	for i, x := range codes {
		codes[i] = float64(int8(uint8(x)))
	}
	requireSame(t, f, "int8.codes", codes)
	most, _ := numbers(t, f, "int8.row_absmax")
	for i, x := range m.Get(w.Operands[abi.WeightScale]) {
		require.Equal(t, f32(most[i]/127), x)
	}
	for i, x := range dequantisedFrom(t, m, w, abi.F32) {
		require.InDelta(t, weight[i], x, 0.5001*most[i/int(shape[1])]/127)
	}
}
