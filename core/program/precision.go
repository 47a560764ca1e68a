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
	Table      abi.DType // what a model's constant tables are rounded to; ops read them as f32
	Stochastic bool      // trainable weights and moments round stochastically
	Scaled     bool      // the loss is scaled, so that small gradients do not vanish
}

var precisions = []Precision{
	{Name: "fp32", Frozen: abi.F32, Trainable: abi.F32, Gradient: abi.F32, Moment: abi.F32,
		Activation: abi.F32, Residual: abi.F32, Compute: abi.F32, Table: abi.F32},
	{Name: "bf16", Frozen: abi.BF16, Trainable: abi.BF16, Gradient: abi.BF16, Moment: abi.BF16,
		Activation: abi.BF16, Residual: abi.BF16, Compute: abi.BF16, Table: abi.F32, Stochastic: true},
	{Name: "bf16_autocast", Frozen: abi.BF16, Trainable: abi.F32, Gradient: abi.F32, Moment: abi.F32,
		Activation: abi.BF16, Residual: abi.F32, Compute: abi.BF16, Table: abi.F32},
	{Name: "fp16_autocast", Frozen: abi.F16, Trainable: abi.F32, Gradient: abi.F32, Moment: abi.F32,
		Activation: abi.F16, Residual: abi.F32, Compute: abi.F16, Table: abi.F32, Scaled: true},
	{Name: "bf16_buffers_autocast", Frozen: abi.BF16, Trainable: abi.F32, Gradient: abi.F32, Moment: abi.F32,
		Activation: abi.BF16, Residual: abi.F32, Compute: abi.BF16, Table: abi.BF16},
}

// PrecisionNames lists every mode.
func PrecisionNames() []string {
	names := make([]string, len(precisions))
	for i, p := range precisions {
		names[i] = p.Name
	}
	return names
}

// NativePrecision is the mode for a device that computes natively in some dtypes: the
// first of bf16, fp16_autocast and fp32 that it can.
func NativePrecision(computes func(abi.DType) bool) string {
	switch {
	case computes(abi.BF16):
		return "bf16"
	case computes(abi.F16):
		return "fp16_autocast"
	}
	return "fp32"
}

// PrecisionByName finds a mode.
func PrecisionByName(name string) (Precision, error) {
	for _, p := range precisions {
		if p.Name == name {
			return p, nil
		}
	}
	return Precision{}, fmt.Errorf("precision %q is not one of %s", name, strings.Join(PrecisionNames(), ", "))
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
