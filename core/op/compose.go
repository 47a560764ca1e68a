package op

import (
	"slices"

	"trainer/core/abi"
)

// The words compositions are written in. Each makes a new value, f32 unless it says
// otherwise; inputs may have any float dtype and are broadcast to each other.

func (b *Builder) temp(shape ...int64) *Value { return b.Fixed("t", abi.F32, shape...) }

// scalar is a constant f32 [1].
func (b *Builder) scalar(x float64) *Value {
	v := b.temp(1)
	b.FillFloat(v, x)
	return v
}

// integer is a constant i32 [1].
func (b *Builder) integer(x int32) *Value {
	v := b.Fixed("i", abi.I32, 1)
	b.FillInt(v, x)
	return v
}

// iota is i32 [..], 0 1 2 .. along dim.
func (b *Builder) iota(dim int, shape ...int64) *Value {
	v := b.Fixed("iota", abi.I32, shape...)
	b.Iota(v, dim)
	return v
}

// cast is x in another dtype.
func (b *Builder) cast(dtype abi.DType, x *Value) *Value {
	v := b.Fixed("cast", dtype, x.Shape...)
	b.Cast(v, x)
	return v
}

func (b *Builder) apply(code uint32, x *Value) *Value {
	v := b.temp(x.Shape...)
	b.Unary(code, v, x)
	return v
}

func (b *Builder) affine(x *Value, alpha, beta float64) *Value {
	v := b.temp(x.Shape...)
	b.Affine(v, x, alpha, beta)
	return v
}

// combine is code(x, y): i32 where x is, else f32. Comparisons give 1 or 0.
func (b *Builder) combine(code uint32, x, y *Value) *Value {
	v := b.Fixed("t", computed(x), together(x.Shape, y.Shape)...)
	b.Binary(code, v, x, y)
	return v
}

func (b *Builder) plus(x, y *Value) *Value  { return b.combine(abi.BinaryAdd, x, y) }
func (b *Builder) minus(x, y *Value) *Value { return b.combine(abi.BinarySub, x, y) }
func (b *Builder) times(x, y *Value) *Value { return b.combine(abi.BinaryMul, x, y) }
func (b *Builder) over(x, y *Value) *Value  { return b.combine(abi.BinaryDiv, x, y) }

// choose is x where cond is not 0, else y; i32 where x is.
func (b *Builder) choose(cond, x, y *Value) *Value {
	v := b.Fixed("t", computed(x), together(cond.Shape, together(x.Shape, y.Shape))...)
	b.Select(v, cond, x, y)
	return v
}

// reduce is code over one dimension, which stays with extent 1.
func (b *Builder) reduce(code uint32, x *Value, dim int) *Value {
	shape := slices.Clone(x.Shape)
	shape[dim] = 1
	v := b.temp(shape...)
	b.Reduce(code, v, x)
	return v
}

// mean is the mean of each row of x [T,n], as [T,1].
func (b *Builder) mean(x *Value) *Value {
	return b.over(b.reduce(abi.ReduceSum, x, 1), b.scalar(float64(x.Shape[1])))
}

// product is alpha x y over the last two dimensions; leading ones are batches.
func (b *Builder) product(x, y *Value, alpha float64, compute abi.DType) *Value {
	last := len(x.Shape) - 1
	d := b.temp(append(slices.Clone(x.Shape[:last]), y.Shape[last])...)
	b.Node(abi.OpMatmul, MatMul{Alpha: alpha, Compute: compute}, vals(d), vals(x, y))
	return d
}

// addProduct emits d += alpha x y.
func (b *Builder) addProduct(d, x, y *Value, alpha float64, compute abi.DType) {
	b.Node(abi.OpMatmul, MatMul{Alpha: alpha, Beta: 1, Compute: compute}, vals(d), vals(x, y))
}

// plusProduct is sum + x y, where a nil sum is 0; it may be sum itself, changed.
func (b *Builder) plusProduct(sum, x, y *Value, compute abi.DType) *Value {
	if sum == nil {
		return b.product(x, y, 1, compute)
	}
	b.addProduct(sum, x, y, 1, compute)
	return sum
}

// sum emits dst = the sum of terms, of which nil ones count nothing. It is rounded once,
// to dst's dtype.
func (b *Builder) sum(dst *Value, terms ...*Value) {
	terms = slices.DeleteFunc(terms, func(v *Value) bool { return v == nil })
	last := len(terms) - 1
	if last == 0 {
		b.Cast(dst, fit(terms[0], dst))
		return
	}
	sum := terms[0]
	for _, v := range terms[1:last] {
		sum = b.plus(sum, v)
	}
	b.Binary(abi.BinaryAdd, dst, sum, terms[last])
}

// compact is v, or a copy of it without gaps, which may be reshaped.
func (b *Builder) compact(v *Value) *Value {
	if v.IsContiguous() {
		return v
	}
	c := b.Fixed(v.Name, v.Type(), v.Shape...)
	b.Copy(c, v)
	return c
}

// table is f32 [n,1] of constants, whose rows can be gathered.
func (b *Builder) table(values []float64) *Value {
	v := b.temp(int64(len(values)), 1)
	b.fillEach(v, values)
	return v
}

// fillEach sets v, of one dimension or n rows, element by element.
func (b *Builder) fillEach(v *Value, values []float64) {
	for i, x := range values {
		b.FillFloat(v.Slice(0, int64(i), int64(i)+1), x)
	}
}

// computed is the dtype in which elementwise ops compute on x.
func computed(x *Value) abi.DType {
	if x.Type() == abi.I32 {
		return abi.I32
	}
	return abi.F32
}

// together is the shape two shapes broadcast to.
func together(x, y []int64) []int64 {
	if len(x) < len(y) {
		x, y = y, x
	}
	shape := slices.Clone(x)
	for i, d := range y {
		if at := len(x) - len(y) + i; shape[at] == 1 {
			shape[at] = d
		}
	}
	return shape
}

func columns(v *Value, from, n int64) *Value { return v.Slice(1, from, from+n) }

func transposed(v *Value) *Value { return v.Transpose(len(v.Shape)-1, len(v.Shape)-2) }
