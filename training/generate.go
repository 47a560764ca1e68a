package training

import (
	"context"
	"math"
	"slices"

	"trainer/core/abi"
	"trainer/core/op"
	"trainer/core/program"
	"trainer/core/session"
	"trainer/training/data"
)

// generateGrain is what text lengths are rounded up to when generating.
const generateGrain = 32

// generatorKey is what a generator is compiled for.
type generatorKey struct {
	seq  int64
	base bool
}

// generator is the forward of one row and the logits of one of its positions.
type generator struct {
	body    Body
	program *session.Program
	head    *session.Program
	row     *op.Value // i32 [1], the position asked for
	logits  *op.Value // f32 [1,V]
}

// generator returns the program for texts of up to seq tokens, with adapters or the base
// alone.
func (e *Engine) generator(seq int64, base bool) (*generator, error) {
	key := generatorKey{seq, base}
	if g := e.generators[key]; g != nil {
		return g, nil
	}
	e.Net.base = base
	defer func() { e.Net.base = false }()
	p := e.Settings.Precision
	scratch, err := e.Session.Scratch(e.buildLogits(e.hidden(seq), &generator{}), nil...)
	if err != nil {
		return nil, err
	}
	g := &generator{body: buildBody(e.Net, e.scalars, p, bodySpec{batch: 1, seq: seq, scratch: scratch})}
	if g.program, err = e.Session.Compile(g.body.Graph, nil, nil); err != nil {
		return nil, err
	}
	e.arenas.took(phaseGenerate, g.program)
	if g.head, err = e.Session.Compile(e.buildLogits(g.body.Hidden, g), g.program, g.body.Head); err != nil {
		return nil, err
	}
	e.generators[key] = g
	return g, nil
}

// hidden is a stand-in for a body's result.
func (e *Engine) hidden(rows int64) *op.Value {
	v := op.NewValue("hidden", op.Transient, op.Activation, 0, rows, e.Net.Model.Hidden())
	program.AssignValue(v, e.Settings.Precision)
	return v
}

// buildLogits emits the logits of one row of a hidden state.
func (e *Engine) buildLogits(hidden *op.Value, g *generator) *op.Graph {
	b := op.NewBuilder()
	g.row = op.NewValue("row", op.Input, op.Fixed, abi.I32, 1)
	g.logits = op.NewValue("logits", op.Output, op.Fixed, abi.F32, 1, e.Net.Model.Vocab())
	last := b.Value("last", op.Activation, 1, e.Net.Model.Hidden())
	b.Gather(last, hidden, g.row)
	y := b.Linear(op.Linear{Projections: []op.Projection{{Weight: e.Net.Head()}}}, last, nil)
	b.Cast(g.logits, y)
	program.Assign(b.Graph, e.Settings.Precision)
	return b.Graph
}

// Logits are the scores of the token that follows ids. base leaves the adapters out.
func (e *Engine) Logits(ids []int32, base bool) ([]float32, error) {
	seq := round(int64(len(ids)), generateGrain)
	g, err := e.generator(seq, base)
	if err != nil {
		return nil, err
	}
	batch := data.Collate([]data.Example{{IDs: ids, Labels: ids}}, 0, generateGrain)
	run := session.Run{Params: e.params(0, 1, 0), Inputs: tokenInputs(g.body, batch),
		Parts: []session.Part{{Program: g.program}, {Program: g.head}}}
	run.Inputs[g.row] = padded([]int32{int32(len(ids) - 1)}, 1, 0)
	t, err := e.Session.Run(run)
	if err != nil {
		return nil, err
	}
	out, err := t.Wait()
	if err != nil {
		return nil, err
	}
	logits := make([]float32, e.Net.Model.Vocab())
	decode(logits, out[g.logits], abi.F32)
	return logits, nil
}

// Text is what Generate goes on from and how.
type Text struct {
	IDs    []int32
	Stops  []int32 // ids that end it
	MaxNew int     // tokens added at most
	Base   bool    // by the base, without adapters
	Stream uint64  // of the random numbers, one for each text
	Sampling
}

// Generate extends a text until one of its stops, its limit or that of the engine's plan. It
// returns the new tokens without the stop.
func (e *Engine) Generate(ctx context.Context, t Text) ([]int32, error) {
	choose := t.chooser(t.Stream)
	text := append([]int32{}, t.IDs...)
	for len(text) < len(t.IDs)+t.MaxNew && int64(len(text)) < e.uses.Generate && ctx.Err() == nil {
		logits, err := e.Logits(text, t.Base)
		if err != nil {
			return nil, err
		}
		next := choose(logits)
		if slices.Contains(t.Stops, next) {
			break
		}
		text = append(text, next)
	}
	return text[len(t.IDs):], ctx.Err()
}

// argmax is the lowest index of the highest score.
func argmax(x []float32) (best int32) {
	top := float32(math.Inf(-1))
	for i, v := range x {
		if v > top {
			best, top = int32(i), v
		}
	}
	return best
}
