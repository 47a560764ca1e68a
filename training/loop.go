package training

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"trainer/fault"
	"trainer/training/checkpoint"
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

	From      checkpoint.State             // where the run goes on; what Restore filled belongs to it
	Save      func(checkpoint.State) error // writes a checkpoint; nil = none are saved
	SaveSteps int                          // save every so many steps, and the last; 0 = not
	SaveEvery time.Duration                // save when so much time has passed; 0 = not
	LogEvery  int                          // steps between those that checkpoints tell of; at least 1

	Record     string // file to which one step is recorded, for replaying; "" = none
	RecordStep int    // which, from 1
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

// Sampler decides the order of the training rows.
func (l Loop) Sampler(s Settings) data.Sampler {
	sampler := data.Sampler{Rows: len(l.Train.Examples), Shuffle: l.Shuffle, Seed: s.Seed}
	if l.GroupByLength {
		sampler.Lengths, sampler.Batch = l.Train.ExampleLengths(), int(s.Batch)
	}
	return sampler
}

// Uses are the lengths of the padded rows that the loop will see in training and in
// evaluation, each once, ascending.
func (l Loop) Uses(s Settings) Uses {
	count := l.MicroBatches(s)
	u := Uses{Train: slices.Sorted(maps.Keys(count))}
	for _, seq := range u.Train {
		if count[seq] == 1 {
			u.Once = append(u.Once, seq)
		}
	}
	if l.Eval == nil {
		return u
	}
	seen := map[int64]bool{}
	for rows := range slices.Chunk(l.Eval.Examples, int(s.Batch)) {
		seen[paddedLength(rows, s.Grain)] = true
	}
	u.Evaluate = slices.Sorted(maps.Keys(seen))
	return u
}

