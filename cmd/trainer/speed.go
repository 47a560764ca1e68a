package main

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"trainer/core/session"
	"trainer/training"
	"trainer/training/data"
	"trainer/training/metrics"
)

// benchCommand is the job that measures.
const benchCommand = "bench"

// The steps of a benchmark: to warm up with every length of rows, and timed, of rows alike and
// of a data set's.
const (
	benchWarmUp    = 3
	benchTimed     = 8
	benchTimedData = 32
)

// How long each rate is measured, and each kind of op.
const (
	ratePatience = 500 * time.Millisecond
	opPatience   = 50 * time.Millisecond
)

// runBench times training steps on random tokens, all labelled, or on the rows of a data set,
// or each kind of op alone.
// What bounds the device is measured in the same run.
func runBench(ctx context.Context, job Job, events Events) (result Result, err error) {
	w, err := openWorkshop(job)
	if err != nil {
		return result, err
	}
	defer w.close(&err)
	rows, err := w.benchRows(events)
	if err != nil {
		return result, err
	}
	if err := w.prepare(rows.uses); err != nil {
		return result, err
	}
	plan := w.report(0)
	if err := events.Plan(plan); err != nil {
		return result, err
	}
	c := job.Config
	b := &BenchReport{Backend: c.Backend, Device: job.Device.Info().Name, Model: plan.Model, TrainType: c.TrainType, Precision: c.Precision,
		Recompute: plan.Recompute, Offload: plan.Offload, BatchSize: c.BatchSize, ContextLength: c.ContextLength, Dataset: c.Dataset, Packing: c.Packing, PaddingShare: metrics.Number(rows.padding)}
	if err := w.allocateTimed(b); err != nil {
		return result, err
	}
	if job.Bench.Ops {
		err = w.benchOps(ctx, events, b)
	} else {
		err = w.benchSteps(ctx, events, b, rows)
	}
	return Result{Bench: b, Interrupted: ctx.Err() != nil}, err
}

func (w *workshop) allocateTimed(b *BenchReport) error {
	began := time.Now()
	err := w.allocate()
	b.LoadSeconds = metrics.Number(time.Since(began).Seconds())
	return err
}

// benchSteps times steps, counts what they compute, and times the nodes of one of the
// commonest length where the job asks for it.
func (w *workshop) benchSteps(ctx context.Context, events Events, b *BenchReport, rows benchRows) error {
	timed, err := w.timeSteps(ctx, events, b, rows)
	if err != nil || timed.steps == 0 {
		return err
	}
	timed.report(b, rows.loop == nil)
	if _, b.MemoryPeakBytes, err = w.engine.Session.Stats(); err != nil {
		return err
	}
	b.MemoryPlannedBytes = w.engine.Session.Memory().Total()
	if err := w.countFLOPs(timed, b); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	var costs []training.Cost
	if w.job.Bench.Profile {
		b.Within = w.engine.Session.Device().HasTimes()
		if costs, err = w.engine.Profile(timed.commonest().first); err != nil {
			return err
		}
	}
	if err := w.measureRates(events, b); err != nil {
		return err
	}
	b.GEMMShare = metrics.Number(b.FLOPsPerStep / float64(b.SecondsPerStep) / b.GEMM)
	if !w.job.Bench.Profile {
		return nil
	}
	b.Phases = profileLines(costs, b.Rates, func(c training.Cost) string { return c.Phase })
	slices.SortStableFunc(b.Phases, func(x, y ProfileLine) int {
		return cmp.Compare(slices.Index(training.StepPhases, x.Name), slices.Index(training.StepPhases, y.Name))
	})
	b.Families = profileLines(costs, b.Rates, func(c training.Cost) string { return c.Family })
	b.TraceFile, err = writeTrace(w.job.Bench.Profiling, b, costs)
	return err
}

