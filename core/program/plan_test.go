package program

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
)

// Two values whose lives meet have no byte in common, except where an op writes its
// result over an input that dies there.
func requireSoundPlan(t *testing.T, g *op.Graph, m Memory, align int64) {
	t.Helper()
	type life struct {
		v           *op.Value
		first, last int
	}
	index := map[*op.Value]*life{}
	var lives []*life
	for i, n := range g.Nodes {
		for _, v := range slices.Concat(n.In, n.Out) {
			if v == nil || v.Root.Kind != op.Transient {
				continue
			}
			if index[v.Root] == nil {
				index[v.Root] = &life{v: v.Root, first: i}
				lives = append(lives, index[v.Root])
			}
			index[v.Root].last = i
		}
	}
	require.Len(t, m.Offset, len(lives))
	for i, a := range lives {
		require.Zero(t, m.Offset[a.v]%align)
		require.LessOrEqual(t, m.Offset[a.v]+Bytes(a.v), m.Bytes)
		for _, b := range lives[:i] {
			if a.last < b.first || b.last < a.first || m.Offset[a.v] >= m.Offset[b.v]+Bytes(b.v) || m.Offset[b.v] >= m.Offset[a.v]+Bytes(a.v) {
				continue
			}
			require.Equal(t, b.last, a.first, "%s and %s live at the same time in the same memory", a.v.Name, b.v.Name)
			require.True(t, mayOverwrite(g.Nodes[a.first], a.v, b.v), "node %d %s may not write over its input", a.first, g.Nodes[a.first].Op)
			require.Equal(t, m.Offset[a.v], m.Offset[b.v])
		}
	}
}

func mayOverwrite(n *op.Node, out, in *op.Value) bool {
	for _, pair := range op.MustLookup(n.Op).InPlace {
		o, i := n.Out[pair[0]], n.In[pair[1]]
		if o.Root == out && i.Root == in && slices.Equal(o.Stride, i.Stride) && o.Offset == i.Offset && o.Type() == i.Type() {
			return true
		}
	}
	return false
}

// randomGraph is elementwise nodes and copies on values of few sizes, some of them parts.
func randomGraph(r *rand.Rand, nodes int) (b *op.Builder, in *op.Value) {
	b = op.NewBuilder()
	in = op.NewValue("in", op.Input, op.Fixed, abi.F32, 4, 8)
	alive := []*op.Value{in}
	pick := func() *op.Value { return alive[max(0, len(alive)-1-r.IntN(6))] }
	for range nodes {
		y := b.Fixed("v", []abi.DType{abi.F32, abi.F32, abi.BF16}[r.IntN(3)], 4, 8)
		switch r.IntN(5) {
		case 0:
			b.Unary(abi.UnaryNeg, y, pick())
		case 1:
			x := pick()
			b.Binary(abi.BinaryAdd, y, x, pick().Slice(0, 0, 1))
		case 2:
			b.Cast(y.Slice(1, 0, 3), pick().Slice(1, 0, 3))
			b.Unary(abi.UnaryNeg, y.Slice(1, 3, 8), pick().Slice(1, 3, 8))
		case 3:
			square := b.Fixed("s", abi.F32, 4, 4)
			x := pick().Slice(1, 0, 4)
			b.Binary(abi.BinarySub, square, x, x.Transpose(0, 1))
			b.Cast(y.Slice(1, 0, 4), square)
			b.Cast(y.Slice(1, 4, 8), square)
		default:
			b.Binary(abi.BinaryMax, y, pick(), pick()) // stays finite
		}
		alive = append(alive, y)
	}
	out := op.NewValue("out", op.Output, op.Fixed, abi.F32, 4, 8)
	b.Cast(out, alive[len(alive)-1])
	return b, in
}

func FuzzPlan(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(seed, uint8(seed), uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, nodes, align uint8) {
		b, _ := randomGraph(rand.New(rand.NewPCG(seed, 3)), 1+int(nodes))
		bytes := int64(1) << (align % 13)
		requireSoundPlan(t, b.Graph, PlanMemory(b.Graph, bytes, 0), bytes)
	})
}

func TestPlanOfNetworkIsSound(t *testing.T) {
	for _, full := range []bool{false, true} {
		for _, lower := range []bool{false, true} {
			n := newNetwork(tiny, full)
			Assign(n.Graph, precision["bf16_autocast"])
			if lower {
				Lower(n.Graph, func(*op.Node) bool { return false })
			}
			requireSoundPlan(t, n.Graph, PlanMemory(n.Graph, 64, 0), 64)
		}
	}
}

