package conformance

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
)

// Case is one graph to judge. The node under test is the last of the graph.
type Case struct {
	Op   string // the family's name
	Name string // shapes, dtypes and what is special; unique within Op
	Make func(t *Trial)
}

// Trial is a case made concrete by a seed: its graph, what its values hold before it
// runs, and how strictly it is judged. Contents are row-major over whole roots.
type Trial struct {
	*op.Builder
	Inputs  map[*op.Value][]float64 // by root: inputs, constants, states and params
	Changed map[*op.Value][]float64 // other contents of params, for a second run of one plan
	Rules   map[*op.Value]Rule      // by root, where the tolerance table does not apply
	Length  int64                   // terms of the longest sum; of rope, the square of the largest angle in radians
	Scale   float64                 // lower bound of what errors are measured against
	Rounds  bool                    // the reference rounds what it stores and what it multiplies
	rng     *rand.Rand
}

// Rule replaces the tolerance table for one output.
type Rule struct {
	Exact bool    // equal bits, any NaN being equal to any other
	Near  float64 // share of elements that may be one step of their dtype off; the rest is exact
}

// Cases lists every case, in ascending op.
func Cases() []Case {
	return slices.Concat(copyCases(), fillCases(), castCases(), elementwiseCases(), reduceCases(), gatherCases(), matmulCases(),
		randomCases(), bitsCases(), quantiseCases(), linearCases(), rmsnormCases(), ropeCases(), swigluCases(), attentionCases(),
		crossEntropyCases(), adamwCases(), normCases(), scaleCases())
}

// trial makes a case concrete. Equal seeds give equal trials.
func (c Case) trial(seed uint64) *Trial {
	h := fnv.New64a()
	h.Write([]byte(c.Op + "/" + c.Name))
	t := &Trial{Builder: op.NewBuilder(), Inputs: map[*op.Value][]float64{}, Changed: map[*op.Value][]float64{},
		Rules: map[*op.Value]Rule{}, Length: 1, rng: rand.New(rand.NewPCG(seed, h.Sum64()))}
	c.Make(t)
	return t
}

// subject is the node under test.
func (t *Trial) subject() *op.Node { return t.Graph.Nodes[len(t.Graph.Nodes)-1] }

// layout is how a view lies in its root.
type layout int

const (
	plain   layout = iota // the whole root
	wide                  // columns of a wider buffer, beginning at an odd element
	stepped               // every second row
	turned                // the last two dimensions swapped in storage
)

var layouts = []layout{plain, wide, stepped, turned}

// rowLayouts are those in which rows have no gaps, which some ops ask for.
var rowLayouts = layouts[:3]

func (l layout) String() string { return [...]string{"plain", "wide", "stepped", "turned"}[l] }

// lay makes a root and its view of a shape. stepped and turned need two dimensions and
// fall back to plain.
func lay(kind op.Kind, dtype abi.DType, l layout, shape []int64) *op.Value {
	name := [...]string{"transient", "in", "out", "constant", "state", "param"}[kind]
	root := func(shape ...int64) *op.Value { return op.NewValue(name, kind, op.Fixed, dtype, shape...) }
	last := len(shape) - 1
	switch {
	case l == wide:
		s := slices.Clone(shape)
		s[last] += 8
		return root(s...).Slice(last, 3, 3+shape[last])
	case l == stepped && last > 0:
		s := slices.Insert(slices.Clone(shape), last, 2)
		return root(s...).Slice(last, 1, 2).Squeeze(last)
	case l == turned && last > 0:
		s := slices.Clone(shape)
		s[last], s[last-1] = s[last-1], s[last]
		return root(s...).Transpose(last, last-1)
	}
	return root(shape...)
}

// fill sets a view's elements; what its root holds beside them is poison.
func (t *Trial) fill(v *op.Value, gen func(i int) float64) *op.Value {
	data, ok := t.Inputs[v.Root]
	if !ok {
		data = make([]float64, v.Root.Count())
		for i := range data {
			data[i] = poison(v.Type())
		}
		t.Inputs[v.Root] = data
	}
	for i, at := range v.Positions() {
		data[at] = stored(v.Type(), gen(i))
	}
	return v
}

// in is an input whose elements gen makes.
func (t *Trial) in(dtype abi.DType, l layout, gen func(i int) float64, shape ...int64) *op.Value {
	return t.fill(lay(op.Input, dtype, l, shape), gen)
}

// constant is a value that never changes.
func (t *Trial) constant(dtype abi.DType, gen func(i int) float64, shape ...int64) *op.Value {
	return t.fill(lay(op.Constant, dtype, plain, shape), gen)
}

// state is read and changed.
func (t *Trial) state(dtype abi.DType, l layout, gen func(i int) float64, shape ...int64) *op.Value {
	return t.fill(lay(op.State, dtype, l, shape), gen)
}

// out is written.
func (t *Trial) out(dtype abi.DType, l layout, shape ...int64) *op.Value {
	return lay(op.Output, dtype, l, shape)
}

// param is a scalar or short vector in the params block; a second run of one plan gets
// the changed contents.
func (t *Trial) param(dtype abi.DType, offset int64, now, changed []float64) *op.Value {
	v := op.NewParam("param", dtype, offset, int64(len(now)))
	t.fill(v, func(i int) float64 { return now[i] })
	t.Changed[v] = changed
	return v
}

// exact demands equal bits of some outputs.
func (t *Trial) exact(vs ...*op.Value) {
	for _, v := range vs {
		if v != nil {
			t.Rules[v.Root] = Rule{Exact: true}
		}
	}
}

// normal draws from the standard normal distribution.
func (t *Trial) normal(int) float64 { return t.rng.NormFloat64() }

// scaled draws from a normal distribution of a deviation.
func (t *Trial) scaled(deviation float64) func(int) float64 {
	return func(int) float64 { return deviation * t.rng.NormFloat64() }
}

// between draws evenly from [low, high).
func (t *Trial) between(low, high float64) func(int) float64 {
	return func(int) float64 { return low + (high-low)*t.rng.Float64() }
}

// ints draws integers evenly from [low, high].
func (t *Trial) ints(low, high int) func(int) float64 {
	return func(int) float64 { return float64(low + t.rng.IntN(high-low+1)) }
}

func these(xs ...float64) func(int) float64 { return func(i int) float64 { return xs[i%len(xs)] } }

func same(x float64) func(int) float64 { return func(int) float64 { return x } }

func vals(vs ...*op.Value) []*op.Value { return vs }

// floats are the dtypes that every float operand may have.
var floats = []abi.DType{abi.F32, abi.BF16, abi.F16}

// borders are sizes at and around the tiles of vectors and matrices.
var borders = []int64{1, 3, 15, 17, 31, 33, 63, 65, 127, 129, 255, 257}

// specials are numbers that are not finite, not normal, or at an end of a range.
var specials = []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 1, -1, 0x1p-149, -0x1p-130, 0x1p-126, 0x1p-24, 0x1p-14,
	0x1p127, -0x1p127, 65504, -65520, 448, 0.5, 1.5, 2.5, -2.5, 88.5, -88.5, -104, 120, -120}

// storages are the dtypes that tier 0 stores.
var storages = []abi.DType{abi.F32, abi.BF16, abi.F16, abi.I32, abi.U8}