// timeSteps warms every length of rows up, then times steps.
func (w *workshop) timeSteps(ctx context.Context, events Events, b *BenchReport, rows benchRows) (timing, error) {
	t := timing{lengths: map[int]*sameLength{}}
	step := 0
	run := func(micro []data.Batch) (tokens int, seconds float64, err error) {
		began := time.Now()
		r, err := w.engine.Step(micro, *w.job.Config.LR, step)
		if err != nil {
			return 0, 0, err
		}
		seconds = time.Since(began).Seconds()
		step++
		b.Loss = metrics.Number(r.Loss)
		return r.Tokens, seconds, events.Step(metrics.Step{Step: step, Loss: b.Loss, Tokens: r.Tokens, Seconds: metrics.Number(seconds),
			TokensPerSecond: metrics.Number(float64(r.Tokens) / seconds)})
	}
	for _, length := range rows.uses.Train {
		for i := 0; i < benchWarmUp && ctx.Err() == nil; i++ {
			if _, _, err := run(w.randomMicro(i, int(length))); err != nil {
				return t, err
			}
		}
	}
	for n := w.benchTimed(); t.steps < n && ctx.Err() == nil; {
		micro := rows.micro(w, t.steps)
		tokens, seconds, err := run(micro)
		if err != nil {
			return t, err
		}
		t.add(micro, tokens, seconds)
	}
	return t, nil
}

// benchTimed is how many steps are timed.
func (w *workshop) benchTimed() int {
	switch c := w.job.Config; {
	case c.MaxSteps > 0:
		return c.MaxSteps
	case c.Dataset != "":
		return benchTimedData
	}
	return benchTimed
}

// countFLOPs adds up the products of the timed steps.
func (w *workshop) countFLOPs(t timing, b *BenchReport) error {
	for _, l := range t.lengths {
		costs, err := w.engine.Costs(l.first)
		if err != nil {
			return err
		}
		for _, cost := range costs {
			flops := cost.FLOPs * float64(l.count) / float64(t.steps)
			b.FLOPsPerStep += flops
			if cost.Phase == training.PhaseRecompute {
				b.RecomputedFLOPs += flops
			}
		}
	}
	b.FLOPsPerToken = b.FLOPsPerStep * float64(t.steps) / float64(t.tokens)
	return nil
}

// measureRates measures what bounds the device, when the engine has given its memory back.
func (w *workshop) measureRates(events Events, b *BenchReport) error {
	if err := events.Log("measuring the rates of products and copies"); err != nil {
		return err
	}
	if err := w.release(); err != nil {
		return err
	}
	device, err := w.device()
	if err != nil {
		return err
	}
	b.Rates, err = session.Measure(device, session.Probe{Compute: w.settings().Precision.Compute, Room: w.limit(), Patience: ratePatience})
	return err
}

// profileLines adds costs up by a name, the slowest first.
func profileLines(costs []training.Cost, rates session.Rates, name func(training.Cost) string) []ProfileLine {
	at, whole := map[string]int{}, 0.0
	var lines []ProfileLine
	for _, c := range costs {
		i, seen := at[name(c)]
		if !seen {
			i = len(lines)
			at[name(c)] = i
			lines = append(lines, ProfileLine{Name: name(c)})
		}
		l := &lines[i]
		l.Calls++
		l.Seconds += c.Seconds
		l.FLOPs += c.FLOPs
		l.Bytes += c.Bytes
		l.BoundShare += ideal(c.FLOPs, c.Bytes, rates)
		whole += c.Seconds
	}
	for i := range lines {
		lines[i].Share, lines[i].BoundShare = lines[i].Seconds/whole, lines[i].BoundShare/lines[i].Seconds
	}
	slices.SortStableFunc(lines, func(x, y ProfileLine) int { return cmp.Compare(y.Seconds, x.Seconds) })
	return lines
}

// randomMicro are the micro-batches of random step n.
func (w *workshop) randomMicro(n, length int) (batches []data.Batch) {
	accumulation := w.job.Config.GradientAccumulationSteps
	for i := range accumulation {
		batches = append(batches, w.randomBatch(n*accumulation+i, length))
	}
	return batches
}

// randomBatch fills a batch of rows of a length with tokens that are spread over the
// vocabulary.
func (w *workshop) randomBatch(seed, length int) data.Batch {
	s, c := w.settings(), w.job.Config
	numbers := rand.New(rand.NewPCG(c.Seed, uint64(seed)))
	examples := make([]data.Example, c.BatchSize)
	for r := range examples {
		ids := make([]int32, length)
		for t := range ids {
			ids[t] = int32(numbers.Int64N(w.model.Vocab()))
		}
		examples[r] = data.Example{IDs: ids, Labels: ids, Row: seed*c.BatchSize + r}
	}
	return data.Collate(examples, 0, int(s.Grain))
}
