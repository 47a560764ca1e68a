package llama

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"trainer/core/model"
	"trainer/core/op"
)

// Model is a Llama, or one of its kin, as ops. Letters: T tokens, B rows, S their length,
// H hidden, N query heads, G key and value heads, D head width, F intermediate.
type Model struct{ Config Config }

var _ model.Model = Model{}

// Specs lists every parameter in checkpoint order.
func (m Model) Specs() []model.Spec {
	var specs []model.Spec
	for _, t := range m.Config.Tensors() {
		specs = append(specs, model.Spec{Name: t.Name, Part: partOf(t), Shape: t.Shape, Block: blockOf(t.Name)})
	}
	return specs
}

// blockOf is the layer that a parameter is part of; -1 outside all.
func blockOf(parameter string) int {
	rest, inside := strings.CutPrefix(parameter, "model.layers.")
	number, _, _ := strings.Cut(rest, ".")
	block, err := strconv.Atoi(number)
	if !inside || err != nil {
		return -1
	}
	return block
}

func partOf(t TensorSpec) model.Part {
	switch {
	case strings.HasSuffix(t.Name, ".bias"):
		return model.Bias
	case len(t.Shape) == 1:
		return model.Norm
	case t.Name == embedding:
		return model.Embedding
	case t.Name == head:
		return model.Head
	}
	return model.Projection
}

const (
	embedding = "model.embed_tokens.weight"
	head      = "lm_head.weight"
)

// Head names the output matrix.
func (m Model) Head() string {
	if m.Config.TieWordEmbeddings {
		return embedding
	}
	return head
}

// Layers is the number of decoder layers.
func (m Model) Layers() int { return int(m.Config.NumLayers) }

// Hidden is H.
func (m Model) Hidden() int64 { return int64(m.Config.HiddenSize) }

// Vocab is the number of rows of the embedding.
func (m Model) Vocab() int64 { return int64(m.Config.VocabSize) }

// Forward emits the body. The sum of a block's output and its residual stream is left
// to the next norm, which reads both.
func (m Model) Forward(b *op.Builder, t model.Tokens, w model.Weights) *op.Value {
	s := stream{h: b.Value("h.0", op.Residual, t.IDs.Shape[0], m.Hidden())}
	w.Embed(b, s.h, t.IDs, embedding)
	for i := range m.Layers() {
		b.Block = i
		s = m.layer(b, t, w, i, s)
	}
	b.Block = -1
	y, _ := s.norm(b, w.Vector("model.norm.weight"), m.Config.RMSNormEps)
	return y
}

// stream is the residual stream between norms: h, plus a branch not yet added.
type stream struct{ h, branch *op.Value }

// norm adds the open branch and normalises; it returns the stream as it then is.
func (s stream) norm(b *op.Builder, weight *op.Value, eps float64) (*op.Value, stream) {
	if s.branch == nil {
		y, h := b.RMSNorm(s.h, nil, weight, eps)
		return y, stream{h: h}
	}
	y, h := b.RMSNorm(s.branch, s.h, weight, eps)
	return y, stream{h: h}
}

// layer emits layer i: attention, then the gated MLP.
func (m Model) layer(b *op.Builder, t model.Tokens, w model.Weights, i int, s stream) stream {
	l := layer{m.Config, b, t, w, i}
	y, s := s.norm(b, l.vector("input_layernorm"), m.Config.RMSNormEps)
	s.h.Keep, s.h.Name = true, fmt.Sprintf("h.%d", i)
	s.branch = l.attention(y)
	y, s = s.norm(b, l.vector("post_attention_layernorm"), m.Config.RMSNormEps)
	s.branch = l.mlp(y)
	return s
}

// layer is what the parts of one layer are emitted with.
type layer struct {
	Config
	b     *op.Builder
	t     model.Tokens
	w     model.Weights
	index int
}

