package op_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/program"
)

// differentiable is a trial whose trained states are collected.
type differentiable struct {
	*trial
	trained map[*op.Value]*op.Value
	order   []*op.Value
}

// train is a state whose gradient is checked.
func (x *differentiable) train(shape ...int64) *op.Value {
	v, acc := x.state(abi.F32, shape...), x.state(abi.F32, shape...)
	x.trained[v], x.order = acc, append(x.order, v)
	return v
}

// leaf is an activation whose gradient is checked: rows gathered from a trained table, one
// of them twice.
func (x *differentiable) leaf(shape ...int64) *op.Value {
	width := int64(1)
	for _, d := range shape[1:] {
		width *= d
	}
	index := x.set(op.NewValue("index", op.Input, op.Fixed, abi.I32, shape[0]), constant(0))
	for i := range x.data[index] {
		x.data[index][i] = float64(i / 2 * 2)
	}
	y := x.Value("leaf", op.Activation, shape[0], width)
	x.Gather(y, x.train(shape[0], width), index)
	return y.Reshape(shape...)
}

// checkGradient compares program.Gradient of sum(dy y), where y is what forward makes,
// with central differences, for every element of every trained state.
func checkGradient(t *testing.T, seed uint64, forward func(x *differentiable) *op.Value) {
	t.Helper()
	x := &differentiable{plain(seed), map[*op.Value]*op.Value{}, nil}
	y := forward(x)
	program.Assign(x.Graph, fp32(t))
	nodes := slices.Clone(x.Graph.Nodes)
	dy := x.normal(y.Shape...)
	program.Gradient(x.Builder, nodes, map[*op.Value]*op.Value{y: dy}, x.trained)
	program.Assign(x.Graph, fp32(t))
	m := x.run(t, x.Graph)
	loss := func() (sum float64) {
		for i, v := range x.run(t, &op.Graph{Nodes: nodes}).Get(y) {
			sum += v * x.data[dy][i]
		}
		return sum
	}
	require.NotEmpty(t, x.order)
	for s, state := range x.order {
		acc := x.trained[state]
		for i, got := range m.Get(acc) {
			want := slope(&x.data[state][i], loss)
			require.InDelta(t, want, got-x.data[acc][i], 1e-6*max(1, math.Abs(want)), "state %d %v element %d", s, state.Shape, i)
		}
	}
}

// slope is the derivative of f by *at, from five points.
func slope(at *float64, f func() float64) float64 {
	const h = 1e-4
	x := *at
	value := func(k float64) float64 {
		*at = x + k*h
		return f()
	}
	d := (8*(value(1)-value(-1)) - (value(2) - value(-2))) / (12 * h)
	*at = x
	return d
}

func fp32(t *testing.T) program.Precision {
	t.Helper()
	p, err := program.PrecisionByName("fp32")
	require.NoError(t, err)
	return p
}

// gradients runs checkGradient for several seeds.
func gradients(t *testing.T, forward func(x *differentiable) *op.Value) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkGradient(t, seed, forward) })
	}
}

func TestGradientOfElementwise(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		a, b := x.leaf(3, 4), x.leaf(3, 4)
		y := x.Add(a, b)
		for _, code := range []uint32{abi.BinarySub, abi.BinaryMul, abi.BinaryAdd} {
			next := x.Like("next", y)
			x.Binary(code, next, y, a) // a is used again and again
			y = next
		}
		cast, copied := x.Like("cast", y), x.Like("copied", y)
		x.Cast(cast, y)
		x.Copy(copied, cast)
		return copied
	})
}

func TestGradientOfReduceAndMatMul(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		a, b := x.leaf(2, 3, 4), x.leaf(2, 5, 4)
		product := x.Value("product", op.Activation, 2, 3, 5)
		x.MatMul(product, a, b.Transpose(1, 2), 0.5, 0)
		sum := x.Value("sum", op.Activation, 2, 1, 5)
		x.Reduce(abi.ReduceSum, sum, product)
		return sum
	})
}

func TestGradientOfGatherFromComputedRows(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		rows := x.Add(x.leaf(4, 3), x.leaf(4, 3))
		picked := x.Value("picked", op.Activation, 6, 3)
		x.Gather(picked, rows, x.in(abi.I32, func() float64 { return float64(x.IntN(5) - 1) }, 6))
		return picked
	})
}

// Parts of one value that are used twice, and the whole after its parts.
func TestGradientOfParts(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		v := x.Add(x.leaf(3, 4), x.leaf(3, 4))
		twice := x.Value("twice", op.Activation, 3, 4)
		x.Binary(abi.BinaryMul, twice, v, v)
		left, right := v.Slice(1, 0, 2), v.Slice(1, 2, 4)
		a, b := x.Value("a", op.Activation, 3, 2), x.Value("b", op.Activation, 3, 2)
		x.Binary(abi.BinaryMul, a, left, right)
		x.Binary(abi.BinaryMul, b, a, left)
		return x.both(b, twice)
	})
}

