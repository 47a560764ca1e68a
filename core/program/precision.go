package program

import (
	"fmt"
	"strings"

	"trainer/core/abi"
	"trainer/core/op"
)

// Precision is a mode: the dtype of every role, and in which dtype products compute.
type Precision struct {
	Name       string
	Frozen     abi.DType // dense weights that are not trained
	Trainable  abi.DType
	Gradient   abi.DType
	Moment     abi.DType
	Activation abi.DType
	Residual   abi.DType
	Compute    abi.DType
	Stochastic bool // trainable weights and moments round stochastically
}

var precisions = []Precision{
	{"fp32", abi.F32, abi.F32, abi.F32, abi.F32, abi.F32, abi.F32, abi.F32, false},
	{"bf16", abi.BF16, abi.BF16, abi.BF16, abi.BF16, abi.BF16, abi.BF16, abi.BF16, true},
	{"bf16_autocast", abi.BF16, abi.F32, abi.F32, abi.F32, abi.BF16, abi.F32, abi.BF16, false},
}

// PrecisionByName finds a mode.
func PrecisionByName(name string) (Precision, error) {
	var names []string
	for _, p := range precisions {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Precision{}, fmt.Errorf("precision %q is not one of %s", name, strings.Join(names, ", "))
}

// Accumulating returns the mode for steps of several micro-batches: gradients are then
// added up in f32.
func (p Precision) Accumulating() Precision {
	p.Gradient = abi.F32
	return p
}

// DType is the mode's dtype of a role.
func (p Precision) DType(r op.Role) abi.DType {
	return [...]abi.DType{op.Activation: p.Activation, op.Residual: p.Residual, op.Frozen: p.Frozen,
		op.Trainable: p.Trainable, op.Gradient: p.Gradient, op.Moment: p.Moment}[r]
}

// Assign gives every value of the graph the dtype of its role, and every product its
// compute dtype.
func Assign(g *op.Graph, p Precision) {
	for _, v := range g.Roots() {
		AssignValue(v, p)
	}
	for _, n := range g.Nodes {
		n.Attr = op.WithCompute(n.Attr, p.Compute)
	}
}

// AssignValue gives one root the dtype of its role.
func AssignValue(v *op.Value, p Precision) {
	if v.Role != op.Fixed && v.DType == 0 {
		v.DType = p.DType(v.Role)
	}
}
