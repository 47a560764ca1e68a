package training

import (
	"math"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/program"
	"trainer/core/session"
)

// start is a program that fills one root with random numbers or a constant.
type start struct {
	v     *op.Value // state, or a weight's dense form
	w     *op.Weight
	bound float64 // uniform in [-bound, bound)
	fill  float64 // where bound is 0
}

// build emits the program. Row r of a matrix draws at position r.
func (i start) build(s scalars, p program.Precision) *op.Graph {
	b := op.NewBuilder()
	dst := i.v
	if i.w != nil {
		dst = b.Fixed(i.w.Name+".dense", abi.F32, i.w.Out, i.w.In)
	}
	if i.bound == 0 {
		b.FillFloat(dst, i.fill)
	} else {
		rows := dst.Shape[0]
		d := op.Draw{Samples: b.Fixed("samples", abi.I32, rows), Positions: b.Fixed("positions", abi.I32, rows), Seed: s.seed, Step: s.step}
		b.FillInt(d.Samples, 0)
		b.Iota(d.Positions, 0)
		u := b.Fixed("uniform", abi.F32, dst.Shape...)
		b.Random(u, op.SiteOf("init", dst.Name), d)
		b.Affine(dst, u, 2*i.bound, -i.bound)
	}
	if i.w != nil {
		b.Quantise(i.w, dst)
	}
	program.Assign(b.Graph, p)
	return b.Graph
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

// planStarts compiles starts on trial so that the arena is large enough; one of each
// shape decides. Call it before the session allocates.
func (e *Engine) planStarts(starts []start) error {
	type key struct {
		rows, cols int64
		quantised  bool
	}
	seen := map[key]bool{}
	for _, i := range starts {
		k := key{quantised: i.w != nil}
		if i.w != nil {
			k.rows, k.cols = i.w.Out, i.w.In
		} else {
			k.rows, k.cols = i.v.Shape[0], i.v.Count()/i.v.Shape[0]
		}
		if seen[k] {
			continue
		}
		seen[k] = true
		if _, err := e.Session.Compile(i.build(e.scalars, e.Settings.Precision), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) runStarts(starts []start) error {
	for _, i := range starts {
		p, err := e.Session.Compile(i.build(e.scalars, e.Settings.Precision), nil, nil)
		if err != nil {
			return err
		}
		if _, err := e.Session.Run(session.Run{Params: e.params(0, 0, 0), Parts: []session.Part{{Program: p}}}); err != nil {
			return err
		}
	}
	return e.Session.Sync()
}
