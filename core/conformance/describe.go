package conformance

import (
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/program"
)

// Description is what the cases of an op show of it, for its page.
type Description struct {
	Outputs, Inputs []OperandUse
	Example         string            // the case that the shapes and the composition are of
	Composition     []CompositionStep // nil for mandatory ops
	Cases           []string
	Benchmarks      []string
	Tolerance       *Tolerance // nil where results are exact
}

// OperandUse is how the cases use one operand.
type OperandUse struct {
	DTypes   []abi.DType
	Optional bool    // absent in some case
	Shape    []int64 // in the example; nil where it is absent there
}

// CompositionStep is a mandatory op and how often a composition has it.
type CompositionStep struct {
	Op    string
	Count int
}

// Describe gathers the description of a family.
func Describe(name string) Description {
	var d Description
	var example *Trial
	for _, c := range Cases() {
		if c.Op != name {
			continue
		}
		t := c.trial(1)
		n := t.subject()
		d.Cases = append(d.Cases, c.Name)
		d.Outputs, d.Inputs = used(d.Outputs, n.Out), used(d.Inputs, n.In)
		if example == nil {
			example, d.Example = t, c.Name
		}
	}
	for _, c := range Benchmarks() {
		if c.Op == name {
			d.Benchmarks = append(d.Benchmarks, c.Name)
		}
	}
	if i := slices.IndexFunc(tolerances, func(t Tolerance) bool { return t.Op == name }); i >= 0 {
		d.Tolerance = &tolerances[i]
	}
	if example != nil {
		n := example.subject()
		shapes(d.Outputs, n.Out)
		shapes(d.Inputs, n.In)
		d.Composition = composition(n)
	}
	return d
}

// used adds the operands of one more case.
func used(uses []OperandUse, vs []*op.Value) []OperandUse {
	for i, v := range vs {
		if i == len(uses) {
			uses = append(uses, OperandUse{})
		}
		switch {
		case v == nil:
			uses[i].Optional = true
		case !slices.Contains(uses[i].DTypes, v.Type()):
			uses[i].DTypes = append(uses[i].DTypes, v.Type())
			slices.Sort(uses[i].DTypes)
		}
	}
	return uses
}

func shapes(uses []OperandUse, vs []*op.Value) {
	for i, v := range vs {
		if v != nil {
			uses[i].Shape = v.Shape
		}
	}
}

// composition counts the mandatory ops that stand for a node, in order of first use.
func composition(n *op.Node) (steps []CompositionStep) {
	if op.MustLookup(n.Op).Compose == nil {
		return nil
	}
	g := &op.Graph{Nodes: []*op.Node{n}}
	program.Lower(g, func(*op.Node) bool { return false })
	for _, m := range g.Nodes {
		name := op.MustLookup(m.Op).Name
		i := slices.IndexFunc(steps, func(s CompositionStep) bool { return s.Op == name })
		if i < 0 {
			i, steps = len(steps), append(steps, CompositionStep{Op: name})
		}
		steps[i].Count++
	}
	return steps
}
