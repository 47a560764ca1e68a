package training

import (
	"maps"
	"slices"

	"trainer/core/abi"
	"trainer/core/model"
	"trainer/core/op"
	"trainer/core/program"
)

// What changes from step to step stands in one params block.
const (
	paramLR        = 0  // f32
	paramGradScale = 4  // f32, factor on the loss's gradient
	paramSeed      = 8  // i32 [2]
	paramStep      = 16 // i32, optimizer step, for random numbers
	// ParamsBytes is the size of the params block of every program of a step.
	ParamsBytes = 24
)

// scalars are the params block's values as operands.
type scalars struct{ lr, gradScale, seed, step *op.Value }

func newScalars() scalars {
	return scalars{
		lr:        op.NewParam("lr", abi.F32, paramLR, 1),
		gradScale: op.NewParam("grad_scale", abi.F32, paramGradScale, 1),
		seed:      op.NewParam("seed", abi.I32, paramSeed, 2),
		step:      op.NewParam("step", abi.I32, paramStep, 1),
	}
}

// newGuarded declares the device state that decides about steps.
func newGuarded() op.Guarded {
	state := func(name string, d abi.DType) *op.Value { return op.NewValue(name, op.State, op.Fixed, d, 1) }
	return op.Guarded{Clip: state("clip", abi.F32), Skip: state("skip", abi.I32), Steps: state("steps", abi.I32),
		Norm: state("norm", abi.F32), Scale: state("loss_scale", abi.F32), Growth: state("growth", abi.I32)}
}

// guardedValues lists a guard's states.
func guardedValues(g op.Guarded) []*op.Value {
	return []*op.Value{g.Clip, g.Skip, g.Steps, g.Norm, g.Scale, g.Growth}
}

// Body is the program of a model's body for one shape: forward, a cut where the head
// runs, and backward. Without training there is no backward.
type Body struct {
	Graph  *op.Graph
	Tokens model.Tokens
	Hidden *op.Value // [T,H], what the head reads
	Grad   *op.Value // [T,H], what the head writes; nil without training
	Head   *op.Value // scratch u8 in which any head of this body plans its transients
	// HeadGrad is the accumulator that the head adds to; nil where it is not trained.
	HeadGrad *op.Value
}

// bodySpec says which body is wanted.
type bodySpec struct {
	batch, seq int64
	packed     int64                    // tokens of the longest sample where rows hold several; 0 = a row is one
	scratch    int64                    // bytes the head needs at most
	training   bool                     // with a backward
	policy     func(int) program.Policy // of each layer
	reach      int                      // layers that compute while one's results are copied; 0 = none are
	offloads   func(int) bool           // whether a layer does
	update     func(*op.Builder)        // emitted behind the backward; nil = the update is a program of its own
}

// buildBody emits a body.
func buildBody(n *Network, s scalars, p program.Precision, spec bodySpec) Body {
	b := op.NewBuilder()
	n.evaluate = !spec.training
	t := inputTokens(s, spec)
	body := Body{Tokens: t, Head: b.Fixed("head", abi.U8, spec.scratch)}
	body.Hidden = n.Model.Forward(b, t, n)
	forward := b.Graph.Nodes
	cut := []*op.Value{body.Head}
	if spec.training {
		body.Grad = b.Like("d.hidden", body.Hidden)
		cut = append(cut, body.Grad)
		if body.HeadGrad = n.headGrad(); body.HeadGrad != nil {
			cut = append(cut, body.HeadGrad)
		}
	}
	b.Node(program.Cut, nil, cut, []*op.Value{body.Hidden})
	if spec.training {
		program.Gradient(b, forward, map[*op.Value]*op.Value{body.Hidden: body.Grad}, n.accumulators())
	}
	if spec.update != nil {
		spec.update(b)
		program.Zero(b.Graph, slices.Collect(maps.Values(n.accumulators())))
	}
	program.Assign(b.Graph, p)
	if spec.training {
		program.Recompute(b.Graph, spec.policy)
		if spec.reach > 0 {
			program.Offload(b.Graph, spec.offloads, spec.reach)
		}
	}
	body.Graph = b.Graph
	return body
}

func inputTokens(s scalars, spec bodySpec) model.Tokens {
	input := func(name string, shape ...int64) *op.Value {
		return op.NewValue(name, op.Input, op.Fixed, abi.I32, shape...)
	}
	rows := spec.batch * spec.seq
	t := model.Tokens{Batch: spec.batch, Seq: spec.seq, Longest: spec.seq, IDs: input("ids", rows),
		Draw: op.Draw{Samples: input("samples", rows), Positions: input("positions", rows), Seed: s.seed, Step: s.step}}
	if spec.packed > 0 {
		t.Longest = min(spec.packed, spec.seq)
		t.Segments = input("segments", spec.batch, spec.seq)
	}
	return t
}

