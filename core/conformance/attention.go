package conformance

import (
	"fmt"
	"math"

	"trainer/core/abi"
	"trainer/core/op"
)

// heads is a case of attention and of its gradient.
type heads struct {
	batch, queries, keys, heads, groups, width int64
	causal                                     bool
	window                                     int64
	lengths, segments                          bool
	scattered                                  bool // segments do not ascend: a number comes again later
	offset                                     int  // 0: absent
	dtype, compute                             abi.DType
	fused                                      bool   // q, k and v are slices of one buffer
	without                                    string // gradients that are absent: q, k, v
}

func (s heads) String() string {
	name := fmt.Sprintf("[%d %d/%d %d/%d %d] %s", s.batch, s.queries, s.keys, s.heads, s.groups, s.width, s.dtype)
	for _, option := range []struct {
		set  bool
		name string
	}{{s.causal, " causal"}, {s.window > 0, fmt.Sprintf(" window %d", s.window)}, {s.lengths, " lengths"}, {s.segments, " segments"}, {s.scattered, " scattered"},
		{s.offset != 0, fmt.Sprintf(" offset %d", s.offset)}, {s.compute != 0, " in " + s.compute.String()}, {s.fused, " fused"}, {s.without != "", " without " + s.without}} {
		if option.set {
			name += option.name
		}
	}
	return name
}

func attentionCases() (cases []Case) {
	shapes := []heads{
		{batch: 1, queries: 1, keys: 1, heads: 1, groups: 1, width: 1},
		{batch: 0, queries: 5, keys: 5, heads: 2, groups: 1, width: 8},
		{batch: 2, queries: 0, keys: 5, heads: 2, groups: 1, width: 8},
		{batch: 2, queries: 5, keys: 9, heads: 4, groups: 2, width: 8},
		{batch: 2, queries: 3, keys: 70, heads: 4, groups: 1, width: 16, causal: true, offset: 67, lengths: true},
		{batch: 2, queries: 1, keys: 130, heads: 6, groups: 2, width: 64, causal: true, offset: 100},
		{batch: 1, queries: 20, keys: 30, heads: 2, groups: 2, width: 8, causal: true, offset: -7},
		{batch: 2, queries: 40, keys: 40, heads: 2, groups: 1, width: 10, causal: true, window: 1},
		{batch: 2, queries: 150, keys: 150, heads: 2, groups: 1, width: 24, causal: true, window: 70},
		{batch: 1, queries: 150, keys: 150, heads: 1, groups: 1, width: 8, window: 33},
		{batch: 3, queries: 100, keys: 100, heads: 3, groups: 3, width: 20, causal: true, lengths: true},
		{batch: 2, queries: 140, keys: 140, heads: 2, groups: 1, width: 16, causal: true, segments: true},
		{batch: 2, queries: 140, keys: 140, heads: 2, groups: 1, width: 16, segments: true, lengths: true, window: 40},
		{batch: 2, queries: 70, keys: 70, heads: 4, groups: 2, width: 16, causal: true, fused: true},
		{batch: 1, queries: 300, keys: 300, heads: 3, groups: 1, width: 64, causal: true},
		{batch: 1, queries: 20, keys: 20, heads: 2, groups: 1, width: 8, causal: true, without: "q"},
		{batch: 1, queries: 20, keys: 20, heads: 2, groups: 1, width: 8, causal: true, without: "kv"},
		{batch: 1, queries: 20, keys: 20, heads: 2, groups: 1, width: 8, causal: true, without: "v"},
	}
	for i, n := range borders {
		shapes = append(shapes, heads{batch: 1, queries: n, keys: n, heads: 2, groups: 1, width: borders[min(7, (i+3)%8)], causal: i%2 == 0})
	}
	for _, dtype := range floats {
		for _, compute := range floats {
			shapes = append(shapes, heads{batch: 2, queries: 70, keys: 70, heads: 4, groups: 2, width: 24, causal: true, dtype: dtype, compute: compute})
		}
	}
	for _, s := range []heads{
		{width: 16, causal: true}, {width: 16, lengths: true}, {width: 16, causal: true, scattered: true}, {width: 16, scattered: true, window: 90},
		{width: 64, causal: true, fused: true, dtype: abi.BF16, compute: abi.BF16}, {width: 128, causal: true, scattered: true, dtype: abi.F16, compute: abi.F16},
	} { // so many queries that whole tiles of keys are foreign to them
		s.batch, s.queries, s.keys, s.heads, s.groups, s.segments = 1, 210, 210, 2, 1, true
		shapes = append(shapes, s)
	}
	shapes = append(shapes, heads{batch: 2, queries: 65, keys: 65, heads: 4, groups: 2, width: 16, causal: true, fused: true, segments: true, dtype: abi.BF16, compute: abi.BF16})
	for _, s := range shapes {
		s.dtype = orF32(s.dtype)
		if s.without == "" {
			cases = append(cases, Case{"attention", s.String(), func(t *Trial) { s.forward(t) }})
		}
		cases = append(cases, Case{"attention_grad", s.String(), s.backward})
	}
	return cases
}

