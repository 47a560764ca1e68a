package training

import (
	"strings"

	"trainer/core/abi"
	"trainer/core/model"
	"trainer/core/op"
)

// Trained is one parameter that learns, with its accumulator and the states its optimizer
// keeps. Name is its checkpoint name, as MODULE.lora_A.weight of an adapter.
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
	adapters  map[string]adapter
	constants map[string]*op.Value // of the model
	tables    []*op.Value          // of the optimizer
	data      map[*op.Value][]float32
	evaluate  bool // no dropout
	base      bool // no adapters
	apart     bool // one projection at a time
}

// NewNetwork declares the states of a model under a method. lora was checked.
func NewNetwork(m model.Model, method Method, lora LoRA) *Network {
	n := &Network{Model: m, Method: method, LoRA: lora, matrices: map[string]*op.Weight{}, vectors: map[string]*op.Value{},
		adapters: map[string]adapter{}, constants: map[string]*op.Value{}, data: map[*op.Value][]float32{}}
	for _, spec := range m.Specs() {
		n.declare(spec)
	}
	return n
}

func (n *Network) declare(spec model.Spec) {
	var v *op.Value
	if spec.Part == model.Norm || spec.Part == model.Bias {
		v = op.NewValue(spec.Name, op.Constant, op.Frozen, 0, spec.Shape...)
		n.vectors[spec.Name] = v
	} else {
		w := op.NewWeight(spec.Name, op.Constant, n.Method.format(spec), spec.Shape[0], spec.Shape[1])
		n.matrices[spec.Name], v = w, w.Dense()
	}
	if n.Method.trains(spec) {
		v.Kind, v.Role = op.State, op.Trainable
		n.train(spec.Name, v)
	}
	if n.Method.Adapters() && n.LoRA.targets(moduleOf(spec.Name)) {
		n.adapt(spec)
	}
}

func (n *Network) adapt(spec model.Spec) {
	a := n.Method.hang(n, spec)
	if a == nil {
		return
	}
	n.adapters[spec.Name] = a
	for _, v := range a.trained() {
		n.train(v.Name, v)
	}
}

// moduleOf is a parameter's module name.
func moduleOf(parameter string) string { return strings.TrimSuffix(parameter, ".weight") }

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

// Embed implements model.Weights.
func (n *Network) Embed(b *op.Builder, dst, ids *op.Value, name string) {
	table := n.matrices[name].Dense()
	if a, ok := n.adapters[name].(embedded); ok && !n.base {
		a.embed(b, dst, table, ids)
		return
	}
	b.Gather(dst, table, ids)
}

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
	var hung []projected
	adapted := false
	for _, name := range names {
		p := op.Projection{Weight: n.matrices[name], Bias: n.vectors[moduleOf(name)+".bias"]}
		on, ok := n.adapters[name].(projected)
		if ok = ok && !n.base; ok {
			p.Adapter = on.pair()
		}
		adapted = adapted || ok
		a.Projections, hung = append(a.Projections, p), append(hung, on)
	}
	var mask *op.Value
	if p := n.LoRA.Dropout; adapted && p > 0 && !n.evaluate {
		a.KeepScale = 1 / (1 - p)
		a.Dropped, mask = b.Dropout(op.SiteOf("lora_dropout", names[0]), p, x, draw)
	}
	var g, bias *op.Value
	if adapted {
		if g = n.factors(b, a, hung); g != nil {
			bias = takeBias(b, a)
		}
	}
	y := n.linear(b, a, x, mask)
	if g != nil {
		y = b.Scale(y, g)
	}
	if bias != nil {
		sum := b.Like(y.Name, y)
		b.Binary(abi.BinaryAdd, sum, y, bias)
		return sum
	}
	return y
}

func (n *Network) linear(b *op.Builder, a op.Linear, x, mask *op.Value) *op.Value {
	if n.apart {
		return b.LinearApart(a, x, mask)
	}
	return b.Linear(a, x, mask)
}

// factors is what the outputs of projections, side by side, are multiplied by: f32 [N], one
// value for all uses, which nothing computes again. It is nil where no adapter has factors.
func (n *Network) factors(b *op.Builder, a op.Linear, hung []projected) *op.Value {
	g, found, from := b.Fixed(a.Projections[0].Weight.Name+".factors", abi.F32, a.Width()), false, int64(0)
	g.Keep = true
	var ones []*op.Value
	for i, p := range a.Projections {
		part := g.Slice(0, from, from+p.Weight.Out)
		from += p.Weight.Out
		if p.Adapter != nil && hung[i].factors(b, part) {
			found = true
		} else {
			ones = append(ones, part)
		}
	}
	if !found {
		return nil
	}
	for _, part := range ones {
		b.FillFloat(part, 1)
	}
	return g
}

// takeBias takes the biases out of projections whose outputs are multiplied first: they are
// f32 [N] side by side, or nil where there are none.
func takeBias(b *op.Builder, a op.Linear) *op.Value {
	var bias *op.Value
	from := int64(0)
	for i := range a.Projections {
		p := &a.Projections[i]
		if p.Bias != nil {
			if bias == nil {
				bias = b.Fixed("bias", abi.F32, a.Width())
				b.FillFloat(bias, 0)
			}
			b.Cast(bias.Slice(0, from, from+p.Weight.Out), p.Bias)
		}
		p.Bias, from = nil, from+p.Weight.Out
	}
	return bias
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
	for _, a := range n.hung() {
		states = append(states, a.derived()...)
	}
	for _, t := range n.Trained {
		if n.Method.Adapters() {
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

// hung lists the adapters in checkpoint order.
func (n *Network) hung() (adapters []adapter) {
	for _, spec := range n.Model.Specs() {
		if a := n.adapters[spec.Name]; a != nil {
			adapters = append(adapters, a)
		}
	}
	return adapters
}

// Counts are the model's parameters, adapters included, and those that are trained.
func (n *Network) Counts() (total, trainable int64) {
	for _, spec := range n.Model.Specs() {
		total += spec.Count()
	}
	for _, t := range n.Trained {
		trainable += t.Value.Count()
	}
	if n.Method.Adapters() {
		total += trainable
	}
	return total, trainable
}