// Head is the program of the output matrix over a bucket of labelled rows.
type Head struct {
	Graph  *op.Graph
	Rows   *op.Value // i32 [R], rows of the hidden state; -1 pads
	Labels *op.Value // i32 [R]; -100 pads
	Loss   *op.Value // f32 [1], summed over the labelled rows
}

// buildHead emits the head of a body for rows labelled rows. lossScale, a state f32 [1], is
// a factor on gradients and not on the loss; nil = 1.
func buildHead(n *Network, s scalars, p program.Precision, body Body, rows int64, lossScale *op.Value) Head {
	b := op.NewBuilder()
	h := Head{Rows: op.NewValue("rows", op.Input, op.Fixed, abi.I32, rows), Labels: op.NewValue("labels", op.Input, op.Fixed, abi.I32, rows),
		Loss: op.NewValue("loss", op.Output, op.Fixed, abi.F32, 1)}
	labelled := b.Value("labelled", op.Activation, rows, n.Model.Hidden())
	b.Gather(labelled, body.Hidden, h.Rows)
	var dlabelled *op.Value
	if body.Grad != nil {
		dlabelled = b.Like("d.labelled", labelled)
	}
	gradScale := s.gradScale
	if dlabelled != nil && lossScale != nil {
		gradScale = b.Fixed("scaled", abi.F32, 1)
		b.Binary(abi.BinaryMul, gradScale, s.gradScale, lossScale)
	}
	b.LinearCrossEntropy(h.Loss, dlabelled, body.HeadGrad, labelled, h.Labels, gradScale, n.Head())
	if dlabelled != nil {
		b.FillFloat(body.Grad, 0)
		b.ScatterAdd(body.Grad, dlabelled, h.Rows)
	}
	program.Assign(b.Graph, p)
	h.Graph = b.Graph
	return h
}

// Dynamic loss scaling, as torch.amp.GradScaler does it: the scale halves after an
// overflow and doubles after so many steps without one. (Micikevicius et al. 2018)
const (
	initialScale   = 65536
	growthInterval = 2000
)

// update is what follows the last micro-batch: norm, guard and optimizer.
type update struct {
	norm  *op.Value // f32 [1], before clipping
	skip  *op.Value // i32 [1], the step was not taken
	scale *op.Value // f32 [1], loss scale of the next step; nil where the loss is not scaled
}

func newUpdate(p program.Precision) update {
	output := func(name string, d abi.DType) *op.Value { return op.NewValue(name, op.Output, op.Fixed, d, 1) }
	u := update{norm: output("grad_norm", abi.F32), skip: output("skipped", abi.I32)}
	if p.Scaled {
		u.scale = output("next_loss_scale", abi.F32)
	}
	return u
}

// emit appends the update of every trained parameter.
func (u update) emit(b *op.Builder, n *Network, s scalars, g op.Guarded, p program.Precision, o Optimizer) {
	b.Phase, b.Block = op.Update, -1
	var grads []*op.Value
	for _, t := range n.Trained {
		grads = append(grads, t.Grad)
	}
	guard := op.Guard{MaxNorm: o.MaxNorm}
	if p.Scaled {
		guard.Interval = growthInterval
	}
	b.Guard(guard, g, b.GlobalNorm(grads))
	for _, t := range n.Trained {
		o.Rule.emit(b, parameterUpdate{Optimizer: o, Trained: t, scalars: s, guarded: g, network: n,
			rounding: op.Rounding{Stochastic: p.Stochastic, Site: op.SiteOf(o.Rule.Name, t.Name)}})
	}
	b.Copy(u.norm, g.Norm)
	b.Copy(u.skip, g.Skip)
	if u.scale != nil {
		b.Copy(u.scale, g.Scale)
	}
}

// buildUpdate is the update as a program of its own, which leaves zeroed accumulators.
func (e *Engine) buildUpdate() *op.Graph {
	b := op.NewBuilder()
	e.emitUpdate(b)
	for _, t := range e.Net.Trained {
		b.FillFloat(t.Grad, 0)
	}
	program.Assign(b.Graph, e.Settings.Precision)
	return b.Graph
}

func (e *Engine) emitUpdate(b *op.Builder) {
	e.update.emit(b, e.Net, e.scalars, e.guarded, e.Settings.Precision, e.Settings.Optimizer)
}