// inputs are q, k, v, lengths, segments and offset.
func (s heads) inputs(t *Trial) []*op.Value {
	var q, k, v, lengths, segments, offset *op.Value
	if s.fused {
		all := t.in(s.dtype, plain, t.normal, s.batch, s.queries, s.heads+2*s.groups, s.width)
		q, k, v = all.Slice(2, 0, s.heads), all.Slice(2, s.heads, s.heads+s.groups), all.Slice(2, s.heads+s.groups, s.heads+2*s.groups)
	} else {
		q = t.in(s.dtype, plain, t.normal, s.batch, s.queries, s.heads, s.width)
		k, v = t.in(s.dtype, plain, t.normal, s.batch, s.keys, s.groups, s.width), t.in(s.dtype, plain, t.normal, s.batch, s.keys, s.groups, s.width)
	}
	if s.lengths { // one row has no keys at all
		lengths = t.in(abi.I32, plain, func(i int) float64 { return float64(i) * float64(s.keys) / float64(s.batch) }, s.batch)
	}
	if s.segments {
		segments = t.in(abi.I32, plain, func(i int) float64 { return s.segment(int64(i) % s.queries) }, s.batch, s.queries)
	}
	if s.offset != 0 {
		offset = t.param(abi.I32, 4, []float64{float64(s.offset)}, []float64{float64(s.offset - 5)})
	}
	return vals(q, k, v, lengths, segments, offset)
}

// segment is that of a position: packed records of growing length, or every fourth of them the
// same.
func (s heads) segment(position int64) float64 {
	n := math.Floor(math.Sqrt(float64(position) / 3))
	if s.scattered {
		return math.Mod(n, 4)
	}
	return n
}

func (s heads) attr() op.Attention {
	return op.Attention{Scale: 1 / math.Sqrt(float64(s.width)), Causal: s.causal, Window: s.window, Compute: s.compute}
}

func (s heads) forward(t *Trial) (in []*op.Value, o, lse *op.Value) {
	t.Length, t.Scale = max(1, s.keys+s.width), 1
	in = s.inputs(t)
	o, lse = t.out(s.dtype, plain, s.batch, s.queries, s.heads, s.width), t.out(abi.F32, plain, s.batch, s.heads, s.queries)
	t.Node(abi.OpAttention, s.attr(), vals(o, lse), in)
	return in, o, lse
}

// backward takes o and lse from an attention before it.
func (s heads) backward(t *Trial) {
	in, o, lse := s.forward(t)
	s.gradient(t, in, o, lse)
}

func (s heads) gradient(t *Trial, in []*op.Value, o, lse *op.Value) {
	do := t.in(s.dtype, plain, t.normal, s.batch, s.queries, s.heads, s.width)
	out := vals(nil, nil, nil)
	for i, name := range []string{"q", "k", "v"} {
		if s.without == "" || s.without != name && s.without != "kv" || s.without == "kv" && name == "q" {
			out[i] = t.out(s.dtype, plain, in[i].Shape...)
		}
	}
	t.Node(abi.OpAttentionGrad, s.attr(), out, append(vals(do, o, lse), in...))
}

func attentionBenchmarks() []Case {
	s := heads{batch: benchTokens / benchLength, queries: benchLength, keys: benchLength, heads: benchHeads, groups: benchGroups, width: benchHeadWidth, causal: true, dtype: abi.F32}
	return []Case{{"attention", s.String(), func(t *Trial) { s.forward(t) }},
		{"attention_grad", s.String(), func(t *Trial) {
			s.gradient(t, s.inputs(t), t.in(abi.F32, plain, t.normal, s.batch, s.queries, s.heads, s.width), t.in(abi.F32, plain, same(6), s.batch, s.heads, s.queries))
		}}}
}
