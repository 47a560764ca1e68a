package training

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/session"
)

// runOnce runs a graph on the backend, on states and inputs given as floats or, for u8,
// as bytes.
func runOnce(t *testing.T, s *session.Session, g *op.Graph, states []*op.Value, data map[*op.Value][]byte) map[*op.Value][]byte {
	t.Helper()
	require.NoError(t, s.Place(states))
	p, err := s.Compile(g, nil, nil)
	require.NoError(t, err)
	require.NoError(t, s.Allocate())
	for _, v := range states {
		if raw, ok := data[v]; ok {
			require.NoError(t, s.Write(nil, v, 0, raw))
		}
	}
	ticket, err := s.Run(session.Run{Inputs: data, Params: make([]byte, ParamsBytes), Parts: []session.Part{{Program: p}}})
	require.NoError(t, err)
	out, err := ticket.Wait()
	require.NoError(t, err)
	return out
}

func floatBytes(values []float32) []byte { return encode(nil, values, abi.F32) }

func floatsOf(raw []byte) []float32 {
	values := make([]float32, len(raw)/4)
	decode(values, raw, abi.F32)
	return values
}

// raw are a tensor's bytes as they stand in the file.
func (o oracle) raw(name string) []byte {
	o.t.Helper()
	info, ok := o.file.Tensor(name)
	require.True(o.t, ok, "%s", name)
	raw := make([]byte, info.Bytes)
	require.NoError(o.t, o.file.Read(info, raw, 0))
	return raw
}

// One LoRA projection under a given dropout mask: output and every gradient are PEFT's.
func TestLoRAOracle(t *testing.T) {
	o := openOracle(t, "ops/lora_dropout.safetensors")
	const rows, k, n, r = 48, 64, 96, 8
	value := func(kind op.Kind, d abi.DType, shape ...int64) *op.Value {
		return op.NewValue("v", kind, op.Fixed, d, shape...)
	}
	x, dy, mask := value(op.Input, abi.F32, rows, k), value(op.Input, abi.F32, rows, n), value(op.Input, abi.U8, rows, k/8)
	w, a, b := value(op.Constant, abi.F32, n, k), value(op.State, abi.F32, r, k), value(op.State, abi.F32, n, r)
	da, db := value(op.State, abi.F32, r, k), value(op.State, abi.F32, n, r)
	y, u := value(op.Output, abi.F32, rows, n), value(op.Output, abi.F32, rows, r)
	dx, v := value(op.Output, abi.F32, rows, k), value(op.Output, abi.F32, rows, r)
	// The oracle drops one in ten and has alpha / r = 2.
	attr := op.Linear{KeepScale: 1 / 0.9, Projections: []op.Projection{{Weight: op.DenseWeight(w), Adapter: &op.Adapter{A: a, B: b, Scale: 2}}}}
	weight := op.DenseWeight(w).Operands[:]
	build := op.NewBuilder()
	build.Node(abi.OpLinear, attr, []*op.Value{y, u}, append(append([]*op.Value{x, mask}, weight...), nil, a, b))
	build.Node(abi.OpLinearGradInput, attr, []*op.Value{dx, v}, append(append([]*op.Value{dy, mask, nil}, weight...), a, b))
	build.Node(abi.OpLinearGradAdapter, attr, []*op.Value{da, db}, []*op.Value{dy, x, mask, u, v})
	s := openSession(t)
	out := runOnce(t, s, build.Graph, []*op.Value{w, a, b, da, db}, map[*op.Value][]byte{
		x: floatBytes(o.floats("x")), dy: floatBytes(o.floats("dy")), mask: maskBits(o.floats("mask")),
		w: floatBytes(o.floats("W")), a: floatBytes(o.floats("A")), b: floatBytes(o.floats("B")),
		da: make([]byte, 4*r*k), db: make([]byte, 4*n*r)})
	for name, got := range map[string]*op.Value{"lora.y": y, "lora.dx": dx, "lora.dA": da, "lora.dB": db} {
		raw, ok := out[got]
		if !ok {
			var err error
			raw, err = s.Read(got)
			require.NoError(t, err)
		}
		want := o.floats(name)
		closeTo(t, name, floatsOf(raw), want, 1e-5, largest(want))
	}
	require.Contains(t, firstOf(s.Ops()), "linear", "the backend's own product was judged, not its composition")
}

func firstOf(native, _ []string) []string { return native }

// maskBits packs a mask of 0 and 1, lowest bit first.
func maskBits(mask []float32) []byte {
	packed := make([]byte, len(mask)/8)
	for i, x := range mask {
		packed[i/8] |= byte(x) << (i % 8)
	}
	return packed
}

// Packed codes and single scales are bit for bit those of bitsandbytes; nested scales
// within the tolerances its kernels allow.
func TestNF4Oracle(t *testing.T) {
	o := openOracle(t, "quant/bitsandbytes.safetensors")
	for _, name := range []string{"a", "odd", "bf16", "big"} {
		t.Run(name, func(t *testing.T) {
			single, double := "nf4."+name+".single.", "nf4."+name+".double."
			states := o.quantised(t, "nf4."+name+".weight", false)
			require.Equal(t, o.raw(single+"packed"), states[abi.WeightData])
			require.Equal(t, o.raw(single+"absmax"), states[abi.WeightScale])
			states = o.quantised(t, "nf4."+name+".weight", true)
			require.Equal(t, o.raw(double+"packed"), states[abi.WeightData])
			require.Equal(t, o.raw(double+"nested_code"), states[abi.WeightCode])
			withinUlps(t, o.floats(double+"offset"), floatsOf(states[abi.WeightScaleZero]))
			withinUlps(t, o.floats(double+"nested_absmax"), floatsOf(states[abi.WeightScaleScale]))
			other, want := 0, o.raw(double+"absmax_u8")
			require.Len(t, states[abi.WeightScale], len(want))
			for i := range want {
				if states[abi.WeightScale][i] != want[i] {
					other++
				}
			}
			require.LessOrEqual(t, 100*other, len(want), "scale codes that differ")
		})
	}
}

// quantised has the backend quantise a stored weight, in the dtype it is stored in.
func (o oracle) quantised(t *testing.T, name string, nested bool) (states [abi.WeightOperands][]byte) {
	t.Helper()
	info, ok := o.file.Tensor(name)
	require.True(t, ok, name)
	src := op.NewValue("src", op.Input, op.Fixed, storedTypes[info.DType], info.Shape...)
	w := op.NewWeight("w", op.State, op.NF4(nested), info.Shape[0], info.Shape[1])
	b := op.NewBuilder()
	b.Quantise(w, src)
	var parts []*op.Value
	for _, v := range w.Operands {
		if v != nil {
			parts = append(parts, v)
		}
	}
	s := openSession(t)
	runOnce(t, s, b.Graph, parts, map[*op.Value][]byte{src: o.raw(name)})
	for i, v := range w.Operands {
		if v != nil {
			var err error
			states[i], err = s.Read(v)
			require.NoError(t, err)
		}
	}
	return states
}

// withinUlps allows two units in the last place.
func withinUlps(t *testing.T, want, got []float32) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		apart := int64(math.Float32bits(want[i])) - int64(math.Float32bits(got[i]))
		require.LessOrEqual(t, max(apart, -apart), int64(2), "value %d: %v, expected %v", i, got[i], want[i])
	}
}
