package training

import (
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

// emit appends the start.
func (i start) emit(b *op.Builder, s scalars) {
	dst, name := i.v, ""
	if i.w != nil {
		name = i.w.Name
		dst = b.Value(name+".dense", op.Activation, i.w.Out, i.w.In)
	} else {
		name = dst.Name
	}
	switch {
	case i.bound != 0:
		i.emitUniform(b, s, dst, name)
	case dst.DType == abi.I32:
		b.FillInt(dst, int32(i.fill))
	default:
		b.FillFloat(dst, i.fill)
	}
	if i.w != nil {
		b.Quantise(i.w, dst)
	}
}

// startElements is about how many numbers lie in memory at a time, as f32.
const startElements = 1 << 22

// emitUniform fills rows of dst [rows, n] block by block. Row r draws at position r.
func (i start) emitUniform(b *op.Builder, s scalars, dst *op.Value, name string) {
	rows, site := dst.Shape[0], op.SiteOf("init", name)
	samples, positions := b.Fixed("samples", abi.I32, rows), b.Fixed("positions", abi.I32, rows)
	b.FillInt(samples, 0)
	b.Iota(positions, 0)
	step := max(1, startElements/dst.Shape[1])
	for from := int64(0); from < rows; from += step {
		to := min(rows, from+step)
		block := dst.Slice(0, from, to)
		u := b.Fixed("uniform", abi.F32, block.Shape...)
		b.Random(u, site, op.Draw{Samples: samples.Slice(0, from, to), Positions: positions.Slice(0, from, to), Seed: s.seed, Step: s.step})
		b.Affine(block, u, 2*i.bound, -i.bound)
	}
}

// weightStarts are random base weights for benchmarks.
func weightStarts(n *Network) []start {
	var starts []start
	for _, spec := range n.Model.Specs() {
		var s start
		s.bound, s.fill = randomStart(spec.Part)
		switch w := n.matrices[spec.Name]; {
		case w == nil:
			s.v = n.vectors[spec.Name]
		case w.Dense() != nil:
			s.v = w.Dense()
		default:
			s.w = w
		}
		starts = append(starts, s)
	}
	return starts
}

// stateStarts are the values of what training adds to the device.
func (e *Engine) stateStarts() []start {
	var starts []start
	if e.training() {
		for _, t := range e.Net.Trained {
			for _, m := range t.Moments {
				starts = append(starts, start{v: m})
			}
			if !e.fused() {
				starts = append(starts, start{v: t.Grad})
			}
		}
	}
	g, scale := e.guarded, 1.0
	if e.Settings.Precision.Scaled {
		scale = initialScale
	}
	return append(starts, start{v: g.Clip}, start{v: g.Skip}, start{v: g.Steps}, start{v: g.Norm}, start{v: g.Scale, fill: scale}, start{v: g.Growth})
}

// buildStarts is one program that fills every state that no file fills, once the base is
// loaded.
func (e *Engine) buildStarts() *op.Graph {
	var starts []start
	if e.uses.Source == nil {
		starts = weightStarts(e.Net)
	}
	b := op.NewBuilder()
	for _, s := range append(starts, e.stateStarts()...) {
		s.emit(b, e.scalars)
	}
	for _, a := range e.Net.hung() {
		a.start(b, e.scalars)
	}
	program.Assign(b.Graph, e.Settings.Precision)
	return b.Graph
}
