package reference

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
)

// Known answers of Random123's kat_vectors for philox4x32 with 10 rounds.
func TestPhiloxKnownAnswers(t *testing.T) {
	const f = 0xFFFFFFFF
	require.Equal(t, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, philox([4]uint32{}, [2]uint32{}))
	require.Equal(t, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}, philox([4]uint32{f, f, f, f}, [2]uint32{f, f}))
	require.Equal(t, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		philox([4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0}))
}

// Every bf16 and f16 rounds to itself, and what lies between two of them to the nearer,
// in the middle to the even one.
func TestRoundingIsToTheNearest(t *testing.T) {
	bf16 := func(bits uint32) float64 { return float64(math.Float32frombits(bits << 16)) }
	f16 := func(bits uint32) float64 { // of a finite positive number
		e, m := int(bits>>10), float64(bits&1023)
		if e == 0 {
			return math.Ldexp(m, -24)
		}
		return math.Ldexp(1024+m, e-25)
	}
	formats := []struct {
		dtype   abi.DType
		value   func(uint32) float64
		largest uint32
	}{{abi.BF16, bf16, 0x7F7F}, {abi.F16, f16, 0x7BFF}}
	for _, f := range formats {
		for bits := range f.largest {
			low, high := f.value(bits), f.value(bits+1)
			middle, even := (low+high)/2, low
			if bits%2 == 1 {
				even = high
			}
			for _, sign := range []float64{1, -1} {
				if round(f.dtype, sign*low) != sign*low || round(f.dtype, sign*middle) != sign*even ||
					round(f.dtype, sign*math.Nextafter(middle, 0)) != sign*low || round(f.dtype, sign*math.Nextafter(middle, high)) != sign*high {
					t.Fatalf("%s bits %#x", f.dtype, bits)
				}
			}
		}
		require.Equal(t, math.Inf(1), round(f.dtype, f.value(f.largest)*1.01))
		require.True(t, math.IsNaN(round(f.dtype, math.NaN())))
	}
}

// run runs one node on given contents and returns its first output.
func run(t *testing.T, rounding bool, data map[*op.Value][]float64, emit func(b *op.Builder)) *Machine {
	t.Helper()
	b := op.NewBuilder()
	emit(b)
	m := New()
	m.Rounding = rounding
	for v, x := range data {
		m.Set(v, x)
	}
	require.NoError(t, m.Run(b.Graph))
	return m
}

func value(kind op.Kind, dtype abi.DType, shape ...int64) *op.Value {
	return op.NewValue("v", kind, op.Fixed, dtype, shape...)
}

func TestCast(t *testing.T) {
	in := []float64{-1.7, 1.7, 300, -3e9, 3e9, math.NaN(), 0.1}
	for dtype, want := range map[abi.DType][]float64{
		abi.I32:  {-1, 1, 300, math.MinInt32, math.MaxInt32, 0, 0},
		abi.U8:   {0, 1, 255, 0, 255, 0, 0},
		abi.BF16: {-1.703125, 1.703125, 300, -0x1.66p31, 0x1.66p31, math.NaN(), 0.10009765625},
	} {
		x, y := value(op.Input, abi.F32, 7), value(op.Output, dtype, 7)
		got := run(t, true, map[*op.Value][]float64{x: in}, func(b *op.Builder) { b.Cast(y, x) }).Get(y)
		for i := range want {
			require.True(t, want[i] == got[i] || math.IsNaN(want[i]) && math.IsNaN(got[i]), "%s %v: %v, not %v", dtype, in[i], got[i], want[i])
		}
	}
	x, y := value(op.Input, abi.I32, 2), value(op.Output, abi.U8, 2)
	got := run(t, true, map[*op.Value][]float64{x: {-1, 257}}, func(b *op.Builder) { b.Cast(y, x) }).Get(y)
	require.Equal(t, []float64{255, 1}, got)
}

func TestIntegerArithmeticWrapsAround(t *testing.T) {
	cases := []struct {
		code uint32
		a, b float64
		want float64
	}{
		{abi.BinaryAdd, math.MaxInt32, 1, math.MinInt32}, {abi.BinarySub, math.MinInt32, 1, math.MaxInt32},
		{abi.BinaryMul, 1 << 20, 1 << 20, 0}, {abi.BinaryDiv, -7, 2, -3}, {abi.BinaryDiv, 7, 0, 0},
		{abi.BinaryDiv, math.MinInt32, -1, math.MinInt32}, {abi.BinaryPow, 3, 4, 81}, {abi.BinaryPow, 2, -1, 0},
		{abi.BinaryPow, -1, -3, -1}, {abi.BinaryLe, 3, 3, 1}, {abi.BinaryLt, 3, 3, 0}, {abi.BinaryEq, 3, 3, 1}, {abi.BinaryMax, -3, 2, 2},
	}
	for _, c := range cases {
		x, y, z := value(op.Input, abi.I32, 1), value(op.Input, abi.I32, 1), value(op.Output, abi.I32, 1)
		got := run(t, false, map[*op.Value][]float64{x: {c.a}, y: {c.b}}, func(b *op.Builder) { b.Binary(c.code, z, x, y) }).Get(z)
		require.Equal(t, c.want, got[0], "code %d of %v and %v", c.code, c.a, c.b)
	}
}

