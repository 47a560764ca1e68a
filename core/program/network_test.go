package program

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/reference"
)

// sizes of a small model of blocks as llama has them.
type sizes struct{ layers, batch, seq, hidden, heads, groups, width, inner int64 }

var (
	tiny      = sizes{layers: 3, batch: 2, seq: 3, hidden: 8, heads: 2, groups: 1, width: 4, inner: 6}
	llama7B   = sizes{layers: 32, batch: 4, seq: 1024, hidden: 4096, heads: 32, groups: 32, width: 128, inner: 11008}
	llama70B  = sizes{layers: 80, batch: 1, seq: 2048, hidden: 8192, heads: 64, groups: 8, width: 128, inner: 28672}
	precision = map[string]Precision{}
)

func init() {
	for _, p := range precisions {
		precision[p.Name] = p
	}
}

// network is the training step of a model's body, adapters on frozen NF4 or all trained.
type network struct {
	*op.Builder
	sizes
	full    bool
	ids     *op.Value
	draw    op.Draw
	trained map[*op.Value]*op.Value
	states  []*op.Value // in order of making
	hidden  *op.Value
	grad    *op.Value
}

// newNetwork emits forward and backward, without dtypes where roles give them.
func newNetwork(s sizes, full bool) *network {
	rows := s.batch * s.seq
	input := func(name string, shape ...int64) *op.Value {
		return op.NewValue(name, op.Input, op.Fixed, abi.I32, shape...)
	}
	n := &network{Builder: op.NewBuilder(), sizes: s, full: full, ids: input("ids", rows), trained: map[*op.Value]*op.Value{}}
	n.draw = op.Draw{Samples: input("samples", rows), Positions: input("positions", rows), Seed: op.NewParam("seed", abi.I32, 8, 2), Step: op.NewParam("step", abi.I32, 16, 1)}
	h := n.Value("embedded", op.Residual, rows, s.hidden)
	n.Gather(h, n.weight("embedding", 10, s.hidden, true), n.ids)
	n.hidden = n.body(h)
	forward := n.Graph.Nodes
	n.grad = n.Like("d.hidden", n.hidden)
	scratch := n.Fixed("head", abi.U8, 1000)
	n.Node(Cut, nil, []*op.Value{scratch, n.grad}, []*op.Value{n.hidden})
	Gradient(n.Builder, forward, map[*op.Value]*op.Value{n.hidden: n.grad}, n.trained)
	return n
}

func (n *network) state(name string, role op.Role, shape ...int64) *op.Value {
	v := op.NewValue(name, op.State, role, 0, shape...)
	n.states = append(n.states, v)
	return v
}

// weight is trained where it is told to.
func (n *network) weight(name string, out, in int64, train bool) *op.Value {
	if !train {
		return n.state(name, op.Frozen, out, in)
	}
	v := n.state(name, op.Trainable, out, in)
	n.trained[v] = n.state(name+".grad", op.Gradient, out, in)
	return v
}

func (n *network) body(h *op.Value) *op.Value {
	rows := n.batch * n.seq
	frequencies := op.NewValue("inv_freq", op.Constant, op.Fixed, abi.F32, n.width/2)
	n.states = append(n.states, frequencies)
	var branch *op.Value
	norm := func() (y *op.Value) {
		w := n.state("norm", op.Trainable, n.sizes.hidden)
		n.trained[w] = n.state("norm.grad", op.Gradient, n.sizes.hidden)
		if branch == nil {
			y, h = n.RMSNorm(h, nil, w, 1e-5)
		} else {
			y, h = n.RMSNorm(branch, h, w, 1e-5)
		}
		return y
	}
	for layer := range n.layers {
		n.Block = int(layer)
		y := norm()
		h.Keep = true
		all := n.heads + 2*n.groups
		qkv := n.project(y, n.heads*n.width, n.groups*n.width, n.groups*n.width)
		rope := op.RoPE{Heads: n.heads + n.groups, RotaryDim: n.width, Scale: 1}
		r := n.RoPE(rope, qkv.Reshape(rows, all, n.width), n.draw.Positions, frequencies).Reshape(n.batch, n.seq, all, n.width)
		o := n.Attention(op.Attention{Scale: 0.5, Causal: true},
			op.Attend{Q: r.Slice(2, 0, n.heads), K: r.Slice(2, n.heads, n.heads+n.groups), V: r.Slice(2, n.heads+n.groups, all)})
		branch = n.project(o.Reshape(rows, n.heads*n.width), n.sizes.hidden)
		y = norm()
		gateUp := n.project(y, n.inner, n.inner)
		branch = n.project(n.SwiGLU(gateUp.Slice(1, 0, n.inner), gateUp.Slice(1, n.inner, 2*n.inner)), n.sizes.hidden)
	}
	n.Block = -1
	return norm()
}

func (n *network) project(x *op.Value, widths ...int64) *op.Value {
	k := x.Shape[1]
	a := op.Linear{}
	for _, width := range widths {
		p := op.Projection{Weight: op.DenseWeight(n.weight("w", width, k, n.full))}
		if !n.full {
			p.Adapter = &op.Adapter{A: n.weight("a", 2, k, true), B: n.weight("b", width, 2, true), Scale: 0.5}
		}
		a.Projections = append(a.Projections, p)
	}
	if n.full {
		return n.Linear(a, x, nil)
	}
	a.KeepScale = 2
	return n.Linear(a, x, n.DropoutMask(op.SiteOf("dropout", "w"), 0.5, k, n.draw))
}

// contents fills everything the network reads, the same for equal sizes.
func (n *network) contents() map[*op.Value][]float64 {
	r := rand.New(rand.NewPCG(1, 2))
	data := map[*op.Value][]float64{}
	fill := func(draw func() float64, vs ...*op.Value) {
		for _, v := range vs {
			data[v] = make([]float64, v.Count())
			for i := range data[v] {
				data[v][i] = draw()
			}
		}
	}
	fill(func() float64 { return r.NormFloat64() / 2 }, n.states...)
	fill(r.NormFloat64, n.grad)
	fill(func() float64 { return float64(r.IntN(10)) }, n.ids, n.draw.Samples, n.draw.Positions, n.draw.Seed, n.draw.Step)
	return data
}

// withoutCuts is a graph in which nothing runs at the cuts.
func withoutCuts(g *op.Graph) *op.Graph {
	out := &op.Graph{}
	for _, n := range g.Nodes {
		if n.Op != Cut {
			out.Nodes = append(out.Nodes, n)
		}
	}
	return out
}

// results runs the network and reads its hidden state and every accumulator.
func (n *network) results(t *testing.T) (all [][]float64) {
	t.Helper()
	m := reference.New()
	for v, data := range n.contents() {
		m.Set(v, data)
	}
	require.NoError(t, m.Run(withoutCuts(n.Graph)))
	all = append(all, m.Get(n.hidden))
	for _, s := range n.states {
		if acc := n.trained[s]; acc != nil {
			all = append(all, m.Get(acc))
		}
	}
	return all
}

func requireClose(t *testing.T, want, got [][]float64, tolerance float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.InDeltaSlice(t, want[i], got[i], tolerance, "result %d", i)
	}
}
