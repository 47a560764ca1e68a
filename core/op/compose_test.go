package op_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/program"
	"trainer/core/reference"
)

// trial is one graph with contents for what it reads.
type trial struct {
	*op.Builder
	*rand.Rand
	data     map[*op.Value][]float64
	rounding bool
	floats   []abi.DType // dtypes that floats may have
}

// plain computes in float64; rounded stores f32, bf16 and f16.
func plain(seed uint64) *trial {
	return &trial{op.NewBuilder(), rand.New(rand.NewPCG(seed, 1)), map[*op.Value][]float64{}, false, []abi.DType{abi.F32}}
}

func rounded(seed uint64) *trial {
	t := plain(seed)
	t.rounding, t.floats = true, []abi.DType{abi.F32, abi.BF16, abi.F16}
	return t
}

// float is a dtype drawn at random from those allowed.
func (x *trial) float() abi.DType { return x.floats[x.IntN(len(x.floats))] }

// size is 1 to most.
func (x *trial) size(most int64) int64 { return 1 + x.Int64N(most) }

func (x *trial) chance() bool { return x.IntN(2) == 0 }

// set gives a root contents, one draw for each element.
func (x *trial) set(v *op.Value, draw func() float64) *op.Value {
	data := make([]float64, v.Count())
	for i := range data {
		data[i] = draw()
	}
	x.data[v] = data
	return v
}

func (x *trial) in(dtype abi.DType, draw func() float64, shape ...int64) *op.Value {
	return x.set(op.NewValue("in", op.Input, op.Fixed, dtype, shape...), draw)
}

func (x *trial) normal(shape ...int64) *op.Value { return x.in(x.float(), x.NormFloat64, shape...) }

func (x *trial) state(dtype abi.DType, shape ...int64) *op.Value {
	return x.set(op.NewValue("state", op.State, op.Fixed, dtype, shape...), x.NormFloat64)
}

func (x *trial) ints(below int, shape ...int64) *op.Value {
	return x.in(abi.I32, func() float64 { return float64(x.IntN(below)) }, shape...)
}

// out is a result of any float dtype.
func (x *trial) out(shape ...int64) *op.Value { return x.Fixed("out", x.float(), shape...) }

// maybe drops a value half of the time.
func (x *trial) maybe(v *op.Value) *op.Value {
	if x.chance() {
		return nil
	}
	return v
}

func constant(c float64) func() float64 { return func() float64 { return c } }

// run computes a graph on fresh contents.
func (x *trial) run(t *testing.T, g *op.Graph) *reference.Machine {
	t.Helper()
	m := reference.New()
	m.Rounding = x.rounding
	for v, data := range x.data {
		m.Set(v, data)
	}
	require.NoError(t, m.Run(g))
	return m
}

// lowered is the graph in mandatory ops, each value with a dtype.
func (x *trial) lowered(t *testing.T) *op.Graph {
	t.Helper()
	g := &op.Graph{Nodes: slices.Clone(x.Graph.Nodes)}
	program.Lower(g, func(*op.Node) bool { return false })
	for _, n := range g.Nodes {
		require.Zero(t, op.MustLookup(n.Op).Tier, "%s is not mandatory", n.Op)
		for _, v := range slices.Concat(n.In, n.Out) {
			require.NotNil(t, v, "a mandatory op has no optional operands")
			require.NotZero(t, v.Type())
			require.LessOrEqual(t, len(v.Shape), abi.MaxRank)
		}
	}
	x.sameFLOPs(t, g)
	return g
}

// agree runs the graph and its composition and compares every result. tolerance is
// relative to each result's largest magnitude, or to 1; what is stored in fewer digits than f32
// may differ by one unit besides.
func (x *trial) agree(t *testing.T, tolerance float64) {
	t.Helper()
	want, got := x.run(t, x.Graph), x.run(t, x.lowered(t))
	for _, n := range x.Graph.Nodes {
		for i, v := range n.Out {
			if v != nil {
				x.close(t, fmt.Sprintf("%s output %d %v %s", n.Op, i, v.Shape, v.Type()), v.Type(), want.Get(v), got.Get(v), tolerance)
			}
		}
	}
}

var units = map[abi.DType]float64{abi.BF16: 0x1p-7, abi.F16: 0x1p-10}