// Packing undoes unpacking for every width and order, and the orders are the header's.
func TestPackAndUnpack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, bits := range []uint32{1, 2, 4, 8} {
		for order := range uint32(2) {
			n := int64(1 + r.IntN(40))
			values := make([]float64, n)
			for i := range values {
				values[i] = float64(r.IntN(1 << bits))
			}
			x, packed, y := value(op.Input, abi.I32, n), value(op.Output, abi.U8, (n*int64(bits)+7)/8), value(op.Output, abi.I32, n)
			m := run(t, false, map[*op.Value][]float64{x: values}, func(b *op.Builder) {
				b.Pack(packed, x, bits, order)
				b.Unpack(y, packed, bits, order)
			})
			require.Equal(t, values, m.Get(y))
		}
	}
	x, high, low := value(op.Input, abi.I32, 3), value(op.Output, abi.U8, 2), value(op.Output, abi.U8, 2)
	m := run(t, false, map[*op.Value][]float64{x: {1, 2, 3}}, func(b *op.Builder) { b.Pack(high, x, 4, 0); b.Pack(low, x, 4, 1) })
	require.Equal(t, []float64{0x12, 0x30}, m.Get(high))
	require.Equal(t, []float64{0x21, 0x03}, m.Get(low))
}

func TestGatherAndScatterAdd(t *testing.T) {
	table, index, rows, sums := value(op.Input, abi.F32, 2, 2), value(op.Input, abi.I32, 4), value(op.Output, abi.F32, 4, 2), value(op.State, abi.F32, 2, 2)
	data := map[*op.Value][]float64{table: {1, 2, 3, 4}, index: {1, -1, 0, 1}, sums: {10, 20, 30, 40}}
	m := run(t, false, data, func(b *op.Builder) {
		b.Gather(rows, table, index)
		b.ScatterAdd(sums, rows, index)
	})
	require.Equal(t, []float64{3, 4, 0, 0, 1, 2, 3, 4}, m.Get(rows))
	require.Equal(t, []float64{11, 22, 36, 48}, m.Get(sums))
}

// Views read and write their root's storage where the strides say.
func TestViews(t *testing.T) {
	x := value(op.Input, abi.F32, 2, 3)
	y := value(op.Output, abi.F32, 3, 4)
	m := run(t, false, map[*op.Value][]float64{x: {1, 2, 3, 4, 5, 6}}, func(b *op.Builder) {
		b.Copy(y.Slice(1, 1, 3), x.Transpose(0, 1))
		b.Copy(y.Slice(1, 3, 4), x.Slice(0, 1, 2).Slice(1, 2, 3).Broadcast(3, 1))
	})
	require.Equal(t, []float64{1, 4, 6, 2, 5, 6, 3, 6, 6}, m.Get(y.Slice(1, 1, 4)))
	for _, v := range m.Get(y.Slice(1, 0, 1)) {
		require.True(t, math.IsNaN(v), "nobody wrote it")
	}
}

func TestRunNamesTheNodeThatFails(t *testing.T) {
	b := op.NewBuilder()
	x := value(op.Input, abi.F32, 2)
	b.Unary(abi.UnaryNeg, b.Fixed("y", abi.F32, 2), x)
	m := New()
	require.EqualError(t, m.Run(b.Graph), "node 0 (unary): input 0: v was neither set nor written")
	m.Set(x, []float64{1})
	require.EqualError(t, m.Run(b.Graph), "node 0 (unary): input 0: v holds 1 elements, its shape [2] has 2")
	m.Set(x, []float64{1, 2})
	require.NoError(t, m.Run(b.Graph))
	b.Unary(99, b.Fixed("y", abi.F32, 2), x)
	require.EqualError(t, m.Run(b.Graph), "node 1 (unary): there is no unary code 99")
	b.Graph.Nodes = b.Graph.Nodes[:1]
	b.Unary(abi.UnaryNeg, value(op.State, abi.F32, 2), x)
	require.EqualError(t, m.Run(b.Graph), "node 1 (unary): output 0: v was not set")
}

// Every op of the project is known here.
func TestEveryOpHasAKernel(t *testing.T) {
	for _, f := range op.Families() {
		require.NotNil(t, kernels[f.Op], f.Name)
	}
}

// A product rounds its inputs to the compute dtype, and its sum once to the result's.
func TestRoundingOfProducts(t *testing.T) {
	x, y, z := value(op.Input, abi.F32, 1, 2), value(op.Input, abi.F32, 2, 1), value(op.Output, abi.F16, 1, 1)
	data := map[*op.Value][]float64{x: {1.001, 256}, y: {1, 1}}
	for compute, want := range map[abi.DType]float64{abi.F32: 257, abi.BF16: 257, abi.F16: 257} {
		m := run(t, true, data, func(b *op.Builder) {
			b.Node(abi.OpMatmul, op.MatMul{Alpha: 1, Compute: compute}, []*op.Value{z}, []*op.Value{x, y})
		})
		require.Equal(t, want, m.Get(z)[0])
	}
	wide := value(op.Output, abi.F32, 1, 1)
	for compute, want := range map[abi.DType]float64{abi.F32: float64(float32(float64(float32(1.001)) + 256)), abi.BF16: 257, abi.F16: 256 + 1 + 0x1p-10} {
		m := run(t, true, data, func(b *op.Builder) {
			b.Node(abi.OpMatmul, op.MatMul{Alpha: 1, Compute: compute}, []*op.Value{wide}, []*op.Value{x, y})
		})
		require.InDelta(t, want, m.Get(wide)[0], 1e-6, "%s", compute)
	}
}