// both is a product of everything in a and the sum of b's rows, so that both count.
func (x *differentiable) both(a, b *op.Value) *op.Value {
	sum := x.Value("sum", op.Activation, b.Shape[0], 1)
	x.Reduce(abi.ReduceSum, sum, b)
	y := x.Value("y", op.Activation, a.Shape[0], a.Shape[0])
	joined := x.Value("joined", op.Activation, a.Shape[0], 1)
	x.Reduce(abi.ReduceSum, joined, a)
	x.MatMul(y, joined, sum.Transpose(0, 1), 1, 0)
	return y
}

func TestGradientOfRMSNorm(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		weight := x.normal(5)
		if x.chance() {
			weight = x.train(5)
		}
		in := x.leaf(4, 5)
		if x.chance() {
			in = x.leaf(2, 2, 5).Reshape(4, 5)
		}
		y, h := x.RMSNorm(in, x.maybe(x.leaf(4, 5)), weight, 1e-5)
		if x.chance() {
			return x.Add(y, h) // the residual goes on
		}
		return y
	})
}

func TestGradientOfRoPE(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		a := op.RoPE{Heads: x.size(3), RotaryDim: 4, Scale: 1.25, Inverse: x.chance()}
		return x.RoPE(a, x.leaf(3, 3, 6), x.ints(20, 3), x.in(abi.F32, x.Float64, 2))
	})
}

func TestGradientOfSwiGLU(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		gateUp := x.leaf(3, 8)
		return x.SwiGLU(gateUp.Slice(1, 0, 4), gateUp.Slice(1, 4, 8))
	})
}

func TestGradientOfScale(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		in := x.normal(4, 6)
		if x.chance() {
			in = x.leaf(4, 6)
		}
		factors, divisor := x.Fixed("g", abi.F32, 6), x.in(abi.F32, func() float64 { return 1 + x.Float64() }, 6)
		x.Binary(abi.BinaryDiv, factors.Slice(0, 0, 2), x.train(2), divisor.Slice(0, 0, 2))
		x.Binary(abi.BinaryMul, factors.Slice(0, 2, 6), divisor.Slice(0, 2, 6), x.train(4))
		return x.Scale(in, factors)
	})
}

func TestGradientOfAttention(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		_, in := x.attend()
		a := op.Attention{Scale: 0.7, Causal: x.chance(), Window: x.Int64N(5)}
		leaf := func(like *op.Value) *op.Value { return x.leaf(like.Shape...) }
		if heads, groups := in.Q.Shape[2], in.K.Shape[2]; in.Q.IsView() {
			s := in.Q.Shape
			qkv := x.leaf(s[0], s[1], heads+2*groups, s[3])
			in.Q, in.K, in.V = qkv.Slice(2, 0, heads), qkv.Slice(2, heads, heads+groups), qkv.Slice(2, heads+groups, heads+2*groups)
		} else {
			in.Q, in.K, in.V = leaf(in.Q), leaf(in.K), leaf(in.V)
		}
		return x.Attention(a, in)
	})
}

// A value that is query, key and value at once.
func TestGradientOfSelfSharedAttention(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		v := x.leaf(2, 4, 2, 3)
		return x.Attention(op.Attention{Scale: 0.5, Causal: true}, op.Attend{Q: v, K: v, V: v})
	})
}

func TestGradientOfLinear(t *testing.T) {
	gradients(t, func(x *differentiable) *op.Value {
		rows := x.size(5)
		a, mask := x.linear(t, rows)
		a.Compute = 0
		for i := range a.Projections {
			x.trainProjection(&a.Projections[i])
		}
		k := a.Projections[0].Weight.In
		in := x.normal(rows, k)
		if x.chance() || len(x.order) == 0 {
			in = x.leaf(rows, k)
		}
		y := x.Linear(a, in, mask)
		if x.chance() {
			return x.both(y, in) // another use of x comes later: its gradient is folded in
		}
		return y
	})
}

// trainProjection replaces some of a projection's operands by trained states.
func (x *differentiable) trainProjection(p *op.Projection) {
	if p.Weight.Dense() != nil && x.chance() {
		p.Weight = op.DenseWeight(x.train(p.Weight.Out, p.Weight.In))
	}
	if p.Bias != nil && x.chance() {
		p.Bias = x.train(p.Weight.Out)
	}
	if p.Adapter != nil {
		p.Adapter.A, p.Adapter.B = x.train(p.Adapter.A.Shape...), x.train(p.Adapter.B.Shape...)
	}
}

