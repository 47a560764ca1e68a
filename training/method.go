package training

import (
	"fmt"
	"slices"
	"strings"

	"trainer/core/abi"
	"trainer/core/model"
	"trainer/core/op"
)

// Method is what is trained of a model: what hangs on its parameters, or which of them
// learn themselves. A new one is a new row of methods, not a new code path. With Storage it
// makes a train type.
type Method struct {
	Name string
	// hang makes what hangs on a parameter that LoRA.Targets names, nil where nothing does.
	// Without hang, parameters of the base are trained.
	hang func(n *Network, spec model.Spec) adapter
	// Expanded methods train the blocks that an expansion added, and these alone.
	Expanded bool
	// Blocks are those, for a method that is expanded.
	Blocks []int
	// Storage is the format of a frozen projection, biases aside; nil = dense.
	Storage func(spec model.Spec) abi.QuantFormat
}

var methods = []Method{
	{Name: "full"},
	{Name: "lora", hang: hangLoRA},
	{Name: "dora", hang: hangDoRA},
	{Name: "llama_pro", Expanded: true},
}

// Adapters tells whether the base is frozen, and what hangs on it is trained and saved.
func (m Method) Adapters() bool { return m.hang != nil }

// trains tells whether a parameter of the base learns.
func (m Method) trains(spec model.Spec) bool {
	if !m.Expanded {
		return !m.Adapters()
	}
	return slices.Contains(m.Blocks, spec.Block)
}

// format is how a matrix of the base is stored.
func (m Method) format(spec model.Spec) abi.QuantFormat {
	if m.Storage == nil || spec.Part != model.Projection || m.trains(spec) {
		return abi.QuantFormat{}
	}
	return m.Storage(spec)
}

// On is the method on a base from a source: one that has weights quantised keeps them as they
// are stored, and the others dense.
func (m Method) On(src Source, specs []model.Spec) Method {
	for _, spec := range specs {
		if src.Format(spec.Name).Format != abi.FormatDense {
			m.Storage = func(spec model.Spec) abi.QuantFormat { return src.Format(spec.Name) }
			break
		}
	}
	return m
}

// MethodByName finds a method.
func MethodByName(name string) (Method, error) {
	var names []string
	for _, m := range methods {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return Method{}, fmt.Errorf("method %q is not one of %s", name, strings.Join(names, ", "))
}

// adapter is what hangs on one frozen parameter. It is a projected or an embedded, too.
type adapter interface {
	// trained lists its parameters under their names in a PEFT adapter, prefix aside.
	trained() []*op.Value
	// derived lists constants that are made of the base once it is loaded.
	derived() []*op.Value
	// start emits the first values of both.
	start(b *op.Builder, s scalars)
}

// projected hangs on a projection.
type projected interface {
	adapter
	// pair is added to the weight, inside the product.
	pair() *op.Adapter
	// factors emits g, f32 [out], that the product without its bias is multiplied by; false
	// where it is 1.
	factors(b *op.Builder, g *op.Value) bool
}

// embedded hangs on a table.
type embedded interface {
	adapter
	// embed writes the rows of the adapted table that ids name to dst.
	embed(b *op.Builder, dst, table, ids *op.Value)
}