func (x *trial) close(t *testing.T, what string, dtype abi.DType, want, got []float64, tolerance float64) {
	t.Helper()
	require.Len(t, got, len(want))
	most := 1.0
	for _, w := range want {
		if !math.IsInf(w, 0) {
			most = max(most, math.Abs(w))
		}
	}
	for i, w := range want {
		if w == got[i] {
			continue
		}
		allowed := tolerance * most
		if x.rounding {
			allowed += units[dtype] * math.Abs(w)
		}
		require.LessOrEqual(t, math.Abs(w-got[i]), allowed, "%s [%d]: composed %v, fused %v", what, i, got[i], w)
	}
}

// bothWays runs a family's trial in float64, where op and composition must agree to its
// last digits, and rounded.
func bothWays(t *testing.T, exact, coarse float64, build func(x *trial)) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			x := plain(seed)
			build(x)
			x.agree(t, exact)
			x = rounded(seed)
			build(x)
			x.agree(t, coarse)
		})
	}
}

// compute is a dtype of products.
func (x *trial) compute() abi.DType {
	return []abi.DType{0, abi.F32, abi.BF16, abi.F16}[x.IntN(4)]
}

func TestComposeRMSNorm(t *testing.T) {
	bothWays(t, 1e-12, 1e-5, func(x *trial) {
		rows, width, h := x.size(9), x.size(40), (*op.Value)(nil)
		residual := x.maybe(x.normal(rows, width))
		if residual != nil {
			h = x.out(rows, width)
		}
		x.Node(abi.OpRmsnorm, op.RMSNormAttr{Eps: 1e-5}, []*op.Value{x.out(rows, width), h, x.Fixed("rstd", abi.F32, rows)},
			[]*op.Value{x.normal(rows, width), residual, x.normal(width)})
	})
}

func TestComposeRMSNormGrad(t *testing.T) {
	bothWays(t, 1e-12, 1e-5, func(x *trial) {
		rows, width := x.size(9), x.size(40)
		rstd := x.in(abi.F32, func() float64 { return 0.1 + x.Float64() }, rows)
		x.Node(abi.OpRmsnormGrad, op.RMSNormAttr{Eps: 1e-5}, []*op.Value{x.out(rows, width), x.maybe(x.state(x.float(), width))},
			[]*op.Value{x.normal(rows, width), x.normal(rows, width), rstd, x.normal(width), x.maybe(x.normal(rows, width))})
	})
}

func TestComposeRoPE(t *testing.T) {
	bothWays(t, 1e-12, 1e-5, func(x *trial) {
		rows, heads, half := x.size(9), x.size(5), x.size(5)
		width := 2*half + 2*x.Int64N(3)
		in := x.normal(rows, heads, width)
		out := x.out(rows, heads, width)
		if x.chance() {
			in = x.state(x.float(), rows, heads, width)
			out = in // in place
		}
		a := op.RoPE{Heads: x.size(heads), RotaryDim: 2 * half, Scale: 1 + x.Float64(), Inverse: x.chance()}
		x.Node(abi.OpRope, a, []*op.Value{out}, []*op.Value{in, x.ints(50, rows), x.in(abi.F32, x.Float64, half)})
	})
}

func TestComposeSwiGLU(t *testing.T) {
	bothWays(t, 1e-12, 1e-5, func(x *trial) {
		rows, width := x.size(9), x.size(40)
		gateUp := x.normal(rows, 2*width)
		gate, up := gateUp.Slice(1, 0, width), gateUp.Slice(1, width, 2*width)
		x.Node(abi.OpSwiglu, nil, []*op.Value{x.out(rows, width)}, []*op.Value{gate, up})
		x.Node(abi.OpSwigluGrad, nil, []*op.Value{x.maybe(x.out(rows, width)), x.out(rows, width)}, []*op.Value{x.normal(rows, width), gate, up})
	})
}

func TestComposeScale(t *testing.T) {
	bothWays(t, 1e-12, 1e-5, func(x *trial) {
		rows, width := x.size(9), x.size(40)
		in, g := x.normal(rows, width), x.in(abi.F32, x.NormFloat64, width)
		x.Node(abi.OpScale, nil, []*op.Value{x.out(rows, width)}, []*op.Value{in, g})
		dg := op.NewValue("dg", op.Output, op.Fixed, abi.F32, width)
		x.Node(abi.OpScaleGrad, nil, []*op.Value{x.maybe(x.out(rows, width)), dg}, []*op.Value{x.normal(rows, width), in, g})
	})
}