// A block as models have it: two norms on a residual stream, attention on slices of one
// projection, a gated branch.
func TestGradientOfBlock(t *testing.T) {
	for seed := range uint64(2) {
		checkGradient(t, seed, func(x *differentiable) *op.Value { return block(x, x.leaf(6, 8)) })
	}
}

func block(x *differentiable, h *op.Value) *op.Value {
	project := func(in *op.Value, widths ...int64) *op.Value {
		a := op.Linear{KeepScale: 2}
		for _, n := range widths {
			k := in.Shape[1]
			a.Projections = append(a.Projections, op.Projection{Weight: op.DenseWeight(x.train(n, k)), Adapter: &op.Adapter{A: x.train(2, k), B: x.train(n, 2), Scale: 0.5}})
		}
		mask := x.DropoutMask(op.SiteOf("dropout", "w"), 0.5, in.Shape[1], op.Draw{Samples: x.ints(9, 6), Positions: x.ints(9, 6), Seed: x.ints(9, 2), Step: x.ints(9, 1)})
		return x.Linear(a, in, mask)
	}
	y, h := x.RMSNorm(h, nil, x.train(8), 1e-5)
	qkv := project(y, 8, 4, 4)
	r := x.RoPE(op.RoPE{Heads: 3, RotaryDim: 4, Scale: 1}, qkv.Reshape(6, 4, 4), x.ints(6, 6), x.in(abi.F32, x.Float64, 2)).Reshape(2, 3, 4, 4)
	o := x.Attention(op.Attention{Scale: 0.5, Causal: true}, op.Attend{Q: r.Slice(2, 0, 2), K: r.Slice(2, 2, 3), V: r.Slice(2, 3, 4)})
	y, h = x.RMSNorm(project(o.Reshape(6, 8), 8), h, x.train(8), 1e-5)
	gateUp := project(y, 5, 5)
	y, h = x.RMSNorm(project(x.SwiGLU(gateUp.Slice(1, 0, 5), gateUp.Slice(1, 5, 10)), 8), h, x.train(8), 1e-5)
	return x.Add(y, h)
}

// The loss op gives its gradients at once, times gradScale.
func TestGradientOfLinearCrossEntropy(t *testing.T) {
	for seed := range uint64(12) {
		x := plain(seed)
		rows, k, n := x.size(5), x.size(4), x.size(6)
		h, w := x.state(abi.F32, rows, k), x.state(abi.F32, n, k)
		labels := x.in(abi.I32, func() float64 { return float64(x.Int64N(n+1) - 1) }, rows)
		loss, dh, dw := x.Fixed("loss", abi.F32, 1), x.Fixed("dh", abi.F32, rows, k), x.state(abi.F32, n, k)
		scale := x.in(abi.F32, constant(0.25), 1)
		x.LinearCrossEntropy(loss, dh, dw, h, labels, scale, op.DenseWeight(w))
		m := x.run(t, x.Graph)
		f := func() float64 { return x.run(t, x.Graph).Get(loss)[0] }
		for i, got := range m.Get(dh) {
			require.InDelta(t, slope(&x.data[h][i], f)*0.25, got, 1e-7)
		}
		for i, got := range m.Get(dw) {
			require.InDelta(t, slope(&x.data[w][i], f)*0.25, got-x.data[dw][i], 1e-7)
		}
	}
}

// Nothing is computed for what is not trained.
func TestGradientSkipsFrozenWeights(t *testing.T) {
	x := &differentiable{plain(1), map[*op.Value]*op.Value{}, nil}
	frozen := op.DenseWeight(x.normal(4, 4))
	y := x.Linear(op.Linear{Projections: []op.Projection{{Weight: frozen}}}, x.normal(3, 4), nil)
	a := op.Adapter{A: x.train(2, 4), B: x.train(4, 2), Scale: 1}
	z := x.Linear(op.Linear{Projections: []op.Projection{{Weight: frozen, Adapter: &a}}}, y, nil)
	forward := x.Graph.Nodes
	program.Gradient(x.Builder, forward, map[*op.Value]*op.Value{z: x.normal(3, 4)}, x.trained)
	var ops []abi.Op
	for _, n := range x.Graph.Nodes[len(forward):] {
		ops = append(ops, n.Op)
		require.Equal(t, op.Backward, n.Phase)
		if n.Op == abi.OpLinearGradInput {
			require.Nil(t, n.Out[0], "nobody needs the gradient of a frozen linear's output")
		}
	}
	require.Equal(t, []abi.Op{abi.OpLinearGradInput, abi.OpLinearGradAdapter}, ops)
}