// vector is the weight of a norm.
func (l layer) vector(name string) *op.Value { return l.w.Vector(layerName(l.index, name+".weight")) }

// linear applies projections to x and lays their outputs side by side.
func (l layer) linear(x *op.Value, projections ...projection) *op.Value {
	names := make([]string, len(projections))
	for i, p := range projections {
		names[i] = layerName(l.index, p.name+".weight")
	}
	return l.w.Linear(l.b, x, l.t.Draw, names...)
}

// mlp makes down(silu(gate(y)) * up(y)).
func (l layer) mlp(y *op.Value) *op.Value {
	f := int64(l.IntermediateSize)
	gateUp := l.linear(y, l.gateUp()...)
	return l.linear(l.b.SwiGLU(gateUp.Slice(1, 0, f), gateUp.Slice(1, f, 2*f)), l.down())
}

// attention makes the heads' outputs and projects them back to [T,H].
func (l layer) attention(y *op.Value) *op.Value {
	var x op.Attend
	if l.QKNorm {
		x = l.normedHeads(y)
	} else {
		x = l.heads(y)
	}
	x.Segments = l.t.Segments
	a := op.Attention{Scale: 1 / math.Sqrt(float64(l.HeadDim)), Causal: true, Window: l.window(l.index)}
	return l.linear(l.b.Attention(a, x).Reshape(y.Shape[0], int64(l.NumHeads*l.HeadDim)), l.out())
}

// heads makes queries [B,S,N,D], keys and values [B,S,G,D] of one product.
func (l layer) heads(y *op.Value) op.Attend {
	n, g := int64(l.NumHeads), int64(l.NumKVHeads)
	r := l.rotated(l.linear(y, l.qkv()...), n+2*g, n+g)
	return op.Attend{Q: r.Slice(2, 0, n), K: r.Slice(2, n, n+g), V: r.Slice(2, n+g, n+2*g)}
}

// normedHeads makes the same of three products, whose heads are rows that norms can read.
func (l layer) normedHeads(y *op.Value) op.Attend {
	n, g, d := int64(l.NumHeads), int64(l.NumKVHeads), int64(l.HeadDim)
	qkv := l.qkv()
	normed := func(p projection, heads int64, norm string) *op.Value {
		x, _ := l.b.RMSNorm(l.linear(y, p).Reshape(y.Shape[0]*heads, d), nil, l.vector(norm), l.RMSNormEps)
		return l.rotated(x, heads, heads)
	}
	return op.Attend{
		Q: normed(qkv[0], n, "self_attn.q_norm"),
		K: normed(qkv[1], g, "self_attn.k_norm"),
		V: l.linear(y, qkv[2]).Reshape(l.t.Batch, l.t.Seq, g, d),
	}
}

// rotated views x as so many heads, rotates the first of them by their positions, and makes
// them [B,S,heads,D].
func (l layer) rotated(x *op.Value, heads, rotated int64) *op.Value {
	table, scale := l.frequencies()
	a := op.RoPE{Heads: rotated, RotaryDim: int64(l.RotaryDim), Scale: scale}
	d := int64(l.HeadDim)
	return l.b.RoPE(a, x.Reshape(l.t.IDs.Shape[0], heads, d), l.t.Draw.Positions, table).Reshape(l.t.Batch, l.t.Seq, heads, d)
}

// frequencies is the table of the rotary embedding and the factor on its sines and cosines.
// Every program declares all tables that there are, since they are placed once.
func (l layer) frequencies() (table *op.Value, scale float64) {
	short, scale := l.InvFreq(1)
	table = l.w.Constant("inv_freq", short)
	if l.RopeScaling.Type != "longrope" {
		return table, scale
	}
	long, _ := l.InvFreq(math.MaxInt64)
	longTable := l.w.Constant("inv_freq.long", long)
	if l.t.Longest > int64(l.RopeScaling.OriginalMaxPositions) {
		table = longTable
	}
	return table, scale
}
