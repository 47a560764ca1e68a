package conformance

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
)

// Tolerance is how far an op's result may lie from the reference:
//
//	|got - want| <= (Rel a + o) |want| + (Abs a sqrt(L) + Low s) S
//
// a is the unit roundoff of arithmetic: 2^-24 for f32, coarser for products where the
// device's numerics class says so. o is that of the output's dtype, where it is 16 bits
// wide. s is the coarsest unit roundoff among the operands' dtypes and the compute dtype, 0
// where all are f32: fused ops may or may not round what lies between two products. L
// is the case's accumulation length and S the largest finite |want| of the output.
type Tolerance struct {
	Op       string  `json:"op"`
	Rel      float64 `json:"rel"`
	Abs      float64 `json:"abs"`
	Low      float64 `json:"low"`
	Products bool    `json:"products"` // the numerics class of f32 products applies
	Flush    bool    `json:"flush"`    // results below the smallest normal number may be 0
}

// tolerances are published data; an op that is not here is exact.
var tolerances = []Tolerance{
	{Op: "unary", Rel: 8, Flush: true},
	{Op: "binary", Rel: 8, Flush: true},
	{Op: "reduce", Rel: 2, Abs: 2},
	{Op: "scatter_add", Rel: 2, Abs: 2, Low: 4},
	{Op: "matmul", Rel: 2, Abs: 2, Products: true},
	{Op: "dequantise", Rel: 4},
	{Op: "quantise", Rel: 4, Abs: 1},
	{Op: "linear", Rel: 4, Abs: 4, Low: 2, Products: true},
	{Op: "linear_grad_input", Rel: 4, Abs: 4, Low: 2, Products: true},
	{Op: "linear_grad_weight", Rel: 4, Abs: 4, Low: 2, Products: true},
	{Op: "linear_grad_adapter", Rel: 4, Abs: 4, Low: 2, Products: true},
	{Op: "rmsnorm", Rel: 16, Abs: 1, Low: 1},
	{Op: "rmsnorm_grad", Rel: 16, Abs: 4, Low: 2},
	{Op: "rope", Rel: 4, Abs: 2},
	{Op: "swiglu", Rel: 16, Abs: 1, Flush: true},
	{Op: "swiglu_grad", Rel: 16, Abs: 4, Flush: true},
	{Op: "attention", Rel: 16, Abs: 4, Low: 2, Products: true},
	{Op: "attention_grad", Rel: 16, Abs: 16, Low: 4, Products: true},
	{Op: "linear_cross_entropy", Rel: 8, Abs: 8, Low: 4, Products: true},
	{Op: "adamw", Rel: 16, Abs: 4},
	{Op: "global_norm", Rel: 4},
	{Op: "guard", Rel: 4},
	{Op: "scale", Rel: 2, Flush: true},
	{Op: "scale_grad", Rel: 4, Abs: 2, Flush: true},
}

// Tolerances is the published table.
func Tolerances() []Tolerance { return slices.Clone(tolerances) }

// unit is the unit roundoff of a dtype; 0 for integers.
func unit(d abi.DType) float64 {
	switch d {
	case abi.F32:
		return 0x1p-24
	case abi.BF16:
		return 0x1p-8
	case abi.F16:
		return 0x1p-11
	}
	return 0
}

// smallest is the smallest positive number of a dtype, and the smallest normal one.
func smallest(d abi.DType) (any, normal float64) {
	switch d {
	case abi.F32:
		return 0x1p-149, 0x1p-126
	case abi.BF16:
		return 0x1p-133, 0x1p-126
	case abi.F16:
		return 0x1p-24, 0x1p-14
	}
	return 0, 0
}

// judge compares one case's outputs with the reference.
type judge struct {
	trial    *Trial
	numerics uint32
	flush    bool // the device flushes subnormal numbers
}

