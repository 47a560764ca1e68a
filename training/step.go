package training

import (
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
}

// buildBody emits the body of batch rows of seq tokens. scratch is the bytes the head
// needs at most.
func buildBody(n *Network, s scalars, p program.Precision, batch, seq, scratch int64, training bool, policy func(int) program.Policy) Body {
	b := op.NewBuilder()
	n.evaluate = !training
	t := inputTokens(s, batch, seq)
	body := Body{Tokens: t, Head: b.Fixed("head", abi.U8, scratch)}
	body.Hidden = n.Model.Forward(b, t, n)
	forward := b.Graph.Nodes
	cut := []*op.Value{body.Head}
	if training {
		body.Grad = b.Like("d.hidden", body.Hidden)
		cut = append(cut, body.Grad)
	}
	b.Node(program.Cut, nil, cut, []*op.Value{body.Hidden})
	if training {
		trained := map[*op.Value]*op.Value{}
		for _, t := range n.Trained {
			trained[t.Value] = t.Grad
		}
		program.Gradient(b, forward, map[*op.Value]*op.Value{body.Hidden: body.Grad}, trained)
	}
	program.Assign(b.Graph, p)
	if training {
		program.Recompute(b.Graph, policy)
	}
	body.Graph = b.Graph
	return body
}

func inputTokens(s scalars, batch, seq int64) model.Tokens {
	rows := batch * seq
	input := func(name string) *op.Value { return op.NewValue(name, op.Input, op.Fixed, abi.I32, rows) }
	return model.Tokens{Batch: batch, Seq: seq, IDs: input("ids"),
		Draw: op.Draw{Samples: input("samples"), Positions: input("positions"), Seed: s.seed, Step: s.step}}
}

// Head is the program of the output matrix over a bucket of labelled rows.
type Head struct {
	Graph  *op.Graph
	Rows   *op.Value // i32 [R], rows of the hidden state; -1 pads
	Labels *op.Value // i32 [R]; -100 pads
	Loss   *op.Value // f32 [1], summed over the labelled rows
}

// buildHead emits the head of a body for rows labelled rows.
func buildHead(n *Network, s scalars, p program.Precision, body Body, rows int64) Head {
	b := op.NewBuilder()
	h := Head{Rows: op.NewValue("rows", op.Input, op.Fixed, abi.I32, rows), Labels: op.NewValue("labels", op.Input, op.Fixed, abi.I32, rows),
		Loss: op.NewValue("loss", op.Output, op.Fixed, abi.F32, 1)}
	labelled := b.Value("labelled", op.Activation, rows, n.Model.Hidden())
	b.Gather(labelled, body.Hidden, h.Rows)
	weight := n.Head()
	var dw, dlabelled *op.Value
	if body.Grad != nil {
		dlabelled = b.Like("d.labelled", labelled)
		for _, t := range n.Trained {
			if t.Value == weight.Dense() {
				dw = t.Grad
			}
		}
	}
	b.LinearCrossEntropy(h.Loss, dlabelled, dw, labelled, h.Labels, s.gradScale, weight)
	if dlabelled != nil {
		b.FillFloat(body.Grad, 0)
		b.ScatterAdd(body.Grad, dlabelled, h.Rows)
	}
	program.Assign(b.Graph, p)
	h.Graph = b.Graph
	return h
}

// Optimizer is the constants of the update.
type Optimizer struct {
	Beta1, Beta2, Eps, WeightDecay float64
	MaxNorm                        float64 // 0 = no clipping
}

// Update is the program behind the last micro-batch: norm, guard, optimizer, and zeroed
// accumulators.
type Update struct {
	Graph *op.Graph
	Norm  *op.Value // f32 [1], before clipping
	Skip  *op.Value // i32 [1], the step was not taken
}

// buildUpdate emits the update of every trained parameter.
func buildUpdate(n *Network, s scalars, g op.Guarded, p program.Precision, o Optimizer) Update {
	b := op.NewBuilder()
	b.Phase = op.Update
	var grads []*op.Value
	for _, t := range n.Trained {
		grads = append(grads, t.Grad)
	}
	b.Guard(op.Guard{MaxNorm: o.MaxNorm}, g, b.GlobalNorm(grads))
	for _, t := range n.Trained {
		a := op.AdamW{Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, WeightDecay: o.WeightDecay,
			Stochastic: p.Stochastic, Site: op.SiteOf("adamw", t.Name)}
		b.AdamW(a, t.Value, t.M1, t.M2, t.Grad, s.lr, s.seed, g)
	}
	for _, t := range n.Trained {
		b.FillFloat(t.Grad, 0)
	}
	u := Update{Norm: op.NewValue("grad_norm", op.Output, op.Fixed, abi.F32, 1), Skip: op.NewValue("skipped", op.Output, op.Fixed, abi.I32, 1)}
	b.Copy(u.Norm, g.Norm)
	b.Copy(u.Skip, g.Skip)
	program.Assign(b.Graph, p)
	u.Graph = b.Graph
	return u
}
