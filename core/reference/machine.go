package reference

import (
	"fmt"

	"trainer/core/abi"
	"trainer/core/op"
)

// Machine holds what every root contains and runs graphs on it. Elements are float64;
// integers are exact. Not for concurrent use.
type Machine struct {
	// Rounding makes the machine store floats rounded to nearest even in their value's
	// dtype, and round the inputs of products to the attribute's compute dtype. Without
	// it the dtypes of floats are ignored. Set it before the first Set.
	Rounding bool
	roots    map[*op.Value][]float64
}

// New makes an empty machine.
func New() *Machine { return &Machine{roots: map[*op.Value][]float64{}} }

// Set gives a root its whole storage, row-major; data is copied. Run reports contents of
// a wrong length.
func (m *Machine) Set(v *op.Value, data []float64) {
	stored := make([]float64, len(data))
	for i, x := range data {
		stored[i] = m.stored(v.DType, x)
	}
	m.roots[v.Root] = stored
}

// Get is a row-major copy of a view's elements; nil if its root holds nothing. Elements
// nobody wrote are NaN.
func (m *Machine) Get(v *op.Value) []float64 {
	root := m.roots[v.Root]
	if root == nil {
		return nil
	}
	data := make([]float64, 0, v.Count())
	for _, at := range v.Positions() {
		data = append(data, root[at])
	}
	return data
}

// Run runs the nodes in order. Transients and outputs come into being when first
// written; everything else must have been set. An error names the node.
func (m *Machine) Run(g *op.Graph) error {
	for i, n := range g.Nodes {
		if err := m.node(n); err != nil {
			return fmt.Errorf("node %d (%s): %w", i, n.Op, err)
		}
	}
	return nil
}

func (m *Machine) node(n *op.Node) error {
	kernel := kernels[n.Op]
	if kernel == nil {
		return fmt.Errorf("the reference does not know this op")
	}
	c := &call{attr: n.Attr, rounding: m.Rounding}
	for i, v := range n.In {
		t, err := m.load(v)
		if err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
		c.in = append(c.in, t)
	}
	for i, v := range n.Out {
		if err := m.create(v); err != nil {
			return fmt.Errorf("output %d: %w", i, err)
		}
		t, err := m.load(v)
		if err != nil {
			return fmt.Errorf("output %d: %w", i, err)
		}
		c.out = append(c.out, t)
	}
	if err := kernel(c); err != nil {
		return err
	}
	for i, v := range n.Out {
		m.save(v, c.out[i])
	}
	return nil
}

// create makes the storage of a transient or output that was not written before.
func (m *Machine) create(v *op.Value) error {
	if v == nil || m.roots[v.Root] != nil {
		return nil
	}
	if v.Root.Kind != op.Transient && v.Root.Kind != op.Output {
		return fmt.Errorf("%s was not set", v.Root.Name)
	}
	m.roots[v.Root] = unwritten(v.Root.Count())
	return nil
}

// load copies a view; nil stays nil.
func (m *Machine) load(v *op.Value) (*tensor, error) {
	if v == nil {
		return nil, nil
	}
	root := m.roots[v.Root]
	if root == nil {
		return nil, fmt.Errorf("%s was neither set nor written", v.Root.Name)
	}
	if int64(len(root)) != v.Root.Count() {
		return nil, fmt.Errorf("%s holds %d elements, its shape %v has %d", v.Root.Name, len(root), v.Root.Shape, v.Root.Count())
	}
	return &tensor{dtype: v.Type(), shape: v.Shape, data: m.Get(v)}, nil
}

// save writes a view's elements back to its root.
func (m *Machine) save(v *op.Value, t *tensor) {
	if v == nil {
		return
	}
	root := m.roots[v.Root]
	for i, at := range v.Positions() {
		root[at] = m.stored(t.dtype, t.data[i])
	}
}

func (m *Machine) stored(dtype abi.DType, x float64) float64 {
	if m.Rounding {
		return round(dtype, x)
	}
	return x
}
