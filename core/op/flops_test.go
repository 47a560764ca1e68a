package op_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
)

func flops(g *op.Graph) (total float64) {
	for _, n := range g.Nodes {
		total += op.FLOPs(n)
	}
	return total
}

// sameFLOPs holds an op's count against that of its composition. Attention alone leaves out
// what is masked, and what no output asks for.
func (x *trial) sameFLOPs(t *testing.T, composed *op.Graph) {
	t.Helper()
	for _, n := range x.Graph.Nodes {
		if _, ok := n.Attr.(op.Attention); ok {
			require.LessOrEqual(t, flops(x.Graph), flops(composed))
			return
		}
	}
	require.Equal(t, flops(composed), flops(x.Graph))
}

func value(d abi.DType, shape ...int64) *op.Value {
	return op.NewValue("v", op.Transient, op.Fixed, d, shape...)
}

// A causal mask leaves half, a window a band; queries behind an offset see what came before.
func TestFLOPsOfMaskedAttention(t *testing.T) {
	count := func(queries, keys int64, offset *op.Value, a op.Attention) float64 {
		q, kv := value(abi.BF16, 2, queries, 4, 8), value(abi.BF16, 2, keys, 2, 8)
		return op.FLOPs(&op.Node{Op: abi.OpAttention, Attr: a, In: []*op.Value{q, kv, kv, nil, nil, offset}, Out: []*op.Value{q, nil}})
	}
	const pair = 4 * 2 * 4 * 8 // two products, heads of both rows, features
	require.Equal(t, pair*36.0, count(6, 6, nil, op.Attention{}))
	require.Equal(t, pair*21.0, count(6, 6, nil, op.Attention{Causal: true}))
	require.Equal(t, pair*(1+2+2+2+2+2.0), count(6, 6, nil, op.Attention{Causal: true, Window: 2}))
	require.Equal(t, pair*10.0, count(1, 10, value(abi.I32, 1), op.Attention{Causal: true}))
	q := value(abi.BF16, 1, 6, 4, 8)
	grad := &op.Node{Op: abi.OpAttentionGrad, Attr: op.Attention{}, In: []*op.Value{q, q, nil, q, q, q, nil, nil, nil}, Out: []*op.Value{q, q, q}}
	require.Equal(t, 5*2*4*8*36.0, op.FLOPs(grad))
	grad.Out = []*op.Value{nil, nil, q}
	require.Equal(t, 2*2*4*8*36.0, op.FLOPs(grad))
	require.Zero(t, op.FLOPs(&op.Node{Op: abi.OpCopy, In: []*op.Value{q}, Out: []*op.Value{q}}))
}

func TestBytes(t *testing.T) {
	b := op.NewBuilder()
	x, y := value(abi.BF16, 4, 6), value(abi.F32, 4, 6)
	b.Cast(y, x)
	b.Cast(y, value(abi.F32, 1, 6).Broadcast(4, 6))
	b.Gather(y, value(abi.BF16, 1000, 6), value(abi.I32, 4))
	b.ScatterAdd(value(abi.F32, 1000, 6), y, value(abi.I32, 4))
	b.MatMul(value(abi.F32, 4, 4), y, y.Transpose(0, 1), 1, 1)
	want := []float64{24 * (2 + 4), 6*4 + 24*4, 24*(2+4) + 4*4, 24*4 + 4*4 + 2*24*4, 2*24*4 + 2*16*4}
	for i, n := range b.Graph.Nodes {
		require.Equal(t, want[i], op.Bytes(n), "node %d", i)
	}
}