// A chain of elementwise ops needs one value's memory, in place; a chain that cannot run
// in place two.
func TestPlanReusesMemory(t *testing.T) {
	for _, inPlace := range []bool{true, false} {
		b := op.NewBuilder()
		x := b.Fixed("x", abi.F32, 16)
		b.FillFloat(x, 1)
		for range 10 {
			y := b.Fixed("y", abi.F32, 16)
			if inPlace {
				b.Unary(abi.UnaryNeg, y, x)
			} else {
				b.Copy(y, x)
			}
			x = y
		}
		want := int64(64)
		if !inPlace {
			want = 128
		}
		require.Equal(t, want, PlanMemory(b.Graph, 64, 0).Bytes)
	}
}

// What runs at a cut may use the cut's outputs as scratch and read its inputs.
// TestPlanReplacesHalves writes both gradients of SwiGLU where gate and up lie.
// What was written before a graph runs is still there where the graph reads it first.
func TestPlanKeepsWhatIsThereBefore(t *testing.T) {
	b := op.NewBuilder()
	given, made, sum := b.Fixed("given", abi.F32, 16), b.Fixed("made", abi.F32, 16), op.NewValue("sum", op.State, op.Fixed, abi.F32, 16)
	b.FillFloat(made, 1)
	b.Copy(sum, made)
	b.Copy(sum, given)
	m := PlanMemory(b.Graph, 64, 0)
	require.NotEqual(t, m.Offset[made], m.Offset[given])
	require.EqualValues(t, 128, m.Bytes)
}

func TestPlanReplacesHalves(t *testing.T) {
	b := op.NewBuilder()
	both, d, dy := b.Fixed("both", abi.F32, 4, 32), b.Fixed("d", abi.F32, 4, 32), b.Fixed("dy", abi.F32, 4, 16)
	b.FillFloat(both, 1)
	b.FillFloat(dy, 1)
	b.Node(abi.OpSwigluGrad, nil, []*op.Value{d.Slice(1, 0, 16), d.Slice(1, 16, 32)}, []*op.Value{dy, both.Slice(1, 0, 16), both.Slice(1, 16, 32)})
	b.Unary(abi.UnaryNeg, b.Fixed("y", abi.F32, 4, 32), d)
	require.Equal(t, Bytes(both)+Bytes(dy), PlanMemory(b.Graph, 64, 0).Bytes)
}

func TestPlanKeepsValuesOverTheCut(t *testing.T) {
	n := newNetwork(tiny, false)
	Assign(n.Graph, precision["fp32"])
	m := PlanMemory(n.Graph, 64, 0)
	var cut *op.Node
	for _, node := range n.Graph.Nodes {
		if node.Op == Cut {
			cut = node
		}
	}
	vs := slices.Concat(cut.In, cut.Out)
	for i, a := range vs {
		for _, b := range vs[:i] {
			apart := m.Offset[a.Root] >= m.Offset[b.Root]+Bytes(b) || m.Offset[b.Root] >= m.Offset[a.Root]+Bytes(a)
			require.True(t, apart, "%s and %s", a.Name, b.Name)
		}
	}
}

// Planning has to be quick: trainer plan compiles several shapes of large models. The
// bound is generous; see BenchmarkPlan.
func TestPlanIsQuick(t *testing.T) {
	n := newNetwork(llama7B, false)
	Assign(n.Graph, precision["bf16_autocast"])
	begin := time.Now()
	PlanMemory(n.Graph, 256, 0)
	require.Less(t, time.Since(begin), 300*time.Millisecond, "%d nodes", len(n.Graph.Nodes))
}

func BenchmarkPlan(b *testing.B) {
	for name, s := range map[string]sizes{"7b": llama7B, "70b": llama70B} {
		for _, lowered := range []bool{false, true} {
			n := newNetwork(s, false)
			Assign(n.Graph, precision["bf16_autocast"])
			if lowered {
				Lower(n.Graph, func(*op.Node) bool { return false })
			}
			b.Run(fmt.Sprintf("%s %d nodes", name, len(n.Graph.Nodes)), func(b *testing.B) {
				for b.Loop() {
					PlanMemory(n.Graph, 256, 0)
				}
			})
		}
	}
}

// Looking harder never takes more, and stops at what is alive at once.
func TestPlansCanBePackedHarder(t *testing.T) {
	for seed := range uint64(20) {
		b, _ := randomGraph(rand.New(rand.NewPCG(seed, 3)), 200)
		n := b.Graph
		easy := PlanMemory(n, 64, 0)
		hard := PlanMemory(n, 64, easy.Bytes-64)
		requireSoundPlan(t, n, hard, 64)
		require.LessOrEqual(t, hard.Bytes, easy.Bytes)
		require.GreaterOrEqual(t, hard.Bytes, alive(mergeInPlace(n, liveness(n)), len(n.Nodes)))
	}
}
