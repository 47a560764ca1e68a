package program

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/reference"
)

// lanes is a random graph on several lanes in planned memory, with a state that is read
// and changed.
type lanes struct {
	nodes []*op.Node
	roots []*op.Value
	at    func(*op.Value) Address
	slots map[uint32]int64 // bytes
}

func newLanes(r *rand.Rand, nodes int) lanes {
	b, in := randomGraph(r, nodes)
	state := op.NewValue("state", op.State, op.Fixed, abi.F32, 4, 8)
	l := lanes{slots: map[uint32]int64{}}
	for _, n := range b.Graph.Nodes {
		l.nodes = append(l.nodes, n)
		if r.IntN(4) == 0 {
			l.nodes = append(l.nodes, &op.Node{Op: abi.OpBinary, Attr: op.Binary{Code: abi.BinaryAdd}, Out: []*op.Value{state}, In: []*op.Value{state, in}})
		}
		if r.IntN(4) == 0 {
			l.nodes = append(l.nodes, &op.Node{Op: abi.OpCopy, Out: []*op.Value{op.NewValue("read", op.Output, op.Fixed, abi.F32, 4, 8)}, In: []*op.Value{state}})
		}
	}
	for _, n := range l.nodes {
		n.Lane = r.IntN(Lanes)
	}
	g := &op.Graph{Nodes: l.nodes}
	l.roots = g.Roots()
	for _, v := range l.roots {
		v.DType = abi.F32
	}
	m := PlanMemory(g, 4, 0)
	l.slots[0] = m.Bytes
	places := map[*op.Value]Address{}
	for _, v := range l.roots {
		if offset, ok := m.Offset[v]; ok {
			places[v] = Address{Offset: offset}
			continue
		}
		places[v] = Address{Slot: 1, Offset: l.slots[1]}
		l.slots[1] += Bytes(v)
	}
	l.at = func(v *op.Value) Address { return places[v] }
	return l
}

// memory is what the slots hold, one number for four bytes.
type memory map[uint32][]float64

func (l lanes) fresh() memory {
	r := rand.New(rand.NewPCG(9, 9))
	m := memory{}
	for slot := range uint32(2) {
		m[slot] = make([]float64, l.slots[slot]/4)
		for i := range m[slot] {
			m[slot][i] = r.Float64()
		}
	}
	return m
}

func (l lanes) storage(m memory, v *op.Value) []float64 {
	a := l.at(v.Root)
	return m[a.Slot][a.Offset/4:][:v.Root.Count()]
}

// execute runs the nodes in an order, on memory that values really share.
func (l lanes) execute(t *testing.T, order []int) memory {
	t.Helper()
	m := l.fresh()
	for _, i := range order {
		n := l.nodes[i]
		machine := reference.New()
		for _, v := range slices.Concat(n.In, n.Out) {
			machine.Set(v.Root, l.storage(m, v))
		}
		require.NoError(t, machine.Run(&op.Graph{Nodes: []*op.Node{n}}))
		for _, v := range n.Out {
			copy(l.storage(m, v), machine.Get(v.Root))
		}
	}
	return m
}

// allowed is an order that lanes and after permit; of the lanes that may go on, one is
// taken by choose.
func (l lanes) allowed(after [][]uint32, choose func(ready []int) int) (order []int) {
	queues := make([][]int, Lanes)
	for i, n := range l.nodes {
		queues[n.Lane] = append(queues[n.Lane], i)
	}
	done := make([]bool, len(l.nodes))
	for len(order) < len(l.nodes) {
		var ready []int
		for lane, q := range queues {
			if len(q) > 0 && !slices.ContainsFunc(after[q[0]], func(j uint32) bool { return !done[j] }) {
				ready = append(ready, lane)
			}
		}
		lane := choose(ready)
		i := queues[lane][0]
		queues[lane] = queues[lane][1:]
		done[i] = true
		order = append(order, i)
	}
	return order
}

// results are the values that leave the program.
func (l lanes) results(m memory) (all [][]float64) {
	for _, v := range l.roots {
		if v.Kind != op.Transient {
			all = append(all, slices.Clone(l.storage(m, v)))
		}
	}
	return all
}

