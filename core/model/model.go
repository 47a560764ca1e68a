package model

import "trainer/core/op"

// Part is what a parameter is in the network.
type Part uint8

const (
	Projection Part = iota // a matrix inside a block: may be quantised and adapted
	Norm                   // a vector that scales
	Bias                   // a vector added to what the projection of its name gives
	Embedding              // the token table [vocab, hidden]; also the head where tied
	Head                   // the output matrix [vocab, hidden]
)

// Spec is one parameter under its checkpoint name.
type Spec struct {
	Name  string
	Part  Part
	Shape []int64
	Block int // of which it is a part; -1 outside all
}

// Count is the number of elements.
func (s Spec) Count() int64 {
	n := int64(1)
	for _, d := range s.Shape {
		n *= d
	}
	return n
}

// Tokens are Batch rows of Seq tokens, flattened to T = Batch*Seq, as program inputs.
type Tokens struct {
	Batch, Seq int64
	Longest    int64     // tokens of the longest text in a row, at most Seq
	IDs        *op.Value // i32 [T]
	Segments   *op.Value // i32 [Batch,Seq], tokens attend within one; nil = a row is one
	Draw       op.Draw   // positions and what random numbers depend on
}

// Weights gives a model its parameters while it emits its forward.
type Weights interface {
	// Vector is a parameter of one dimension.
	Vector(name string) *op.Value
	// Embed writes the rows of a table that ids name to dst [T, hidden].
	Embed(b *op.Builder, dst, ids *op.Value, name string)
	// Linear applies the projections named to x [T,K] and returns their outputs side by
	// side, with their biases and whatever adapters hang on them.
	Linear(b *op.Builder, x *op.Value, draw op.Draw, names ...string) *op.Value
	// Constant is a table of the model's own, f32 [len(data)].
	Constant(name string, data []float32) *op.Value
}

// Model is a decoder-only language model as ops.
type Model interface {
	// Specs lists every parameter in checkpoint order.
	Specs() []Spec
	// Forward emits the body: token ids to the normalised hidden state [T,H]. Nodes of layer
	// i carry Block i.
	Forward(b *op.Builder, t Tokens, w Weights) *op.Value
	// Head names the output matrix: its own, or the embedding where tied.
	Head() string
	// Layers, Hidden and Vocab are the sizes programs are built from.
	Layers() int
	Hidden() int64
	Vocab() int64
}
