package training

import (
	"fmt"
	"math"
	"strings"

	"trainer/core/abi"
	"trainer/core/model"
	"trainer/core/op"
)

// Method is a train type: how the base is stored and what is trained. A new one is a
// new row, not a new code path.
type Method struct {
	Name     string
	Quantise bool // projections are stored as NF4, biases not
	Adapters bool // LoRA on the targets; else every parameter is trained
}

var methods = []Method{
	{Name: "full"},
	{Name: "lora", Adapters: true},
	{Name: "qlora", Quantise: true, Adapters: true},
}

// MethodByName finds a train type.
func MethodByName(name string) (Method, error) {
	var names []string
	for _, m := range methods {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return Method{}, fmt.Errorf("train type %q is not one of %s", name, strings.Join(names, ", "))
}

// LoRA is the shape of the adapters. (Hu et al. 2021)
type LoRA struct {
	Rank    int64
	Alpha   float64
	Dropout float64
	Targets []string // last part of the module name: q_proj, …
}

// Scale is the factor on the adapter's output.
func (l LoRA) Scale() float64 { return l.Alpha / float64(l.Rank) }

// Trained is one parameter that learns, with its accumulator and the states its optimizer
// keeps. Name is its checkpoint name; an adapter's is MODULE.lora_A.weight or
// MODULE.lora_B.weight.
type Trained struct {
	Name        string
	Value, Grad *op.Value
	Moments     []*op.Value
}

// Network is a model whose parameters are states: the seam where formats and adapters
// attach. It implements model.Weights while a program is built.
type Network struct {
	Model     model.Model
	Method    Method
	LoRA      LoRA
	Trained   []Trained
	matrices  map[string]*op.Weight
	vectors   map[string]*op.Value
	adapters  map[string]*op.Adapter
	constants map[string]*op.Value // of the model
	tables    []*op.Value          // of the optimizer
	data      map[*op.Value][]float32
	evaluate  bool // no dropout
	base      bool // no adapters
	apart     bool // one projection at a time
}

// NewNetwork declares the states of a model under a method.
func NewNetwork(m model.Model, method Method, lora LoRA) *Network {
	n := &Network{Model: m, Method: method, LoRA: lora, matrices: map[string]*op.Weight{}, vectors: map[string]*op.Value{},
		adapters: map[string]*op.Adapter{}, constants: map[string]*op.Value{}, data: map[*op.Value][]float32{}}
	for _, spec := range m.Specs() {
		n.declare(spec)
	}
	return n
}

func (n *Network) declare(spec model.Spec) {
	var v *op.Value
	switch {
	case spec.Part == model.Norm || spec.Part == model.Bias:
		v = op.NewValue(spec.Name, op.Constant, op.Frozen, 0, spec.Shape...)
		n.vectors[spec.Name] = v
	case spec.Part == model.Projection && n.Method.Quantise:
		n.matrices[spec.Name] = op.NewWeight(spec.Name, op.Constant, op.NF4(true), spec.Shape[0], spec.Shape[1])
	default:
		w := op.NewWeight(spec.Name, op.Constant, abi.QuantFormat{}, spec.Shape[0], spec.Shape[1])
		n.matrices[spec.Name], v = w, w.Dense()
	}
	if !n.Method.Adapters {
		v.Kind, v.Role = op.State, op.Trainable
		n.train(spec.Name, v)
	} else if spec.Part == model.Projection && n.targets(spec.Name) {
		n.adapt(spec)
	}
}

func (n *Network) targets(name string) bool {
	module := moduleOf(name)
	last := module[strings.LastIndexByte(module, '.')+1:]
	for _, t := range n.LoRA.Targets {
		if t == last {
			return true
		}
	}
	return false
}

// moduleOf is a parameter's module name.
func moduleOf(parameter string) string { return strings.TrimSuffix(parameter, ".weight") }

func (n *Network) adapt(spec model.Spec) {
	module, out, in := moduleOf(spec.Name), spec.Shape[0], spec.Shape[1]
	a := op.NewValue(module+".lora_A.weight", op.State, op.Trainable, 0, n.LoRA.Rank, in)
	b := op.NewValue(module+".lora_B.weight", op.State, op.Trainable, 0, out, n.LoRA.Rank)
	n.adapters[spec.Name] = &op.Adapter{A: a, B: b, Scale: n.LoRA.Scale()}
	n.train(a.Name, a)
	n.train(b.Name, b)
}

func (n *Network) train(name string, v *op.Value) {
	n.Trained = append(n.Trained, Trained{Name: name, Value: v, Grad: op.NewValue(name+".grad", op.State, op.Gradient, 0, v.Shape...)})
}

// keepMoments declares the states an optimizer keeps for each parameter.
func (n *Network) keepMoments(r Rule) {
	for i := range n.Trained {
		n.Trained[i].Moments = r.states(n, n.Trained[i].Value)
	}
}

// table is a constant f32 of the optimizer's own.
func (n *Network) table(name string, values []float64) *op.Value {
	for _, v := range n.tables {
		if v.Name == name {
			return v
		}
	}
	v := op.NewValue(name, op.Constant, op.Fixed, abi.F32, int64(len(values)))
	for _, x := range values {
		n.data[v] = append(n.data[v], float32(x))
	}
	n.tables = append(n.tables, v)
	return v
}

// Vector implements model.Weights.
func (n *Network) Vector(name string) *op.Value { return n.vectors[name] }

// Table implements model.Weights.
func (n *Network) Table(name string) *op.Value { return n.matrices[name].Dense() }

// Constant implements model.Weights.
func (n *Network) Constant(name string, data []float32) *op.Value {
	v := n.constants[name]
	if v == nil {
		v = op.NewValue(name, op.Constant, op.Fixed, abi.F32, int64(len(data)))
		n.constants[name], n.data[v] = v, data
	}
	return v
}

// Linear implements model.Weights. Projections that read one input share a dropout mask.
func (n *Network) Linear(b *op.Builder, x *op.Value, draw op.Draw, names ...string) *op.Value {
	var a op.Linear
	adapted := false
	for _, name := range names {
		p := op.Projection{Weight: n.matrices[name], Bias: n.vectors[moduleOf(name)+".bias"]}
		if !n.base {
			p.Adapter = n.adapters[name]
		}
		adapted = adapted || p.Adapter != nil
		a.Projections = append(a.Projections, p)
	}
	var mask *op.Value
	if p := n.LoRA.Dropout; adapted && p > 0 && !n.evaluate {
		a.KeepScale = 1 / (1 - p)
		mask = b.DropoutMask(op.SiteOf("lora_dropout", names[0]), p, x.Shape[1], draw)
	}
	if n.apart {
		return b.LinearApart(a, x, mask)
	}
	return b.Linear(a, x, mask)
}

// accumulators map each trained state to what its gradient is added to.
func (n *Network) accumulators() map[*op.Value]*op.Value {
	trained := map[*op.Value]*op.Value{}
	for _, t := range n.Trained {
		trained[t.Value] = t.Grad
	}
	return trained
}

// transientGradients lets gradients live within one program only.
func (n *Network) transientGradients() {
	for i := range n.Trained {
		g := n.Trained[i].Grad
		n.Trained[i].Grad = op.NewValue(g.Name, op.Transient, g.Role, 0, g.Shape...)
	}
}

// headGrad is the accumulator of the output matrix; nil where it is not trained.
func (n *Network) headGrad() *op.Value { return n.accumulators()[n.Head().Dense()] }

// Head is the output matrix.
func (n *Network) Head() *op.Weight { return n.matrices[n.Model.Head()] }

// States lists everything that stays on the device between programs: base weights in
// checkpoint order, then what training adds. Moments and accumulators are left out
// where training is false.
func (n *Network) States(training bool) []*op.Value {
	var states []*op.Value
	for _, spec := range n.Model.Specs() {
		if v := n.vectors[spec.Name]; v != nil {
			states = append(states, v)
			continue
		}
		for _, v := range n.matrices[spec.Name].Operands {
			if v != nil {
				states = append(states, v)
			}
		}
	}
	for _, t := range n.Trained {
		if n.Method.Adapters {
			states = append(states, t.Value)
		}
		if training {
			states = append(states, t.Moments...)
			if t.Grad.Kind == op.State {
				states = append(states, t.Grad)
			}
		}
	}
	return states
}

// Counts are the model's parameters, adapters included, and those that are trained.
func (n *Network) Counts() (total, trainable int64) {
	for _, spec := range n.Model.Specs() {
		total += spec.Count()
	}
	for _, t := range n.Trained {
		trainable += t.Value.Count()
	}
	if n.Method.Adapters {
		total += trainable
	}
	return total, trainable
}

// kaimingBound is half the width of nn.Linear's initialisation of A [r,in]: uniform
// with gain sqrt(1/3), as PEFT starts its adapters. (He et al. 2015)
func kaimingBound(in int64) float64 { return 1 / math.Sqrt(float64(in)) }
