package reference

import (
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

// tensor is a row-major copy of one operand.
type tensor struct {
	dtype abi.DType
	shape []int64
	data  []float64
}

// call is what a kernel sees of a node: copies of its operands, nil where absent. out
// holds what was there before; after the kernel it is written back.
type call struct {
	attr     op.Attr
	in, out  []*tensor
	rounding bool
}

// kernel computes one op.
type kernel func(c *call) error

var kernels = map[abi.Op]kernel{
	abi.OpCopy: copyKernel, abi.OpFill: fill, abi.OpIota: iota_, abi.OpCast: cast,
	abi.OpUnary: unary, abi.OpBinary: binary, abi.OpSelect: selectKernel, abi.OpReduce: reduce,
	abi.OpGather: gather, abi.OpScatterAdd: scatterAdd, abi.OpMatmul: matmul, abi.OpRandom: random,
	abi.OpUnpack: unpack, abi.OpPack: pack, abi.OpQuantise: quantise, abi.OpDequantise: dequantise,
	abi.OpLinear: linear, abi.OpLinearGradInput: linearGradInput,
	abi.OpLinearGradWeight: linearGradWeight, abi.OpLinearGradAdapter: linearGradAdapter,
	abi.OpRmsnorm: rmsnorm, abi.OpRmsnormGrad: rmsnormGrad, abi.OpRope: rope,
	abi.OpSwiglu: swiglu, abi.OpSwigluGrad: swigluGrad,
	abi.OpAttention: attention, abi.OpAttentionGrad: attentionGrad,
	abi.OpLinearCrossEntropy: linearCrossEntropy, abi.OpDropoutMask: dropoutMask,
	abi.OpAdamw: adamw, abi.OpGlobalNorm: globalNorm, abi.OpGuard: guard,
	abi.OpScale: scale, abi.OpScaleGrad: scaleGrad,
}

func unwritten(n int64) []float64 {
	data := make([]float64, n)
	for i := range data {
		data[i] = math.NaN()
	}
	return data
}

// matrix is a tensor's data as rows; the view may be narrower than the tensor.
type matrix struct {
	rows, cols, stride int
	data               []float64
}

func newMatrix(rows, cols int) matrix {
	return matrix{rows, cols, cols, make([]float64, rows*cols)}
}

// matrix views a tensor [rows, cols].
func (t *tensor) matrix() matrix {
	rows, cols := int(t.shape[0]), int(t.shape[1])
	return matrix{rows, cols, cols, t.data}
}

// from is the data from an element on; nothing where there are no elements.
func (t *tensor) from(at int) []float64 { return t.data[min(at, len(t.data)):] }

func (m matrix) row(i int) []float64 { return m.data[i*m.stride:][:m.cols] }

// columns views columns [from, from + n).
func (m matrix) columns(from, n int) matrix {
	if m.rows == 0 {
		return matrix{0, n, m.stride, nil}
	}
	return matrix{m.rows, n, m.stride, m.data[from:]}
}

// each replaces every element by a function of it, in a new matrix.
func (m matrix) each(f func(float64) float64) matrix {
	out := newMatrix(m.rows, m.cols)
	for i := range m.rows {
		for j, x := range m.row(i) {
			out.row(i)[j] = f(x)
		}
	}
	return out
}

func (m matrix) transposed() matrix {
	out := newMatrix(m.cols, m.rows)
	for i := range m.rows {
		for j, x := range m.row(i) {
			out.row(j)[i] = x
		}
	}
	return out
}

// addProduct adds alpha a b to d; a and b are first rounded to the compute dtype.
func (c *call) addProduct(d, a, b matrix, alpha float64, compute abi.DType) {
	a, b = a.each(c.operand(compute)), b.each(c.operand(compute))
	for i := range a.rows {
		sum := make([]float64, b.cols)
		for k, x := range a.row(i) {
			for j, y := range b.row(k) {
				sum[j] += x * y
			}
		}
		for j := range sum {
			d.row(i)[j] += alpha * sum[j]
		}
	}
}

// operand rounds an input of a product to the compute dtype where the machine rounds.
func (c *call) operand(compute abi.DType) func(float64) float64 {
	return func(x float64) float64 {
		if c.rounding && compute != 0 {
			return round(compute, x)
		}
		return x
	}
}

// f32 is a constant as it crosses the border.
func f32(x float64) float64 { return float64(float32(x)) }
