package program

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
)

func TestPrecisionGivesEveryValueItsDType(t *testing.T) {
	for _, p := range precisions {
		n := newNetwork(tiny, false)
		Assign(n.Graph, p)
		for _, v := range n.Graph.Roots() {
			require.NotZero(t, v.DType, v.Name)
			if v.Role != op.Fixed {
				require.Equal(t, p.DType(v.Role), v.DType, v.Name)
			}
		}
		products := 0
		for _, node := range n.Graph.Nodes {
			switch a := node.Attr.(type) {
			case op.Linear:
				require.Equal(t, p.Compute, a.Compute)
				products++
			case op.Attention:
				require.Equal(t, p.Compute, a.Compute)
				products++
			}
		}
		require.NotZero(t, products)
	}
}

func TestPrecisionKeepsWhatIsSet(t *testing.T) {
	b := op.NewBuilder()
	x, y := b.Fixed("x", abi.F16, 2, 2), b.Value("y", op.Activation, 2, 2)
	y.DType = abi.F32
	b.MatMul(y, x, x, 1, 0)
	b.Graph.Nodes[0].Attr = op.MatMul{Alpha: 1, Compute: abi.F32}
	Assign(b.Graph, precision["bf16"])
	require.Equal(t, abi.F16, x.DType)
	require.Equal(t, abi.F32, y.DType)
	require.Equal(t, op.MatMul{Alpha: 1, Compute: abi.F32}, b.Graph.Nodes[0].Attr)
}

