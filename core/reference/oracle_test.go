package reference

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/files/safetensors"
)

const oracles = "../../testdata/oracles/"

func open(t *testing.T, path string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(oracles + path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

// numbers reads a tensor of any dtype.
func numbers(t *testing.T, f *safetensors.File, name string) (data []float64, shape []int64) {
	t.Helper()
	info, ok := f.Tensor(name)
	require.True(t, ok, name)
	if safetensors.IsFloat(info.DType) {
		x, err := f.ReadFloat32(info)
		require.NoError(t, err)
		for _, v := range x {
			data = append(data, float64(v))
		}
		return data, info.Shape
	}
	x, err := f.ReadInts(info)
	require.NoError(t, err)
	for _, v := range x {
		data = append(data, float64(v))
	}
	return data, info.Shape
}

// Packed codes and single scales are bit for bit those of bitsandbytes.
func TestNF4IsThatOfBitsandbytes(t *testing.T) {
	f := open(t, "quant/bitsandbytes.safetensors")
	table, _ := numbers(t, f, "nf4.code")
	require.Equal(t, op.NF4Values[:], table)
	for _, name := range []string{"a", "odd", "bf16", "big"} {
		t.Run(name, func(t *testing.T) {
			weight, shape := numbers(t, f, "nf4."+name+".weight")
			single, double := "nf4."+name+".single.", "nf4."+name+".double."
			m, w := quantised(t, false, weight, shape)
			requireSame(t, f, single+"packed", m.Get(w.Operands[abi.WeightData]))
			requireSame(t, f, single+"absmax", m.Get(w.Operands[abi.WeightScale]))
			m, w = quantised(t, true, weight, shape)
			requireSame(t, f, double+"packed", m.Get(w.Operands[abi.WeightData]))
			requireSame(t, f, double+"nested_code", m.Get(w.Operands[abi.WeightCode]))
			requireUlps(t, f, double+"offset", m.Get(w.Operands[abi.WeightScaleZero]))
			requireUlps(t, f, double+"nested_absmax", m.Get(w.Operands[abi.WeightScaleScale]))
			requireMostlyEqual(t, f, double+"absmax_u8", m.Get(w.Operands[abi.WeightScale]))
		})
	}
}

// quantised is a weight in NF4.
func quantised(t *testing.T, nested bool, weight []float64, shape []int64) (*Machine, *op.Weight) {
	t.Helper()
	w := op.NewWeight("w", op.State, op.NF4(nested), shape[0], shape[1])
	src := value(op.Input, abi.F32, shape...)
	data := map[*op.Value][]float64{src: weight}
	for _, v := range w.Operands {
		if v != nil {
			data[v] = make([]float64, v.Count())
		}
	}
	return run(t, true, data, func(b *op.Builder) { b.Quantise(w, src) }), w
}

func requireSame(t *testing.T, f *safetensors.File, name string, got []float64) {
	t.Helper()
	want, _ := numbers(t, f, name)
	require.Equal(t, want, got, name)
}

// requireUlps allows two units of float32 in the last place.
func requireUlps(t *testing.T, f *safetensors.File, name string, got []float64) {
	t.Helper()
	want, _ := numbers(t, f, name)
	require.Len(t, got, len(want))
	for i, w := range want {
		require.InDelta(t, w, got[i], 2*0x1p-23*math.Abs(w), name)
	}
}

// requireMostlyEqual allows one code in a hundred to be another: theirs are not always
// the nearest.
func requireMostlyEqual(t *testing.T, f *safetensors.File, name string, got []float64) {
	t.Helper()
	want, _ := numbers(t, f, name)
	require.Len(t, got, len(want))
	other := 0
	for i, w := range want {
		if got[i] != w {
			other++
		}
	}
	require.LessOrEqual(t, float64(other), 0.01*float64(len(want)), name)
}

// What bitsandbytes quantised is read back as bitsandbytes does.
func TestDequantiseIsThatOfBitsandbytes(t *testing.T) {
	f := open(t, "quant/bitsandbytes.safetensors")
	for _, name := range []string{"nf4.a.", "nf4.odd.", "nf4.bf16.", "nf4.big."} {
		want, shape := numbers(t, f, name+"double.dequantised")
		w := op.NewWeight("w", op.Constant, op.NF4(true), shape[0], shape[1])
		dtype := abi.F32
		if info, _ := f.Tensor(name + "double.dequantised"); info.DType == "BF16" {
			dtype = abi.BF16
		}
		data := map[*op.Value][]float64{}
		for slot, part := range map[int]string{abi.WeightData: "packed", abi.WeightScale: "absmax_u8", abi.WeightScaleScale: "nested_absmax",
			abi.WeightScaleZero: "offset", abi.WeightCode: "nested_code"} {
			data[w.Operands[slot]], _ = numbers(t, f, name+"double."+part)
		}
		dst := value(op.Output, dtype, shape...)
		got := run(t, true, data, func(b *op.Builder) { b.Dequantise(dst, w) }).Get(dst)
		unit := 0x1p-22
		if dtype == abi.BF16 {
			unit = 0x1p-7
		}
		for i, x := range want {
			require.InDelta(t, x, got[i], unit*math.Abs(x), "%s[%d]", name, i)
		}
	}
}

// One LoRA projection under a given dropout mask: the output and every gradient are
// PyTorch's.
func TestLoRAIsThatOfPEFT(t *testing.T) {
	f := open(t, "ops/lora_dropout.safetensors")
	get := func(name string) []float64 {
		data, _ := numbers(t, f, name)
		return data
	}
	const rows, k, n, r = 48, 64, 96, 8
	x, dy := value(op.Input, abi.F32, rows, k), value(op.Input, abi.F32, rows, n)
	a, b := value(op.State, abi.F32, r, k), value(op.State, abi.F32, n, r)
	w := value(op.Constant, abi.F32, n, k)
	bits := value(op.Input, abi.U8, rows, k/8)
	da, db := value(op.State, abi.F32, r, k), value(op.State, abi.F32, n, r)
	data := map[*op.Value][]float64{x: get("x"), dy: get("dy"), a: get("A"), b: get("B"), w: get("W"), bits: packedMask(get("mask")),
		da: make([]float64, r*k), db: make([]float64, n*r)}
	y, u, dx, v := value(op.Output, abi.F32, rows, n), value(op.Output, abi.F32, rows, r), value(op.Output, abi.F32, rows, k), value(op.Output, abi.F32, rows, r)
	// The oracle drops one in ten and has alpha / r = 2.
	attr := op.Linear{KeepScale: 1 / 0.9, Projections: []op.Projection{{Weight: op.DenseWeight(w), Adapter: &op.Adapter{A: a, B: b, Scale: 2}}}}
	weight := op.DenseWeight(w).Operands[:]
	m := run(t, false, data, func(build *op.Builder) {
		build.Node(abi.OpLinear, attr, []*op.Value{y, u}, append(append([]*op.Value{x, bits}, weight...), nil, a, b))
		build.Node(abi.OpLinearGradInput, attr, []*op.Value{dx, v}, append(append([]*op.Value{dy, bits, nil}, weight...), a, b))
		build.Node(abi.OpLinearGradAdapter, attr, []*op.Value{da, db}, []*op.Value{dy, x, bits, u, v})
	})
	for name, got := range map[string]*op.Value{"lora.y": y, "lora.dx": dx, "lora.dA": da, "lora.dB": db} {
		want := get(name)
		most := 0.0
		for _, x := range want {
			most = max(most, math.Abs(x))
		}
		require.InDeltaSlice(t, want, m.Get(got), 1e-5*most, name)
	}
}

// packedMask is a mask of 0 and 1 as bits, lowest first.
func packedMask(mask []float64) []float64 {
	packed := make([]float64, len(mask)/8)
	for i, x := range mask {
		packed[i/8] += x * float64(int(1)<<(i%8))
	}
	return packed
}

// States of 8 bits are those of bitsandbytes' blockwise quantisation, whose own codes are
// not always the nearest.
func TestBlockwiseStatesAreThoseOfBitsandbytes(t *testing.T) {
	f := open(t, "quant/bitsandbytes.safetensors")
	requireSame(t, f, "dyn8.code", op.DynamicMap())
	for _, name := range []string{"a", "odd", "bf16", "big"} {
		x, _ := numbers(t, f, "nf4."+name+".weight")
		n := int64(len(x))
		src, skip := value(op.Input, abi.F32, n), value(op.Input, abi.I32, 1)
		s := op.Blockwise{Codes: value(op.State, abi.U8, n), Absmax: value(op.State, abi.F32, (n+255)/256), Map: value(op.Constant, abi.F32, 256)}
		data := map[*op.Value][]float64{src: x, skip: {0}, s.Map: op.DynamicMap(), s.Codes: make([]float64, n), s.Absmax: make([]float64, s.Absmax.Count())}
		var back *op.Value
		m := run(t, true, data, func(b *op.Builder) {
			b.Shrink(s, src, skip)
			back = b.Expand(s)
		})
		requireSame(t, f, "dyn8."+name+".absmax", m.Get(s.Absmax))
		requireMostlyEqual(t, f, "dyn8."+name+".codes", m.Get(s.Codes))
		theirs, _ := numbers(t, f, "dyn8."+name+".dequantised")
		for i, got := range m.Get(back) {
			require.LessOrEqual(t, math.Abs(got-x[i]), math.Abs(theirs[i]-x[i])+1e-7, "%s [%d]", name, i)
		}
		data[skip] = []float64{1}
		m = run(t, true, data, func(b *op.Builder) { b.Shrink(s, src, skip) })
		require.Equal(t, data[s.Codes], m.Get(s.Codes), "a step that is skipped changes nothing")
	}
}

func TestUnsignedDynamicMap(t *testing.T) {
	values := op.UnsignedDynamicMap()
	require.Len(t, values, 256)
	require.True(t, slices.IsSorted(values))
	require.Equal(t, []float64{0, 1}, []float64{values[0], values[255]})
	require.InDelta(t, 3.25e-7, values[1], 1e-12, "the middle of the lower half of the lowest decade")
	require.InDelta(t, 1-0.9/256, values[254], 1e-6, "the middle of the last of 128 steps")
}
