package training

import (
	"trainer/core/abi"
	"trainer/core/model"
	"trainer/core/op"
)

// dora is a LoRA pair that learns directions, and a magnitude that learns the length of each
// row of W' = W + s B A: y = (m / |W'|) (W x + s B A drop(x)) + bias. The gradient takes the
// lengths |W'| for constants. (Liu et al. 2024)
type dora struct {
	lora
	magnitude *op.Value // m [out]
	squares   *op.Value // |W|^2 of each row, f32 [out]
	weight    *op.Weight
}

func hangDoRA(n *Network, spec model.Spec) adapter {
	if spec.Part != model.Projection {
		return nil
	}
	module, out := moduleOf(spec.Name), spec.Shape[0]
	return dora{newLoRA(n, spec), op.NewValue(module+".lora_magnitude_vector", op.State, op.Trainable, 0, out),
		op.NewValue(module+".squares", op.Constant, op.Fixed, abi.F32, out), n.matrices[spec.Name]}
}

func (d dora) trained() []*op.Value { return append(d.lora.trained(), d.magnitude) }

func (d dora) derived() []*op.Value { return []*op.Value{d.squares} }

// start measures the rows of the base as products see it, dequantised. The magnitude starts
// at their lengths, as PEFT has it.
func (d dora) start(b *op.Builder, s scalars) {
	d.lora.start(b, s)
	w := d.weight.Dense()
	if w == nil {
		w = b.Value(d.weight.Name+".dense", op.Activation, d.weight.Out, d.weight.In)
		b.Dequantise(w, d.weight)
	}
	step := max(1, startElements/d.weight.In)
	for from := int64(0); from < d.weight.Out; from += step {
		rows := w.Slice(0, from, min(d.weight.Out, from+step))
		square := b.Fixed("square", abi.F32, rows.Shape...)
		b.Binary(abi.BinaryMul, square, rows, rows)
		b.Reduce(abi.ReduceSum, d.squares.Slice(0, from, from+rows.Shape[0]).Split(0, rows.Shape[0], 1), square)
	}
	b.Unary(abi.UnarySqrt, d.magnitude, d.squares)
}

// factors emits m / |W'|.
func (d dora) factors(b *op.Builder, g *op.Value) bool {
	length := d.length(b)
	b.Binary(abi.BinaryDiv, g, d.magnitude, length)
	return true
}

// least is what a row's squared length counts as at least: a row of zeros stays one.
const least = 1e-30

// length emits |W'| f32 [out] without forming W'. With P = A W^T, a product like any other,
// |W + s B A|^2 = |W|^2 + 2 s <P^T + s/2 B A A^T, B>, row by row.
func (d dora) length(b *op.Builder) *op.Value {
	b.Detached = true
	defer func() { b.Detached = false }()
	rank, out, f32 := d.A.Shape[0], d.weight.Out, abi.F32
	a := b.Value("a", op.Activation, d.A.Shape...)
	b.Cast(a, d.A)
	across := b.Linear(op.Linear{Projections: []op.Projection{{Weight: d.weight}}}, a, nil)
	gram, up, inner := b.Value("gram", op.Activation, rank, rank), b.Value("b", op.Activation, out, rank), b.Fixed("inner", f32, out, rank)
	b.MatMul(gram, a, a.Transpose(0, 1), 1, 0)
	b.Cast(up, d.B)
	b.Cast(inner, across.Transpose(0, 1))
	b.MatMul(inner, up, gram, d.Scale/2, 1)
	products, sum := b.Fixed("products", f32, out, rank), b.Fixed("sum", f32, out, 1)
	b.Binary(abi.BinaryMul, products, inner, d.B)
	b.Reduce(abi.ReduceSum, sum, products)
	twice, squares, length := b.Fixed("twice", f32, out), b.Fixed("squares", f32, out), b.Fixed("length", f32, out)
	b.Affine(twice, sum.Squeeze(1), 2*d.Scale, 0)
	b.Binary(abi.BinaryAdd, squares, twice, d.squares)
	floor := b.Fixed("least", f32, 1)
	b.FillFloat(floor, least)
	b.Binary(abi.BinaryMax, squares, squares, floor)
	b.Unary(abi.UnarySqrt, length, squares)
	return length
}
