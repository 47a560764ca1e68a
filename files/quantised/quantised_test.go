package quantised

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/files/safetensors"
)

const oracles = "../../testdata/oracles/"

func open(t *testing.T, path string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

// tensor is one tensor of a file under test.
type tensor struct {
	name, dtype string
	shape       []int64
	data        []byte
}

// of copies an oracle's tensor under the name a checkpoint gives it.
func of(t *testing.T, f *safetensors.File, from, name string) tensor {
	t.Helper()
	info, ok := f.Tensor(from)
	require.True(t, ok, from)
	data := make([]byte, info.Bytes)
	require.NoError(t, f.Read(info, data, 0))
	return tensor{name, info.DType, info.Shape, data}
}

func text(name, s string) tensor { return tensor{name, "U8", []int64{int64(len(s))}, []byte(s)} }

func integers(name, dtype string, values ...int64) tensor {
	var data []byte
	for _, x := range values {
		if dtype == "I64" {
			data = binary.LittleEndian.AppendUint64(data, uint64(x))
		} else {
			data = binary.LittleEndian.AppendUint32(data, uint32(x))
		}
	}
	return tensor{name, dtype, []int64{int64(len(values))}, data}
}

func reader(t *testing.T, tensors ...tensor) *Reader {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.safetensors")
	var specs []safetensors.Spec
	for _, x := range tensors {
		specs = append(specs, safetensors.Spec{Name: x.name, DType: x.dtype, Shape: x.shape})
	}
	w, err := safetensors.Create(path, specs, nil)
	require.NoError(t, err)
	for _, x := range tensors {
		require.NoError(t, w.Write(x.name, x.data))
	}
	require.NoError(t, w.Commit())
	r, err := NewReader(open(t, path), []byte("{}"))
	require.NoError(t, err)
	return r
}

func decoded(data []byte) []float32 {
	x := make([]float32, len(data)/4)
	safetensors.DecodeFloats(x, data, "F32")
	return x
}

// values is the weight as the border defines it.
func values(w *Weight) []float32 {
	n := w.Out * w.In
	groups := (n + w.Format.Group - 1) / w.Format.Group
	scale, zero := decoded(w.Operands[Scale]), decoded(w.Operands[Zero])
	if w.Format.NestedGroup > 0 {
		outer, offset, numbers := decoded(w.Operands[ScaleScale]), decoded(w.Operands[ScaleZero])[0], decoded(w.Operands[Map])
		scale = nil
		for g, code := range w.Operands[Scale] {
			scale = append(scale, float32(numbers[code]*outer[int64(g)/w.Format.NestedGroup])+offset)
		}
	}
	x := make([]float32, n)
	for e := range n {
		g := e / w.Format.Group
		if w.Format.Interleaved {
			g = e % groups
		}
		code := 0
		for b := range w.Format.Bits {
			bit := int(e)*w.Format.Bits + b
			code |= int(w.Operands[Data][bit/8]) >> (bit % 8) & 1 << b
		}
		nibble := w.Operands[Data][e/2%int64(len(w.Operands[Data]))] >> (4 * (1 - e%2)) & 15
		switch w.Format.Kind {
		case NF4:
			x[e] = nf4Numbers[nibble] * scale[g]
		case FP4:
			x[e] = fp4Numbers[nibble] * scale[g]
		case HQQ:
			x[e] = (float32(code) - zero[g]) * scale[g]
		case MLX:
			x[e] = float32(float32(code)*scale[g]) + zero[g]
		case Int8:
			x[e] = float32(int8(code)) * scale[g]
		}
	}
	return x
}

// requireValues compares with an oracle's dequantised weight.
func requireValues(t *testing.T, f *safetensors.File, name string, w *Weight) {
	t.Helper()
	info, ok := f.Tensor(name)
	require.True(t, ok, name)
	want, err := f.ReadFloat32(info)
	require.NoError(t, err)
	require.Equal(t, info.Shape, []int64{w.Out, w.In})
	unit := 0x1p-22
	if info.DType == "BF16" {
		unit = 0x1p-8
	}
	for i, x := range values(w) {
		if off := math.Abs(float64(want[i] - x)); off > unit*math.Abs(float64(want[i]))+1e-9 {
			require.Failf(t, "another value", "%s [%d]: %v, expected %v", name, i, x, want[i])
		}
	}
}

func TestBitsandbytes(t *testing.T) {
	f := open(t, oracles+"quant/bitsandbytes.safetensors")
	for _, name := range []string{"a", "odd", "bf16", "big"} {
		info, _ := f.Tensor("nf4." + name + ".weight")
		out, in := info.Shape[0], info.Shape[1]
		for _, kind := range []string{"nf4", "fp4"} {
			from := kind + "." + name + ".single."
			r := reader(t, of(t, f, from+"packed", "q.weight"), of(t, f, from+"absmax", "q.weight.absmax"), of(t, f, kind+".code", "q.weight.quant_map"),
				text("q.weight.quant_state.bitsandbytes__"+kind, fmt.Sprintf(`{"quant_type": %q, "blocksize": 64, "dtype": "float32", "shape": [%d, %d]}`, kind, out, in)))
			require.True(t, r.Has("q.weight"))
			w, err := r.Weight("q.weight")
			require.NoError(t, err)
			requireValues(t, f, from+"dequantised", w)
		}
		from := "nf4." + name + ".double."
		offset := decoded(of(t, f, from+"offset", "").data)[0]
		r := reader(t, of(t, f, from+"packed", "q.weight"), of(t, f, from+"absmax_u8", "q.weight.absmax"), of(t, f, "nf4.code", "q.weight.quant_map"),
			of(t, f, from+"nested_absmax", "q.weight.nested_absmax"), of(t, f, from+"nested_code", "q.weight.nested_quant_map"),
			text("q.weight.quant_state.bitsandbytes__nf4", fmt.Sprintf(`{"blocksize": 64, "shape": [%d, %d], "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": %v}`, out, in, offset)))
		w, err := r.Weight("q.weight")
		require.NoError(t, err)
		requireValues(t, f, from+"dequantised", w)
	}
}

// hqqTensors is a weight as HQQ's encoded state dict holds it.
func hqqTensors(t *testing.T, f *safetensors.File, name, packing string, axis, group int64) []tensor {
	info, _ := f.Tensor(name + "weight")
	return []tensor{of(t, f, name+"packed", "q.W_q"), of(t, f, name+"scale", "q.scale"), of(t, f, name+"zero", "q.zero"),
		integers("q.shape", "I64", info.Shape...), integers("q.group_size", "I32", group), integers("q.axis", "I32", axis), text("q.packing", packing)}
}

func TestHQQ(t *testing.T) {
	f := open(t, oracles+"quant/hqq.safetensors")
	for bits, packing := range map[int]string{8: "8bit_u8", 4: "4bit_u8", 3: "3bit_32", 2: "2bit_u8", 1: "1bit_u8"} {
		for axis := range int64(2) {
			for _, group := range []int64{64, 32} {
				name := fmt.Sprintf("hqq.b%d.axis%d.g%d.", bits, axis, group)
				w, err := reader(t, hqqTensors(t, f, name, packing, axis, group)...).Weight("q.weight")
				require.NoError(t, err)
				require.Equal(t, Format{Kind: HQQ, Bits: bits, Group: group, Interleaved: axis == 0}, w.Format)
				requireValues(t, f, name+"dequantised", w)
			}
		}
	}
}

// A model as mlx_lm wrote it: its weights are those of the model it was made of, but for
// half a step, or one at that end of a group which the scale was not made for.
func TestMLX(t *testing.T) {
	config, err := os.ReadFile(oracles + "models/llama2-mlx4/config.json")
	require.NoError(t, err)
	f, dense := open(t, oracles+"models/llama2-mlx4/model.safetensors"), open(t, oracles+"models/llama2/model.safetensors")
	r, err := NewReader(f, config)
	require.NoError(t, err)
	read := 0
	for _, name := range dense.Names() {
		if !r.Has(name) {
			continue
		}
		w, err := r.Weight(name)
		require.NoError(t, err)
		require.Equal(t, Format{Kind: MLX, Bits: 4, Group: 32}, w.Format)
		info, _ := dense.Tensor(name)
		want, err := dense.ReadFloat32(info)
		require.NoError(t, err)
		scale := decoded(w.Operands[Scale])
		far := 0
		for i, x := range values(w) {
			off := math.Abs(float64((want[i] - x) / scale[i/32]))
			if off > 1.01 {
				require.Failf(t, "another value", "%s [%d]: %v, expected %v", name, i, x, want[i])
			}
			if off > 0.51 {
				far++
			}
		}
		require.Less(t, far, len(want)/32, name)
		read++
	}
	require.Equal(t, 2*6+2, read, "all but down_proj, whose rows have no whole groups")
	require.False(t, r.Has("model.layers.0.mlp.down_proj.weight"))
}

// Modules may have a format of their own.
func TestMLXOfModules(t *testing.T) {
	r, err := NewReader(nil, []byte(`{"a": 1, "quantization": {"group_size": 64, "bits": 4, "lm_head": {"bits": 8}, "router": false}}`))
	require.NoError(t, err)
	require.Equal(t, mlxGroup{64, 4}, r.mlx.of("q_proj"))
	require.Equal(t, mlxGroup{64, 8}, r.mlx.of("lm_head"))
	_, err = NewReader(nil, []byte(`{"quantization": {"mode": "mxfp4"}}`))
	require.Equal(t, int(fault.Files), fault.ExitCode(err))
	require.ErrorContains(t, err, `mode "mxfp4" is not affine`)
}

func TestInt8(t *testing.T) {
	f := open(t, oracles+"quant/int8.safetensors")
	w, err := reader(t, of(t, f, "int8.codes", "q.weight"), of(t, f, "int8.row_absmax", "q.SCB")).Weight("q.weight")
	require.NoError(t, err)
	info, _ := f.Tensor("int8.weight")
	want, err := f.ReadFloat32(info)
	require.NoError(t, err)
	scale := decoded(w.Operands[Scale])
	for i, x := range values(w) {
		if math.Abs(float64(want[i]-x)) > 0.5001*float64(scale[i/160]) {
			require.Failf(t, "another value", "[%d]: %v, expected %v", i, x, want[i])
		}
	}
}

// What is missing or does not fit is refused with the tensor's name, and nothing is read
// beyond what a file has.
func TestBrokenWeights(t *testing.T) {
	f := open(t, oracles+"quant/hqq.safetensors")
	whole := hqqTensors(t, f, "hqq.b4.axis1.g64.", "4bit_u8", 1, 64)
	for i, wrong := range map[int]tensor{0: text("q.W_q", "short"), 3: integers("q.shape", "I64", 1<<40, 1<<40), 4: integers("q.group_size", "I32", 0),
		5: integers("q.axis", "I32", 2), 6: text("q.packing", "5bit_u8")} {
		broken := append([]tensor{}, whole...)
		broken[i] = wrong
		_, err := reader(t, broken...).Weight("q.weight")
		require.Equal(t, int(fault.Files), fault.ExitCode(err), "%v", err)
		require.ErrorContains(t, err, wrong.name)
		_, err = reader(t, append(append([]tensor{}, whole[:i]...), whole[i+1:]...)...).Weight("q.weight")
		require.Error(t, err)
	}
	_, err := reader(t, append(whole, tensor{"q.quant_zero", "U8", []int64{1}, []byte{1}})...).Weight("q.weight")
	require.ErrorContains(t, err, "quantised scales or zeros")
	for _, state := range []string{"{", `{"blocksize": 63, "shape": [8, 8]}`, `{"blocksize": 64, "shape": [8]}`, `{"blocksize": 64, "shape": [0, 8]}`} {
		_, err := reader(t, text("q.weight", "x"), text("q.weight.quant_state.bitsandbytes__nf4", state)).Weight("q.weight")
		require.Equal(t, int(fault.Files), fault.ExitCode(err), "%v", err)
	}
	require.False(t, reader(t, text("q.weight", "x")).Has("q.weight"))
}