func TestPrecisionByName(t *testing.T) {
	for _, want := range precisions {
		got, err := PrecisionByName(want.Name)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := PrecisionByName("fp8")
	require.EqualError(t, err, `precision "fp8" is not one of fp32, bf16, bf16_autocast, fp16_autocast, bf16_buffers_autocast`)
	require.Equal(t, abi.F32, precision["bf16"].Accumulating().Gradient)
}

func TestNativePrecision(t *testing.T) {
	for want, native := range map[string][]abi.DType{"fp32": {abi.F32}, "fp16_autocast": {abi.F32, abi.F16}, "bf16": {abi.F32, abi.F16, abi.BF16}} {
		require.Equal(t, want, NativePrecision(func(d abi.DType) bool { return slices.Contains(native, d) }))
	}
}

func TestPolicyNames(t *testing.T) {
	for p := KeepAll; p <= Block; p++ {
		got, err := ParsePolicy(p.String())
		require.NoError(t, err)
		require.Equal(t, p, got)
	}
	_, err := ParsePolicy("some")
	require.Error(t, err)
}

// Whatever is kept, a step gives the same: recomputed values are the same values.
func TestRecomputeChangesNoResult(t *testing.T) {
	for _, full := range []bool{false, true} {
		plain := newNetwork(tiny, full)
		Assign(plain.Graph, precision["fp32"])
		want := plain.results(t)
		policies := map[string]func(block int) Policy{
			"none":      func(int) Policy { return KeepAll },
			"selective": func(int) Policy { return Selective },
			"block":     func(int) Policy { return Block },
			"mixed":     func(block int) Policy { return Policy(block % 3) },
		}
		for name, policy := range policies {
			t.Run(name, func(t *testing.T) {
				n := newNetwork(tiny, full)
				Assign(n.Graph, precision["fp32"])
				Recompute(n.Graph, policy)
				require.Equal(t, want, n.results(t))
			})
		}
	}
}

// Behind the cut only checkpoints, what the policy keeps and what lies outside of blocks
// is read; values are made before they are read; and less memory is needed.
func TestRecomputeDropsWhatThePolicySays(t *testing.T) {
	arena := map[Policy]int64{}
	for p := KeepAll; p <= Block; p++ {
		n := newNetwork(sizes{layers: 6, batch: 4, seq: 64, hidden: 32, heads: 2, groups: 1, width: 16, inner: 96}, false)
		Assign(n.Graph, precision["fp32"])
		Recompute(n.Graph, func(int) Policy { return p })
		producer := map[*op.Value]*op.Node{}
		behind := false
		for _, node := range n.Graph.Nodes {
			behind = behind || node.Op == Cut
			for _, v := range node.In {
				if v == nil || v.Root.Kind != op.Transient {
					continue
				}
				made := producer[v.Root]
				require.NotNil(t, made, "%s is read before it is made", v.Root.Name)
				if behind && made.Phase == op.Forward && made.Block >= 0 && !v.Root.Keep {
					overProduct := made.Op == abi.OpRope
					require.True(t, p == KeepAll || p == Selective && (op.MustLookup(made.Op).Dear || overProduct), "%s reads %s", node.Op, v.Root.Name)
				}
			}
			for _, v := range node.Out {
				if v != nil {
					producer[v.Root] = node
				}
			}
		}
		arena[p] = PlanMemory(n.Graph, 64, 0).Bytes
	}
	require.Less(t, arena[Selective], arena[KeepAll])
	require.Less(t, arena[Block], arena[Selective])
}

// A lowered step gives the same as the fused ops, with and without recompute.
func TestLowerChangesNoResult(t *testing.T) {
	for _, full := range []bool{false, true} {
		plain := newNetwork(tiny, full)
		Assign(plain.Graph, precision["fp32"])
		want := plain.results(t)
		for p := KeepAll; p <= Block; p++ {
			n := newNetwork(tiny, full)
			Assign(n.Graph, precision["fp32"])
			Recompute(n.Graph, func(int) Policy { return p })
			Lower(n.Graph, func(*op.Node) bool { return false })
			requireClose(t, want, n.results(t), 1e-9)
		}
	}
}

// What a backend claims stays; the rest is named once and replaced, with its tags.
func TestLowerKeepsWhatIsClaimed(t *testing.T) {
	n := newNetwork(tiny, false)
	Assign(n.Graph, precision["fp32"])
	for _, node := range n.Graph.Nodes {
		node.Lane = node.Block % 2 & 1
	}
	cuts := func() (count int) {
		for _, node := range n.Graph.Nodes {
			if node.Op == Cut {
				count++
			}
		}
		return count
	}
	require.Equal(t, 1, cuts())
	tags := func() map[[3]int]bool {
		set := map[[3]int]bool{}
		for _, node := range n.Graph.Nodes {
			set[[3]int{int(node.Phase), node.Block, node.Lane}] = true
		}
		return set
	}
	before := tags()
	claimed := func(node *op.Node) bool { return node.Op != abi.OpRmsnorm && node.Op != abi.OpSwiglu }
	require.Equal(t, []string{"rmsnorm", "swiglu"}, Lower(n.Graph, claimed))
	require.Equal(t, before, tags())
	require.Equal(t, 1, cuts())
	left := map[abi.Op]bool{}
	for _, node := range n.Graph.Nodes {
		left[node.Op] = true
	}
	require.False(t, left[abi.OpRmsnorm] || left[abi.OpSwiglu])
	require.True(t, left[abi.OpLinear] && left[abi.OpAttention] && left[abi.OpRmsnormGrad])
	require.Empty(t, Lower(n.Graph, claimed))
}

func TestQueryAsksForDTypesAndFormats(t *testing.T) {
	b := op.NewBuilder()
	x := b.Fixed("x", abi.BF16, 4, 8)
	y := b.Linear(op.Linear{Compute: abi.BF16, Projections: []op.Projection{{Weight: op.NewWeight("w", op.Constant, op.NF4(true), 6, 8)}}}, x, nil)
	dense := op.DenseWeight(op.NewValue("w", op.Constant, op.Fixed, abi.F16, 6, 6))
	b.Linear(op.Linear{Compute: abi.F32, Projections: []op.Projection{{Weight: dense}}}, y, nil)
	b.FillInt(b.Fixed("i", abi.I32, 4), 1)
	y.DType = abi.F32
	want := []abi.OpQuery{
		{Op: uint32(abi.OpLinear), Version: 1, DType: uint32(abi.BF16), Compute: uint32(abi.BF16), Format: op.NF4(true)},
		{Op: uint32(abi.OpLinear), Version: 1, DType: uint32(abi.F32), Compute: uint32(abi.F32), WeightDType: uint32(abi.F16)},
		{Op: uint32(abi.OpFill), Version: 1},
	}
	for i, node := range b.Graph.Nodes {
		require.Equal(t, want[i], Query(node))
	}
}

// A list taken apart is the graph again: ops, attributes, lanes, views and addresses.
func TestEncodeRoundTrip(t *testing.T) {
	for _, lower := range []bool{false, true} {
		n := newNetwork(tiny, false)
		Assign(n.Graph, precision["bf16_autocast"])
		if lower {
			Lower(n.Graph, func(*op.Node) bool { return false })
		}
		nodes := withoutCuts(n.Graph).Nodes
		for i, node := range nodes {
			node.Lane = i % 7 / 6
		}
		places := map[*op.Value]Address{}
		for i, v := range n.Graph.Roots() {
			places[v] = Address{Slot: uint32(i % 3), Offset: int64(i) << 20}
		}
		at := func(v *op.Value) Address { return places[v] }
		header, records, err := abi.DecodeList(Encode(nodes, at, 77, 3, 24))
		require.NoError(t, err)
		require.Equal(t, []uint64{77, 3, 24}, []uint64{header.Serial, uint64(header.SlotCount), uint64(header.ParamsBytes)})
		require.Len(t, records, len(nodes))
		after := Hazards(nodes, at)
		ids := map[uint32]*op.Value{}
		for i, r := range records {
			node := nodes[i]
			require.Equal(t, uint32(node.Op), r.Op)
			require.Equal(t, uint16(node.Lane), r.Lane)
			require.Equal(t, after[i], r.After)
			var attr []byte
			if node.Attr != nil {
				attr = node.Attr.Bytes()
			}
			require.True(t, bytes.HasPrefix(r.Attr, attr))
			require.Less(t, len(r.Attr)-len(attr), 8)
			requireOperands(t, node.Out, r.Outputs, at, ids)
			requireOperands(t, node.In, r.Inputs, at, ids)
		}
	}
}

func requireOperands(t *testing.T, vs []*op.Value, operands []abi.Operand, at func(*op.Value) Address, ids map[uint32]*op.Value) {
	t.Helper()
	require.Len(t, operands, len(vs))
	for i, v := range vs {
		o := operands[i]
		if v == nil {
			require.Equal(t, abi.Operand{Slot: abi.SlotNone}, o)
			continue
		}
		size := int64(v.Type().Size())
		a := at(v.Root)
		if v.Root.Kind == op.Param {
			a = Address{Slot: abi.SlotParams, Offset: v.Root.Param}
		}
		require.Equal(t, a.Slot, o.Slot)
		require.Equal(t, uint64(a.Offset+v.Offset*size), o.Offset)
		require.Equal(t, v.Shape, o.Shape[:o.Rank])
		require.Equal(t, v.Stride, o.Stride[:o.Rank])
		require.Equal(t, uint32(v.Type()), o.DType)
		require.Equal(t, kinds[v.Root.Kind], o.Kind)
		require.LessOrEqual(t, o.Offset+o.Bytes, uint64(a.Offset+Bytes(v)), "an operand lies inside its root")
		require.Equal(t, uint64(furthest(v)+1)*uint64(size), o.Bytes)
		if known := ids[o.ValueID]; known != nil {
			require.Same(t, known, v.Root)
		}
		ids[o.ValueID] = v.Root
	}
}

// furthest is the distance of the last element of a view from its first.
func furthest(v *op.Value) (n int64) {
	for i, d := range v.Shape {
		n += (d - 1) * v.Stride[i]
	}
	return n
}
