package session

import (
	"time"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/plugin"
)

// Rates are what bounds a device, measured.
type Rates struct {
	GEMM float64 `json:"gemm_flops_per_second"` // of a dense product of square matrices
	Copy float64 `json:"copy_bytes_per_second"` // read and written by a copy within the device; 0 = not measured
}

// Probe says how rates are measured.
type Probe struct {
	Compute  abi.DType     // of the product
	Room     int64         // bytes of the device that may be taken; 0 = not known
	Patience time.Duration // for each rate
	Brief    bool          // a smaller product, and no copy
}

// probeSizes are, by class of device, the side of the matrices and the bytes copied: large
// enough that nothing but the rate matters.
var probeSizes = map[uint32][2]int64{abi.DeviceCPU: {1024, 64 << 20}, abi.DeviceIntegrated: {4096, 256 << 20}, abi.DeviceDiscrete: {8192, 512 << 20}}

// Measure takes the rates of a device that nothing else runs on, and closes it.
func Measure(d *plugin.Device, p Probe) (rates Rates, err error) {
	s, err := Open(d, 0)
	if err != nil {
		return rates, err
	}
	defer func() {
		if closed := s.Close(); err == nil {
			err = closed
		}
	}()
	size := probeSizes[d.Info().Class]
	side, bytes := size[0], size[1]
	if p.Brief {
		side, bytes = side/2, 1<<20
	}
	for p.Room > 0 && side > 256 && 16*side*side+2*bytes > p.Room/2 {
		side, bytes = side/2, bytes/4
	}
	g := newProbeGraph(p.Compute, side, bytes)
	seconds, err := s.timeProbe(g, p)
	if err != nil {
		return rates, err
	}
	rates.GEMM = op.FLOPs(g.product) / seconds[0]
	if !p.Brief {
		rates.Copy = op.Bytes(g.copy) / seconds[1]
	}
	return rates, nil
}

// probeGraph is what is timed, and what fills its operands before. Random numbers, because
// the power that a product takes, and with it the clock, depends on them.
type probeGraph struct {
	states        []*op.Value
	start         *op.Builder
	product, copy *op.Node
}

func newProbeGraph(compute abi.DType, side, bytes int64) *probeGraph {
	g := &probeGraph{start: op.NewBuilder()}
	state := func(name string, d abi.DType, shape ...int64) *op.Value {
		v := op.NewValue(name, op.State, op.Fixed, d, shape...)
		g.states = append(g.states, v)
		return v
	}
	x, w, y := state("x", compute, side, side), state("w", compute, side, side), state("y", compute, side, side)
	from, to := state("from", abi.F32, bytes/4), state("to", abi.F32, bytes/4)
	b := g.start
	draw := op.Draw{Samples: b.Fixed("samples", abi.I32, side), Positions: b.Fixed("positions", abi.I32, side),
		Seed: b.Fixed("seed", abi.I32, 2), Step: b.Fixed("step", abi.I32, 1)}
	b.FillInt(draw.Samples, 0)
	b.Iota(draw.Positions, 0)
	b.FillInt(draw.Seed, 0)
	b.FillInt(draw.Step, 0)
	for _, v := range []*op.Value{x, w} {
		u := b.Fixed("uniform", abi.F32, side, side)
		b.Random(u, op.SiteOf("probe", v.Name), draw)
		b.Affine(v, u, 2, -1)
	}
	for _, v := range []*op.Value{from, to, y} {
		b.FillFloat(v, 0)
	}
	weight := op.DenseWeight(w)
	a := op.Linear{Compute: compute, Projections: []op.Projection{{Weight: weight}}}
	in := append([]*op.Value{x, nil}, weight.Operands[:]...)
	g.product = &op.Node{Op: abi.OpLinear, Attr: a, In: append(in, nil, nil, nil), Out: []*op.Value{y, nil}}
	g.copy = &op.Node{Op: abi.OpCopy, In: []*op.Value{from}, Out: []*op.Value{to}}
	return g
}

// timeProbe is the seconds of product and copy at best.
func (s *Session) timeProbe(g *probeGraph, p Probe) (seconds [2]float64, err error) {
	if err := s.Place(g.states); err != nil {
		return seconds, err
	}
	var programs []*Program
	for _, graph := range []*op.Graph{g.start.Graph, {Nodes: []*op.Node{g.product}}, {Nodes: []*op.Node{g.copy}}} {
		program, err := s.CompileOnce(graph)
		if err != nil {
			return seconds, err
		}
		programs = append(programs, program)
	}
	if err := s.Allocate(); err != nil {
		return seconds, err
	}
	if _, err := s.Run(Run{Parts: []Part{{Program: programs[0]}}}); err != nil {
		return seconds, err
	}
	for i, program := range programs[1:] {
		part := Part{Program: program}
		for _, n := range part.Nodes() { // several where the product is composed
			took, err := s.Best(part, n, nil, p.Patience/time.Duration(len(part.Nodes())))
			if err != nil {
				return seconds, err
			}
			seconds[i] += took
		}
	}
	return seconds, nil
}
