package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

// ropeShape is a case of rope: rotated of heads heads are rotated over rotary features.
type ropeShape struct {
	rows, heads, width, rotated, rotary int64
	farthest                            int // largest position
	from, to                            abi.DType
	l, m                                layout
	inPlace, inverse                    bool
}

func (s ropeShape) String() string {
	name := fmt.Sprintf("[%d %d %d] %s to %s %d heads of %d at %d %s to %s", s.rows, s.heads, s.width, s.from, s.to, s.rotated, s.rotary, s.farthest, s.l, s.m)
	if s.inPlace {
		name += " in place"
	}
	if s.inverse {
		name += " inverse"
	}
	return name
}

func ropeCases() (cases []Case) {
	shapes := []ropeShape{
		{rows: 0, heads: 2, width: 8, rotated: 2, rotary: 8}, {rows: 1, heads: 1, width: 2, rotated: 1, rotary: 2},
		{rows: 5, heads: 3, width: 20, rotated: 3, rotary: 12}, {rows: 5, heads: 3, width: 20, rotated: 2, rotary: 20},
		{rows: 5, heads: 3, width: 20, rotated: 0, rotary: 20}, {rows: 5, heads: 3, width: 20, rotated: 2, rotary: 12, inverse: true},
		{rows: 5, heads: 3, width: 20, rotated: 3, rotary: 0}, {rows: 300, heads: 5, width: 64, rotated: 4, rotary: 64},
		{rows: 9, heads: 2, width: 64, rotated: 2, rotary: 64, farthest: 131071}, {rows: 9, heads: 2, width: 130, rotated: 2, rotary: 130, inverse: true},
	}
	for _, from := range floats {
		for _, to := range floats {
			shapes = append(shapes, ropeShape{rows: 7, heads: 3, width: 34, rotated: 2, rotary: 34, from: from, to: to})
		}
		shapes = append(shapes, ropeShape{rows: 7, heads: 3, width: 34, rotated: 2, rotary: 30, from: from, to: from, inPlace: true})
	}
	for _, l := range rowLayouts[1:] {
		shapes = append(shapes, ropeShape{rows: 7, heads: 3, width: 32, rotated: 2, rotary: 32, l: l}, ropeShape{rows: 7, heads: 3, width: 32, rotated: 2, rotary: 16, m: l})
	}
	for _, s := range shapes {
		s.from, s.to = orF32(s.from), orF32(s.to)
		if s.farthest == 0 {
			s.farthest = 600
		}
		cases = append(cases, Case{"rope", s.String(), s.make})
	}
	return cases
}

func (s ropeShape) make(t *Trial) {
	t.Length, t.Scale = int64(s.farthest)*int64(s.farthest), 1
	var x, y *op.Value
	if s.inPlace {
		x = t.state(s.from, s.l, t.normal, s.rows, s.heads, s.width)
		y = x
	} else {
		x, y = t.in(s.from, s.l, t.normal, s.rows, s.heads, s.width), t.out(s.to, s.m, s.rows, s.heads, s.width)
	}
	positions := t.in(abi.I32, plain, t.ints(0, s.farthest), s.rows)
	table := t.constant(abi.F32, func(i int) float64 { return math.Pow(10000, -2*float64(i)/float64(s.rotary)) }, s.rotary/2)
	t.Node(abi.OpRope, op.RoPE{Heads: s.rotated, RotaryDim: s.rotary, Scale: 1.25, Inverse: s.inverse}, vals(y), vals(x, positions, table))
}

func ropeBenchmarks() []Case {
	s := ropeShape{rows: benchTokens, heads: benchHeads + 2*benchGroups, width: benchHeadWidth, rotated: benchHeads + benchGroups, rotary: benchHeadWidth,
		farthest: benchLength, from: abi.F32, to: abi.F32}
	return []Case{{"rope", s.String(), s.make}}
}
