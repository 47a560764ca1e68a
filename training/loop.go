package training

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"trainer/fault"
	"trainer/training/data"
	"trainer/training/metrics"
	"trainer/training/optim"
)

// Plan of the loop: what is seen, in which order, how often.
type Loop struct {
	Train, Eval   *data.Dataset // Eval may be nil
	PadID         int32
	Epochs        int
	MaxSteps      int // optimizer steps in the whole run; -1 = no limit
	EvalSteps     int // evaluate every so many steps; 0 = only before and after
	Shuffle       bool
	GroupByLength bool // shuffled rows of about one length share a batch
	Schedule      optim.Schedule
}

// Events is where the loop tells what happens. Errors end the run.
type Events interface {
	Step(metrics.Step) error
	Eval(metrics.Eval) error
}

// Outcome is how a run ended.
type Outcome struct {
	metrics.End
	Interrupted bool // the context was cancelled; the step under way was finished
}

// Steps is the number of optimizer steps of the whole run.
func (l Loop) Steps(batch, accumulation int) int {
	s := data.Sampler{Rows: len(l.Train.Examples)}
	total := l.Epochs * s.StepsPerEpoch(batch, accumulation)
	if l.MaxSteps >= 0 {
		total = min(total, l.MaxSteps)
	}
	return total
}

// sampler decides the order of the training rows.
func (l Loop) sampler(s Settings) data.Sampler {
	sampler := data.Sampler{Rows: len(l.Train.Examples), Shuffle: l.Shuffle, Seed: s.Seed}
	if l.GroupByLength {
		sampler.Lengths, sampler.Batch = l.Train.ExampleLengths(), int(s.Batch)
	}
	return sampler
}

// Lengths are those of the padded rows that the loop will see in training and in
// evaluation, each once, ascending.
func (l Loop) Lengths(s Settings) (train, eval []int64) {
	sampler := l.sampler(s)
	perEpoch := sampler.StepsPerEpoch(int(s.Batch), s.Accumulation)
	seen := map[int64]bool{}
	var order []int
	for step := range l.Steps(int(s.Batch), s.Accumulation) {
		if step%perEpoch == 0 {
			order = sampler.Order(step / perEpoch)
		}
		for _, rows := range data.MicroBatches(order, step%perEpoch, int(s.Batch), s.Accumulation) {
			seen[paddedLength(l.Train.Select(rows), s.Grain)] = true
		}
	}
	train = slices.Sorted(maps.Keys(seen))
	if l.Eval == nil {
		return train, nil
	}
	seen = map[int64]bool{}
	for rows := range slices.Chunk(l.Eval.Examples, int(s.Batch)) {
		seen[paddedLength(rows, s.Grain)] = true
	}
	return train, slices.Sorted(maps.Keys(seen))
}

// paddedLength is the length of the longest example, rounded up to grain.
func paddedLength(examples []data.Example, grain int64) int64 {
	most := 0
	for _, e := range examples {
		most = max(most, len(e.IDs))
	}
	return round(int64(most), grain)
}

// maxSkipped is how many gradients in a row that are not finite end a run.
const maxSkipped = 3

// Train runs the loop: evaluation, steps, evaluation. When ctx is cancelled it finishes
// the step under way, or drops an evaluation, and returns with Interrupted set.
func (e *Engine) Train(ctx context.Context, l Loop, events Events) (Outcome, error) {
	r := runner{ctx: ctx, engine: e, loop: l, events: events, total: l.Steps(int(e.Settings.Batch), e.Settings.Accumulation)}
	if err := r.evaluate(); err != nil {
		return r.out, err
	}
	began := time.Now()
	sampler := l.sampler(e.Settings)
	perEpoch := sampler.StepsPerEpoch(int(e.Settings.Batch), e.Settings.Accumulation)
	var order []int
	for r.out.Steps < r.total && ctx.Err() == nil {
		if r.out.Steps%perEpoch == 0 {
			order = sampler.Order(r.out.Steps / perEpoch)
		}
		micro := data.MicroBatches(order, r.out.Steps%perEpoch, int(e.Settings.Batch), e.Settings.Accumulation)
		if err := r.step(micro, perEpoch); err != nil {
			return r.out, err
		}
	}
	r.out.Seconds = metrics.Number(time.Since(began).Seconds() - r.evalSeconds)
	r.out.TokensPerSecond = metrics.Number(r.rate.TokensPerSecond())
	if r.evaluatedAt != r.out.Steps {
		if err := r.evaluate(); err != nil {
			return r.out, err
		}
	}
	r.out.Interrupted = ctx.Err() != nil
	_, peak, err := e.Session.Stats()
	r.out.MemoryPeakBytes, r.out.MemoryPlannedBytes = peak, e.Session.Memory().Total()
	return r.out, err
}