// In every order that lanes and hazards allow, the results are those of the order written.
func FuzzHazards(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed, uint8(seed%40))
	}
	f.Fuzz(func(t *testing.T, seed uint64, nodes uint8) {
		r := rand.New(rand.NewPCG(seed, 5))
		l := newLanes(r, 1+int(nodes))
		after := Hazards(l.nodes, l.at)
		inOrder := make([]int, len(l.nodes))
		for i := range inOrder {
			inOrder[i] = i
		}
		want := l.results(l.execute(t, inOrder))
		orders := []func(ready []int) int{
			func(ready []int) int { return ready[0] },
			func(ready []int) int { return ready[len(ready)-1] },
			func(ready []int) int { return ready[r.IntN(len(ready))] },
			func(ready []int) int { return ready[r.IntN(len(ready))] },
		}
		for _, choose := range orders {
			require.Equal(t, want, l.results(l.execute(t, l.allowed(after, choose))))
		}
		requireOrdered(t, l, after)
	})
}

// Every two nodes that touch the same bytes, one of them writing, are ordered, and no
// node waits for more than one node of a lane.
func requireOrdered(t *testing.T, l lanes, after [][]uint32) {
	t.Helper()
	before := make([]map[int]bool, len(l.nodes)) // all that a node comes after
	newest := map[int]int{}
	for i, n := range l.nodes {
		before[i] = map[int]bool{}
		direct := []int{}
		if j, ok := newest[n.Lane]; ok {
			direct = append(direct, j)
		}
		waits := map[int]bool{}
		for _, j := range after[i] {
			require.Less(t, int(j), i)
			lane := l.nodes[j].Lane
			require.NotEqual(t, n.Lane, lane)
			require.False(t, waits[lane])
			waits[lane] = true
			direct = append(direct, int(j))
		}
		for _, j := range direct {
			before[i][j] = true
			for k := range before[j] {
				before[i][k] = true
			}
		}
		newest[n.Lane] = i
		for j := range i {
			if meet(l, l.nodes[j], n) {
				require.True(t, before[i][j], "node %d must come after %d", i, j)
			}
		}
	}
}

func meet(l lanes, a, b *op.Node) bool {
	touch := func(as, bs []*op.Value) bool {
		return slices.ContainsFunc(as, func(v *op.Value) bool {
			return slices.ContainsFunc(bs, func(w *op.Value) bool {
				x, y := l.at(v.Root), l.at(w.Root)
				return x.Slot == y.Slot && x.Offset < y.Offset+Bytes(w) && y.Offset < x.Offset+Bytes(v)
			})
		})
	}
	return touch(a.Out, b.Out) || touch(a.Out, b.In) || touch(a.In, b.Out)
}

// Params and absent operands are nobody's memory.
func TestHazardsOfParamsAndAbsentOperands(t *testing.T) {
	b := op.NewBuilder()
	x := op.NewParam("x", abi.F32, 0, 1)
	y, z := b.Fixed("y", abi.F32, 1), b.Fixed("z", abi.F32, 1)
	b.Unary(abi.UnaryNeg, y, x)
	b.Lane = 1
	b.Node(abi.OpUnary, op.Unary{Code: abi.UnaryNeg}, []*op.Value{z, nil}, []*op.Value{x, nil})
	offset := map[*op.Value]int64{y: 0, z: 4}
	require.Equal(t, [][]uint32{nil, nil}, Hazards(b.Graph.Nodes, func(v *op.Value) Address { return Address{Offset: offset[v]} }))
}

// One lane needs no words: its order is the list's.
func TestHazardsOfOneLane(t *testing.T) {
	n := newNetwork(tiny, false)
	Assign(n.Graph, precision["fp32"])
	for _, after := range Hazards(n.Graph.Nodes, func(*op.Value) Address { return Address{} }) {
		require.Empty(t, after)
	}
}

func BenchmarkHazards(b *testing.B) {
	n := newNetwork(llama7B, false)
	Assign(n.Graph, precision["bf16_autocast"])
	Lower(n.Graph, func(*op.Node) bool { return false })
	m := PlanMemory(n.Graph, 256, 0)
	places := map[*op.Value]Address{}
	for i, v := range n.Graph.Roots() {
		places[v] = Address{Slot: 1, Offset: int64(i) << 40}
		if offset, ok := m.Offset[v]; ok {
			places[v] = Address{Offset: offset}
		}
	}
	for i, node := range n.Graph.Nodes {
		node.Lane = i % 5 / 4
	}
	b.Logf("%d nodes", len(n.Graph.Nodes))
	for b.Loop() {
		Hazards(n.Graph.Nodes, func(v *op.Value) Address { return places[v] })
	}
}
