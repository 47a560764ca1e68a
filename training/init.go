package training

import (
	"math"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/program"
)

// start fills one root with random numbers or a constant.
type start struct {
	v     *op.Value // state, or nil and a weight that is quantised
	w     *op.Weight
	bound float64 // uniform in [-bound, bound)
	fill  float64 // where bound is 0
}

// emit appends the start. Row r of a matrix draws at position r.
func (i start) emit(b *op.Builder, s scalars) {
	dst, name := i.v, ""
	if i.w != nil {
		name = i.w.Name
		dst = b.Fixed(name+".dense", abi.F32, i.w.Out, i.w.In)
	} else {
		name = dst.Name
	}
	switch {
	case i.bound != 0:
		rows := dst.Shape[0]
		d := op.Draw{Samples: b.Fixed("samples", abi.I32, rows), Positions: b.Fixed("positions", abi.I32, rows), Seed: s.seed, Step: s.step}
		b.FillInt(d.Samples, 0)
		b.Iota(d.Positions, 0)
		u := b.Fixed("uniform", abi.F32, dst.Shape...)
		b.Random(u, op.SiteOf("init", name), d)
		b.Affine(dst, u, 2*i.bound, -i.bound)
	case dst.DType == abi.I32:
		b.FillInt(dst, int32(i.fill))
	default:
		b.FillFloat(dst, i.fill)
	}
	if i.w != nil {
		b.Quantise(i.w, dst)
	}
}

// adapterStarts are the initial values of adapters as PEFT has them: A Kaiming uniform, B
// zero, so that training starts at the base model.
func adapterStarts(n *Network) []start {
	var starts []start
	for _, spec := range n.Model.Specs() {
		if a := n.adapters[spec.Name]; a != nil {
			starts = append(starts, start{v: a.A, bound: kaimingBound(a.A.Shape[1])}, start{v: a.B})
		}
	}
	return starts
}

// weightStarts are random base weights for benchmarks: matrices with the deviation
// models are initialised with, norms of 1.
func weightStarts(n *Network) []start {
	const deviation = 0.02
	var starts []start
	for _, spec := range n.Model.Specs() {
		w := n.matrices[spec.Name]
		switch {
		case w == nil:
			starts = append(starts, start{v: n.vectors[spec.Name], fill: 1})
		case w.Dense() != nil:
			starts = append(starts, start{v: w.Dense(), bound: deviation * math.Sqrt(3)})
		default:
			starts = append(starts, start{w: w, bound: deviation * math.Sqrt(3)})
		}
	}
	return starts
}

// stateStarts are the values of what training adds to the device.
func (e *Engine) stateStarts() []start {
	var starts []start
	if e.training() {
		for _, t := range e.Net.Trained {
			starts = append(starts, start{v: t.Grad}, start{v: t.M1}, start{v: t.M2})
		}
	}
	g := e.guarded
	return append(starts, start{v: g.Clip}, start{v: g.Skip}, start{v: g.Steps}, start{v: g.Norm}, start{v: g.Scale, fill: 1}, start{v: g.Growth})
}

// buildStarts is one program that fills every state that no file fills.
func (e *Engine) buildStarts() *op.Graph {
	starts := append(adapterStarts(e.Net), e.stateStarts()...)
	if e.uses.Source == nil {
		starts = append(starts, weightStarts(e.Net)...)
	}
	b := op.NewBuilder()
	for _, s := range starts {
		s.emit(b, e.scalars)
	}
	program.Assign(b.Graph, e.Settings.Precision)
	return b.Graph
}