// output compares the elements of one written view. got holds the root's bytes, want its
// elements. It returns the largest error in parts of what is allowed.
func (j judge) output(n *op.Node, v *op.Value, got []byte, want []float64) (share float64, err error) {
	dtype, size := v.Type(), v.Type().Size()
	at := v.Positions()
	rule, ruled := j.trial.Rules[v.Root]
	table := slices.IndexFunc(tolerances, func(t Tolerance) bool { return t.Op == op.MustLookup(n.Op).Name })
	if !ruled && (table < 0 || !dtype.IsFloat()) {
		rule, ruled = Rule{Exact: true}, true
	}
	if ruled {
		return 0, j.exactly(rule, dtype, at, got, want)
	}
	allow := j.allowance(n, v, tolerances[table], at, want)
	for i, k := range at {
		g, w := decode(got[int(k)*size:], dtype), want[k]
		off, ok := distance(dtype, g, w)
		limit := allow(w)
		if !math.IsNaN(limit) { // of a NaN that is wanted
			share = max(share, off/limit)
		}
		if !ok || off > limit {
			return share, fmt.Errorf("%s %v: element %d is %v, expected %v ± %.3g", v.Root.Name, v.Shape, i, g, w, limit)
		}
	}
	return share, nil
}

// distance is |got - want|; false where only one of them is NaN or infinite, or the
// infinities differ. want is infinite where its dtype rounds it so.
func distance(dtype abi.DType, got, want float64) (float64, bool) {
	if math.IsNaN(want) || math.IsNaN(got) {
		return 0, math.IsNaN(want) && math.IsNaN(got)
	}
	if rounded := stored(dtype, want); math.IsInf(rounded, 0) || math.IsInf(got, 0) {
		return 0, rounded == got
	}
	return math.Abs(got - want), true
}

// allowance evaluates the table's formula for an output.
func (j judge) allowance(n *op.Node, v *op.Value, t Tolerance, at []int64, want []float64) func(w float64) float64 {
	arithmetic := unit(abi.F32)
	if t.Products {
		arithmetic = [...]float64{abi.NumericsIEEE: arithmetic, abi.NumericsTF32: 0x1p-11, abi.NumericsBF16X3: 0x1p-20}[min(j.numerics, abi.NumericsBF16X3)]
	}
	scale := j.trial.Scale
	for _, k := range at {
		if w := math.Abs(want[k]); !math.IsInf(w, 0) && w > scale {
			scale = w
		}
	}
	rel := t.Rel * arithmetic
	if v.Type() != abi.F32 {
		rel += 1.01 * unit(v.Type())
	}
	abs := (t.Abs*arithmetic*math.Sqrt(float64(j.trial.Length)) + t.Low*coarsest(n)) * scale
	least, normal := smallest(v.Type())
	if j.flush || t.Flush {
		least = max(least, 0x1p-126)
	}
	if j.flush && v.Type() != abi.F32 {
		least = normal
	}
	return func(w float64) float64 { return rel*math.Abs(w) + abs + least }
}

// coarsest is the largest unit roundoff among a node's 16-bit operands and its compute dtype.
func coarsest(n *op.Node) (u float64) {
	for _, v := range slices.Concat(n.In, n.Out) {
		if v != nil && v.Type() != abi.F32 {
			u = max(u, unit(v.Type()))
		}
	}
	if c := abi.DType(queryCompute(n)); c != abi.F32 {
		u = max(u, unit(c))
	}
	return u
}

// exactly demands equal bits, but for a share of elements one step off.
func (j judge) exactly(rule Rule, dtype abi.DType, at []int64, got []byte, want []float64) error {
	size, off := dtype.Size(), 0
	var first error
	for i, k := range at {
		g, w := got[int(k)*size:][:size], make([]byte, size)
		encode(w, dtype, want[k])
		if bytes.Equal(g, w) || dtype.IsFloat() && math.IsNaN(want[k]) && math.IsNaN(decode(g, dtype)) {
			continue
		}
		err := fmt.Errorf("element %d of %v is %v (%x), expected %v (%x) exactly", i, len(at), decode(g, dtype), g, want[k], w)
		if rule.Near == 0 || !neighbours(dtype, g, w) {
			return err
		}
		if off++; first == nil {
			first = err
		}
	}
	if float64(off) > math.Ceil(rule.Near*float64(len(at))) {
		return fmt.Errorf("%d of %d elements are one step off, expected at most %.0f %%: %w", off, len(at), 100*rule.Near, first)
	}
	return nil
}

// neighbours reports whether two stored elements are one step of their dtype apart.
func neighbours(dtype abi.DType, a, b []byte) bool {
	order := func(x []byte) (n int64) {
		for i := len(x) - 1; i >= 0; i-- {
			n = n<<8 | int64(x[i])
		}
		if top := int64(1) << (8*len(x) - 1); dtype.IsFloat() && n&top != 0 {
			n = top - n
		}
		return n
	}
	d := order(a) - order(b)
	return d == 1 || d == -1
}