// runner is one run of the loop.
type runner struct {
	ctx         context.Context
	engine      *Engine
	loop        Loop
	events      Events
	total       int
	out         Outcome
	rate        metrics.Throughput
	skipped     int
	evaluatedAt int
	evalSeconds float64
}

// step runs one optimizer step and reports it.
func (r *runner) step(micro [][]int, perEpoch int) error {
	began := time.Now()
	var batches []data.Batch
	for _, rows := range micro {
		batches = append(batches, r.engine.collate(r.loop.Train.Select(rows), r.loop.PadID))
	}
	lr := r.loop.Schedule.At(r.out.Steps)
	result, err := r.engine.Step(batches, lr, r.out.Steps)
	if err != nil {
		return err
	}
	r.out.Steps++
	r.out.Loss = metrics.Number(result.Loss)
	if result.Skipped {
		r.out.SkippedSteps++
	}
	seconds := time.Since(began).Seconds()
	r.rate.Add(result.Tokens, seconds)
	used, _, err := r.engine.Session.Stats()
	if err != nil {
		return err
	}
	err = r.events.Step(metrics.Step{Step: r.out.Steps, Epoch: metrics.Number(float64(r.out.Steps) / float64(perEpoch)), Loss: metrics.Number(result.Loss),
		LearningRate: metrics.Number(lr), GradNorm: metrics.Number(result.GradNorm), Tokens: result.Tokens, PaddedTokens: result.Padded,
		LabelledTokens: result.Labelled, Seconds: metrics.Number(seconds), TokensPerSecond: metrics.Number(float64(result.Tokens) / seconds), MemoryBytes: used,
		SkippedSteps: r.out.SkippedSteps, LossScale: metrics.Number(result.LossScale)})
	if err != nil {
		return err
	}
	if err := r.watch(result); err != nil {
		return err
	}
	if n := r.loop.EvalSteps; n > 0 && r.out.Steps%n == 0 {
		return r.evaluate()
	}
	return nil
}

// watch ends a run whose gradients stay broken; the weights are still those of the last
// good step. Where the loss is finite a large loss scale is what broke them, and falls.
func (r *runner) watch(result StepResult) error {
	finite := !math.IsNaN(result.Loss) && !math.IsInf(result.Loss, 0)
	if !result.Skipped || finite && result.LossScale >= 1 {
		r.skipped = 0
		return nil
	}
	if r.skipped++; r.skipped < maxSkipped {
		return nil
	}
	return &fault.Error{Kind: fault.Usage, Where: fmt.Sprintf("step %d", r.out.Steps), Found: fmt.Sprintf("a gradient norm of %v for %d steps in a row", result.GradNorm, r.skipped),
		Want: "a finite one", Remedy: "lower --lr, or look at the data with trainer data show"}
}

// evaluate reports the loss on the evaluation set, if there is one and the run is not
// interrupted meanwhile.
func (r *runner) evaluate() error {
	r.evaluatedAt = r.out.Steps
	if r.loop.Eval == nil {
		return nil
	}
	began := time.Now()
	loss, labelled, err := r.engine.Evaluate(r.ctx, r.engine.batches(r.loop.Eval, r.loop.PadID))
	if r.ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	r.evalSeconds += seconds
	if math.IsNaN(loss) && r.out.Steps == 0 {
		return fault.New(fault.Files, "the base model's loss on the evaluation data is not a number: its weights or the data are damaged")
	}
	return r.events.Eval(metrics.Eval{Step: r.out.Steps, Loss: metrics.Number(loss), LabelledTokens: labelled, Seconds: metrics.Number(seconds)})
}

// batches cuts a data set into batches in file order.
func (e *Engine) batches(d *data.Dataset, pad int32) []data.Batch {
	var out []data.Batch
	for rows := range slices.Chunk(d.Examples, int(e.Settings.Batch)) {
		out = append(out, e.collate(rows, pad))
	}
	return out
}

// collate pads examples to a shape the engine has a program for: full batches, rounded
// lengths. Rows added hold padding only.
func (e *Engine) collate(examples []data.Example, pad int32) data.Batch {
	b := data.Collate(examples, pad, int(e.Settings.Grain))
	for b.Rows < int(e.Settings.Batch) {
		b.Rows++
		for t := range b.Seq {
			b.IDs = append(b.IDs, pad)
			b.Samples = append(b.Samples, 0)
			b.Positions = append(b.Positions, int32(t))
		}
	}
	return b
}

// gib renders bytes for people.
func gib(n int64) string { return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30)) }