// attend draws an attention's attribute and inputs; q, k and v may be slices of one value.
func (x *trial) attend() (op.Attention, op.Attend) {
	batch, queries, length, groups, width := x.size(3), x.size(9), x.size(9), x.size(3), x.size(6)
	heads := groups * x.size(3)
	a := op.Attention{Scale: 1 / math.Sqrt(float64(width)), Causal: x.chance(), Compute: x.compute()}
	if x.chance() {
		a.Window = x.size(5)
	}
	in := op.Attend{Lengths: x.maybe(x.ints(int(length)+2, batch)), Offset: x.maybe(x.in(abi.I32, func() float64 { return float64(x.IntN(7) - 3) }, 1))}
	if x.chance() {
		length = queries
		in.Segments = x.maybe(x.ints(3, batch, queries))
		qkv := x.normal(batch, queries, heads+2*groups, width)
		in.Q, in.K, in.V = qkv.Slice(2, 0, heads), qkv.Slice(2, heads, heads+groups), qkv.Slice(2, heads+groups, heads+2*groups)
		return a, in
	}
	in.Q, in.K, in.V = x.normal(batch, queries, heads, width), x.normal(batch, length, groups, width), x.normal(batch, length, groups, width)
	return a, in
}

func TestComposeAttention(t *testing.T) {
	bothWays(t, 1e-12, 1e-2, func(x *trial) {
		a, in := x.attend()
		s := in.Q.Shape
		x.Node(abi.OpAttention, a, []*op.Value{x.out(s...), x.maybe(x.Fixed("lse", abi.F32, s[0], s[2], s[1]))},
			[]*op.Value{in.Q, in.K, in.V, in.Lengths, in.Segments, in.Offset})
	})
}

func TestComposeAttentionGrad(t *testing.T) {
	bothWays(t, 1e-12, 1e-2, func(x *trial) {
		a, in := x.attend()
		s := in.Q.Shape
		o, lse := x.out(s...), x.Fixed("lse", abi.F32, s[0], s[2], s[1])
		ins := []*op.Value{in.Q, in.K, in.V, in.Lengths, in.Segments, in.Offset}
		x.Node(abi.OpAttention, a, []*op.Value{o, lse}, ins)
		outs := []*op.Value{x.maybe(x.out(s...)), x.maybe(x.out(in.K.Shape...)), x.out(in.V.Shape...)}
		x.Node(abi.OpAttentionGrad, a, outs, append([]*op.Value{x.normal(s...), o, lse}, ins...))
	})
}

// format is any format that a weight [out, in] can have, dense included.
func (x *trial) format(out, in int64) (f abi.QuantFormat) {
	group := func(of int64) uint32 { // a multiple of 8 that divides
		var fit []uint32
		for g := int64(8); g <= of; g += 8 {
			if of%g == 0 {
				fit = append(fit, uint32(g))
			}
		}
		if len(fit) == 0 {
			return 8
		}
		return fit[x.IntN(len(fit))]
	}
	switch nested := x.chance(); x.IntN(6) {
	case 0:
		f = op.NF4(nested)
		f.Group = uint32(2 * x.size(8))
	case 1:
		f = op.FP4(nested)
		f.Group = uint32(2 * x.size(8))
	case 2, 3:
		f = op.HQQ([]uint32{1, 2, 3, 4, 8}[x.IntN(5)], group(out*in), x.chance(), nested)
	case 4:
		f = op.MLX([]uint32{2, 3, 4, 5, 6, 8}[x.IntN(6)], group(in))
	case 5:
		f = op.Int8(in)
	}
	if f.NestedGroup > 0 {
		f.NestedGroup = uint32(x.size(5))
	}
	if op.CheckFormat(f, out, in) != nil {
		return abi.QuantFormat{}
	}
	return f
}

// weight is a matrix [out, in] in any format, with contents.
func (x *trial) weight(t *testing.T, out, in int64) *op.Weight {
	format := x.format(out, in)
	if format.Format == abi.FormatDense {
		return op.DenseWeight(x.normal(out, in))
	}
	w := op.NewWeight("w", op.State, format, out, in)
	b := op.NewBuilder()
	src := op.NewValue("src", op.Input, op.Fixed, abi.F32, out, in)
	b.Quantise(w, src)
	m := reference.New()
	m.Rounding = true
	m.Set(src, x.data[x.set(src, x.NormFloat64)])
	for _, v := range w.Operands {
		if v != nil {
			m.Set(v, make([]float64, v.Count()))
		}
	}
	require.NoError(t, m.Run(b.Graph))
	for _, v := range w.Operands {
		if v != nil {
			x.data[v] = m.Get(v)
		}
	}
	return w
}