// MicroBatches counts those of the whole run by the length of their padded rows.
func (l Loop) MicroBatches(s Settings) map[int64]int {
	sampler := l.Sampler(s)
	perEpoch := sampler.StepsPerEpoch(int(s.Batch), s.Accumulation)
	count := map[int64]int{}
	var order []int
	for step := range l.Steps(int(s.Batch), s.Accumulation) {
		if step%perEpoch == 0 {
			order = sampler.Order(step / perEpoch)
		}
		for _, rows := range data.MicroBatches(order, step%perEpoch, int(s.Batch), s.Accumulation) {
			count[paddedLength(l.Train.Select(rows), s.Grain)]++
		}
	}
	return count
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

// Train runs the loop: evaluation, steps, evaluation; or what is left of it after
// l.From. When ctx is cancelled it finishes the step under way, or drops an evaluation,
// saves a checkpoint and returns with Interrupted set.
func (e *Engine) Train(ctx context.Context, l Loop, events Events) (Outcome, error) {
	r, err := e.runner(ctx, l, events)
	if err != nil {
		return Outcome{}, err
	}
	if r.state.Step == 0 || r.evaluationDue() {
		if err := r.evaluate(); err != nil {
			return r.outcome(err)
		}
	}
	r.clock.start()
	sampler := l.Sampler(e.Settings)
	var order []int
	for r.state.Step < r.state.Steps && ctx.Err() == nil {
		epoch, step := r.state.Step/r.state.PerEpoch, r.state.Step%r.state.PerEpoch
		if order == nil || step == 0 {
			order = sampler.Order(epoch)
		}
		if err := r.step(data.MicroBatches(order, step, int(e.Settings.Batch), e.Settings.Accumulation)); err != nil {
			return r.outcome(err)
		}
	}
	r.clock.stop()
	if r.state.EvaluatedAt != r.state.Step {
		if err := r.evaluate(); err != nil {
			return r.outcome(err)
		}
	}
	if r.interrupted = ctx.Err() != nil; r.interrupted {
		return r.outcome(r.save())
	}
	return r.outcome(nil)
}

// runner is one run of the loop.
type runner struct {
	ctx     context.Context
	engine  *Engine
	loop    Loop
	events  Events
	state   checkpoint.State // where the run stands
	rate    metrics.Throughput
	clock   clock // of training, evaluations left out
	saved   time.Time
	savedAt int

	interrupted bool
}

// runner stands where the loop begins.
func (e *Engine) runner(ctx context.Context, l Loop, events Events) (*runner, error) {
	r := &runner{ctx: ctx, engine: e, loop: l, events: events, state: l.From, saved: time.Now(), savedAt: l.From.Step}
	sampler := data.Sampler{Rows: len(l.Train.Examples)}
	r.state.Steps, r.state.PerEpoch = l.Steps(int(e.Settings.Batch), e.Settings.Accumulation), sampler.StepsPerEpoch(int(e.Settings.Batch), e.Settings.Accumulation)
	r.state.Seed, r.clock.seconds = e.Settings.Seed, l.From.Seconds
	if l.Save == nil {
		return r, nil
	}
	var err error
	r.state.Identity, err = e.Identity(l)
	return r, err
}

// outcome is how far the run came, with the error that ended it.
func (r *runner) outcome(err error) (Outcome, error) {
	o := Outcome{Interrupted: r.interrupted}
	o.Steps, o.SkippedSteps, o.Loss, o.Finished = r.state.Step, r.state.SkippedAll, r.state.Loss, err == nil && !r.interrupted
	o.Seconds, o.TokensPerSecond = metrics.Number(r.clock.now()), metrics.Number(r.rate.TokensPerSecond())
	_, peak, failed := r.engine.Session.Stats()
	if err == nil {
		err = failed
	}
	o.MemoryPeakBytes, o.MemoryPlannedBytes = peak, r.engine.Session.Memory().Total()
	return o, err
}

// clock counts seconds while it runs.
type clock struct {
	seconds float64   // until it was stopped last
	since   time.Time // when it was started; zero while it stands
}

func (c *clock) start() { c.since = time.Now() }
func (c *clock) stop()  { c.seconds, c.since = c.now(), time.Time{} }

func (c *clock) now() float64 {
	if c.since.IsZero() {
		return c.seconds
	}
	return c.seconds + time.Since(c.since).Seconds()
}

// step runs one optimizer step and reports it, and what is due after it.
func (r *runner) step(micro [][]int) error {
	began := time.Now()
	var batches []data.Batch
	for _, rows := range micro {
		batches = append(batches, r.engine.Collate(r.loop.Train.Select(rows), r.loop.PadID))
	}
	lr := r.loop.Schedule.At(r.state.Step)
	result, err := r.recorded(func() (StepResult, error) { return r.engine.Step(batches, lr, r.state.Step) })
	if err != nil {
		return err
	}
	if err := r.taken(result, lr, time.Since(began).Seconds()); err != nil {
		return err
	}
	if err := r.watch(result); err != nil {
		return err
	}
	if r.evaluationDue() {
		r.clock.stop()
		if err := r.evaluate(); err != nil {
			return err
		}
		r.clock.start()
	}
	if r.saveDue() {
		return r.save()
	}
	return nil
}

// taken counts a step and reports it.
func (r *runner) taken(result StepResult, lr, seconds float64) error {
	r.state.Step++
	r.state.Loss = metrics.Number(result.Loss)
	if result.Skipped {
		r.state.SkippedAll++
	}
	r.rate.Add(result.Tokens, seconds)
	used, _, err := r.engine.Session.Stats()
	if err != nil {
		return err
	}
	return r.report(metrics.Step{Step: r.state.Step, Epoch: metrics.Number(float64(r.state.Step) / float64(r.state.PerEpoch)), Loss: r.state.Loss,
		LearningRate: metrics.Number(lr), GradNorm: metrics.Number(result.GradNorm), Tokens: result.Tokens, PaddedTokens: result.Padded,
		LabelledTokens: result.Labelled, Seconds: metrics.Number(seconds), TokensPerSecond: metrics.Number(float64(result.Tokens) / seconds), MemoryBytes: used,
		SkippedSteps: r.state.SkippedAll, LossScale: metrics.Number(result.LossScale)})
}

// recorded takes a step, and records it where that is asked for.
func (r *runner) recorded(step func() (StepResult, error)) (StepResult, error) {
	if r.loop.Record == "" || r.state.Step+1 != r.loop.RecordStep {
		return step()
	}
	if err := r.engine.Session.Record(r.loop.Record, r.loop.RecordStep); err != nil {
		return StepResult{}, recordFault(r.loop.Record, err)
	}
	result, err := step()
	if closed := r.engine.Session.EndRecord(); err == nil && closed != nil {
		err = recordFault(r.loop.Record, closed)
	}
	return result, err
}

func recordFault(path string, err error) error {
	return &fault.Error{Kind: fault.Disk, Where: "--record " + path, Err: err}
}

// report tells of a step.
func (r *runner) report(s metrics.Step) error {
	s.Time = metrics.Now()
	if r.loop.Save != nil && (s.Step%r.loop.LogEvery == 0 || s.Step == r.state.Steps) {
		r.state.Log = append(r.state.Log, metrics.Event{Step: &s})
	}
	return r.events.Step(s)
}

// evaluationDue tells whether an evaluation is due after a step and was not made.
func (r *runner) evaluationDue() bool {
	n := r.loop.EvalSteps
	return n > 0 && r.state.Step%n == 0 && r.state.EvaluatedAt != r.state.Step
}

// saveDue tells whether a checkpoint is due.
func (r *runner) saveDue() bool {
	last := r.state.Step == r.state.Steps
	if n := r.loop.SaveSteps; n > 0 && (last || r.state.Step%n == 0) {
		return true
	}
	return r.loop.SaveEvery > 0 && !last && time.Since(r.saved) >= r.loop.SaveEvery
}

// save saves a checkpoint of the last step, unless there is one.
func (r *runner) save() error {
	if r.loop.Save == nil || r.state.Step == r.savedAt {
		return nil
	}
	r.state.Seconds = r.clock.now()
	if err := r.loop.Save(r.state); err != nil {
		return err
	}
	r.saved, r.savedAt = time.Now(), r.state.Step
	return nil
}

// watch ends a run whose gradients stay broken; the weights are still those of the last
// good step. Where the loss is finite a large loss scale is what broke them, and falls.
func (r *runner) watch(result StepResult) error {
	finite := !math.IsNaN(result.Loss) && !math.IsInf(result.Loss, 0)
	if !result.Skipped || finite && result.LossScale >= 1 {
		r.state.Skipped = 0
		return nil
	}
	if r.state.Skipped++; r.state.Skipped < maxSkipped {
		return nil
	}
	return &fault.Error{Kind: fault.Usage, Where: fmt.Sprintf("step %d", r.state.Step), Found: fmt.Sprintf("a gradient norm of %v for %d steps in a row", result.GradNorm, r.state.Skipped),
		Want: "a finite one", Remedy: "lower --lr, or look at the data with trainer data show"}
}

// evaluate reports the loss on the evaluation set, if there is one and the run is not
// interrupted meanwhile.
func (r *runner) evaluate() error {
	if r.loop.Eval == nil {
		r.state.EvaluatedAt = r.state.Step
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
	r.state.EvaluatedAt = r.state.Step
	if math.IsNaN(loss) && r.state.Step == 0 {
		return fault.New(fault.Files, "the base model's loss on the evaluation data is not a number: its weights or the data are damaged")
	}
	v := metrics.Eval{Step: r.state.Step, Loss: metrics.Number(loss), LabelledTokens: labelled, Seconds: metrics.Number(time.Since(began).Seconds())}
	v.Time = metrics.Now()
	if r.loop.Save != nil {
		r.state.Log = append(r.state.Log, metrics.Event{Eval: &v})
	}
	return r.events.Eval(v)
}

// batches cuts a data set into batches in file order.
func (e *Engine) batches(d *data.Dataset, pad int32) []data.Batch {
	var out []data.Batch
	for rows := range slices.Chunk(d.Examples, int(e.Settings.Batch)) {
		out = append(out, e.Collate(rows, pad))
	}
	return out
}

// Collate pads examples to a shape the engine has a program for: full batches, rounded
// lengths. Rows added hold padding only.
func (e *Engine) Collate(examples []data.Example, pad int32) data.Batch {
	b := data.Collate(examples, pad, int(e.Settings.Grain))
	for b.Rows < int(e.Settings.Batch) {
		b.Rows++
		b.Samples = append(b.Samples, 0)
		for t := range b.Seq {
			b.IDs = append(b.IDs, pad)
			b.Positions = append(b.Positions, int32(t))
		}
	}
	return b
}

// gib renders bytes for people.
func gib(n int64) string { return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30)) }
