package op

import (
	"slices"

	"trainer/core/abi"
)

// Copy emits dst = src, element by element; dtypes are equal.
func (b *Builder) Copy(dst, src *Value) { b.Node(abi.OpCopy, nil, vals(dst), vals(src)) }

// Cast emits dst = src in dst's dtype.
func (b *Builder) Cast(dst, src *Value) { b.Node(abi.OpCast, nil, vals(dst), vals(src)) }

// FillFloat sets every element of a float value.
func (b *Builder) FillFloat(dst *Value, x float64) {
	b.Node(abi.OpFill, Fill{Bits: f32(x)}, vals(dst), nil)
}

// FillInt sets every element of an integer value.
func (b *Builder) FillInt(dst *Value, x int32) {
	b.Node(abi.OpFill, Fill{Bits: uint32(x)}, vals(dst), nil)
}

// Unary emits dst = code(src).
func (b *Builder) Unary(code uint32, dst, src *Value) {
	b.Node(abi.OpUnary, Unary{Code: code}, vals(dst), vals(src))
}

// Affine emits dst = src * alpha + beta.
func (b *Builder) Affine(dst, src *Value, alpha, beta float64) {
	b.Node(abi.OpUnary, Unary{Code: abi.UnaryAffine, Alpha: alpha, Beta: beta}, vals(dst), vals(src))
}

// Binary emits dst = code(x, y); inputs of smaller shape are broadcast.
func (b *Builder) Binary(code uint32, dst, x, y *Value) {
	b.Node(abi.OpBinary, Binary{Code: code}, vals(dst), vals(fit(x, dst), fit(y, dst)))
}

// Select emits dst = cond != 0 ? x : y; inputs of smaller shape are broadcast.
func (b *Builder) Select(dst, cond, x, y *Value) {
	b.Node(abi.OpSelect, nil, vals(dst), vals(fit(cond, dst), fit(x, dst), fit(y, dst)))
}

// Iota emits dst[..i..] = i along a dimension.
func (b *Builder) Iota(dst *Value, dim int) { b.Node(abi.OpIota, Iota{Dim: dim}, vals(dst), nil) }

// Add makes x + y, the sum of two values of one shape.
func (b *Builder) Add(x, y *Value) *Value {
	sum := b.Like(x.Name+"+"+y.Name, x)
	b.Binary(abi.BinaryAdd, sum, x, y)
	return sum
}

func vals(vs ...*Value) []*Value { return vs }

func fit(v, dst *Value) *Value {
	if slices.Equal(v.Shape, dst.Shape) {
		return v
	}
	return v.Broadcast(dst.Shape...)
}

// backwardCast is that of copies too, which know no other dtype.
func backwardCast(w *Backprop, n *Node) {
	dy := w.Grad(n.Out[0])
	if sum := w.Accumulator(n.In[0]); sum != nil {
		w.Binary(abi.BinaryAdd, sum, sum, dy)
		return
	}
	dx := w.Dest(n.In[0])
	w.Cast(dx, dy)
	w.Done(n.In[0], dx)
}

// backwardBinary covers what models add up, multiply and divide by constants: inputs of
// dst's full shape. An input may be a trained state.
func backwardBinary(w *Backprop, n *Node) {
	dy, code := w.Grad(n.Out[0]), n.Attr.(Binary).Code
	for i, v := range n.In {
		if !w.Needs(v) {
			continue
		}
		if sum := w.Accumulator(v); sum != nil {
			w.accumulateBinary(sum, dy, n, i)
			continue
		}
		switch {
		case code == abi.BinaryAdd || code == abi.BinarySub && i == 0:
			w.Pass(v, dy)
		case code == abi.BinarySub:
			dx := w.Dest(v)
			w.Unary(abi.UnaryNeg, dx, dy)
			w.Done(v, dx)
		case code == abi.BinaryMul:
			dx := w.Dest(v)
			w.Binary(abi.BinaryMul, dx, dy, n.In[1-i])
			w.Done(v, dx)
		case code == abi.BinaryDiv && i == 0:
			dx := w.Dest(v)
			w.Binary(abi.BinaryDiv, dx, dy, n.In[1])
			w.Done(v, dx)
		default:
			panic("op: this elementwise op has no gradient")
		}
	}
}

// accumulateBinary adds the gradient of input i, a trained state, to its accumulator.
func (w *Backprop) accumulateBinary(sum, dy *Value, n *Node, i int) {
	switch code := n.Attr.(Binary).Code; {
	case code == abi.BinaryAdd || code == abi.BinarySub && i == 0:
		w.Binary(abi.BinaryAdd, sum, sum, dy)
	case code == abi.BinaryMul:
		w.Binary(abi.BinaryAdd, sum, sum, w.times(dy, n.In[1-i]))
	case code == abi.BinaryDiv && i == 0:
		w.Binary(abi.BinaryAdd, sum, sum, w.over(dy, n.In[1]))
	default:
		panic("op: this elementwise op has no gradient")
	}
}
