package llama

import (
	"fmt"
	"math"

	"trainer/core/model"
	"trainer/core/op"
)

// Model is a Llama as ops. Letters: T tokens, B rows, S their length, H hidden, N
// query heads, G key and value heads, D head width, F intermediate.
type Model struct{ Config Config }

var _ model.Model = Model{}

// Specs lists every parameter in checkpoint order.
func (m Model) Specs() []model.Spec {
	var specs []model.Spec
	for _, t := range m.Config.Tensors() {
		specs = append(specs, model.Spec{Name: t.Name, Part: partOf(t), Shape: t.Shape})
	}
	return specs
}

func partOf(t TensorSpec) model.Part {
	switch {
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
	b.Gather(s.h, w.Table(embedding), t.IDs)
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

func (m Model) layer(b *op.Builder, t model.Tokens, w model.Weights, i int, s stream) stream {
	name := func(part string) string { return fmt.Sprintf("model.layers.%d.%s.weight", i, part) }
	y, s := s.norm(b, w.Vector(name("input_layernorm")), m.Config.RMSNormEps)
	s.h.Keep, s.h.Name = true, fmt.Sprintf("h.%d", i)
	o := m.attention(b, t, w, y, name)
	s.branch = w.Linear(b, o, t.Draw, name("self_attn.o_proj"))
	y, s = s.norm(b, w.Vector(name("post_attention_layernorm")), m.Config.RMSNormEps)
	gateUp := w.Linear(b, y, t.Draw, name("mlp.gate_proj"), name("mlp.up_proj"))
	f := int64(m.Config.IntermediateSize)
	hidden := b.SwiGLU(gateUp.Slice(1, 0, f), gateUp.Slice(1, f, 2*f))
	s.branch = w.Linear(b, hidden, t.Draw, name("mlp.down_proj"))
	return s
}

// attention makes the heads' outputs side by side [T, N*D].
func (m Model) attention(b *op.Builder, t model.Tokens, w model.Weights, y *op.Value, name func(string) string) *op.Value {
	c := m.Config
	n, g, d := int64(c.NumHeads), int64(c.NumKVHeads), int64(c.HeadDim)
	rows := t.IDs.Shape[0]
	qkv := w.Linear(b, y, t.Draw, name("self_attn.q_proj"), name("self_attn.k_proj"), name("self_attn.v_proj"))
	frequencies, scale := c.InvFreq()
	rope := op.RoPE{Heads: n + g, RotaryDim: d, Scale: scale}
	r := b.RoPE(rope, qkv.Reshape(rows, n+2*g, d), t.Draw.Positions, w.Constant("inv_freq", frequencies)).Reshape(t.Batch, t.Seq, n+2*g, d)
	o := b.Attention(op.Attention{Scale: 1 / math.Sqrt(float64(d)), Causal: true},
		op.Attend{Q: r.Slice(2, 0, n), K: r.Slice(2, n, n+g), V: r.Slice(2, n+g, n+2*g)})
	return o.Reshape(rows, n*d)
}
