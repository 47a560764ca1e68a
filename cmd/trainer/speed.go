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

// The steps of a benchmark.
const (
	benchWarmUp = 3
	benchTimed  = 8
)

// How long each rate is measured, and each kind of op.
const (
	ratePatience = 500 * time.Millisecond
	opPatience   = 50 * time.Millisecond
)

// runBench times training steps on random tokens, all labelled, or each kind of op alone.
// What bounds the device is measured in the same run.
func runBench(ctx context.Context, job Job, events Events) (result Result, err error) {
	w, err := openWorkshop(job)
	if err != nil {
		return result, err
	}
	defer w.close(&err)
	if err := w.prepare(w.fullRows()); err != nil {
		return result, err
	}
	plan := w.report(0)
	if err := events.Plan(plan); err != nil {
		return result, err
	}
	c := job.Config
	b := &BenchReport{Backend: c.Backend, Device: job.Device.Info().Name, Model: plan.Model, TrainType: c.TrainType, Precision: c.Precision,
		Recompute: plan.Recompute, Offload: plan.Offload, BatchSize: c.BatchSize, ContextLength: c.ContextLength}
	if err := w.allocateTimed(b); err != nil {
		return result, err
	}
	measure := w.benchSteps
	if job.Bench.Ops {
		measure = w.benchOps
	}
	err = measure(ctx, events, b)
	return Result{Bench: b, Interrupted: ctx.Err() != nil}, err
}

func (w *workshop) allocateTimed(b *BenchReport) error {
	began := time.Now()
	err := w.allocate()
	b.LoadSeconds = metrics.Number(time.Since(began).Seconds())
	return err
}

// benchSteps times steps, counts what they compute, and times their nodes where the job asks
// for it.
func (w *workshop) benchSteps(ctx context.Context, events Events, b *BenchReport) error {
	if err := w.timeSteps(ctx, events, b); err != nil {
		return err
	}
	var err error
	if _, b.MemoryPeakBytes, err = w.engine.Session.Stats(); err != nil {
		return err
	}
	b.MemoryPlannedBytes = w.engine.Session.Memory().Total()
	batch := w.randomBatch(0, w.job.Config.ContextLength)
	costs, err := w.engine.Costs(batch)
	if err != nil {
		return err
	}
	w.countFLOPs(costs, b)
	if ctx.Err() != nil {
		return nil
	}
	if w.job.Bench.Profile {
		if costs, err = w.engine.Profile(batch); err != nil {
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

// timeSteps runs the steps.
func (w *workshop) timeSteps(ctx context.Context, events Events, b *BenchReport) error {
	c := w.job.Config
	timed := benchTimed
	if c.MaxSteps > 0 {
		timed = c.MaxSteps
	}
	var rate metrics.Throughput
	for step := 0; step < benchWarmUp+timed && ctx.Err() == nil; step++ {
		var micro []data.Batch
		for i := range c.GradientAccumulationSteps {
			micro = append(micro, w.randomBatch(step*c.GradientAccumulationSteps+i, c.ContextLength))
		}
		began := time.Now()
		r, err := w.engine.Step(micro, *c.LR, step)
		if err != nil {
			return err
		}
		seconds := time.Since(began).Seconds()
		rate.Add(r.Tokens, seconds)
		b.Loss, b.Steps = metrics.Number(r.Loss), max(0, step+1-benchWarmUp)
		if err := events.Step(metrics.Step{Step: step + 1, Loss: b.Loss, Tokens: r.Tokens, Seconds: metrics.Number(seconds),
			TokensPerSecond: metrics.Number(float64(r.Tokens) / seconds)}); err != nil {
			return err
		}
		b.SecondsPerStep = metrics.Number(float64(r.Tokens) / rate.Median())
	}
	b.TokensPerSecond = metrics.Number(rate.Median())
	return nil
}

// countFLOPs adds up the products of a step whose micro-batches cost so much each.
func (w *workshop) countFLOPs(costs []training.Cost, b *BenchReport) {
	c := w.job.Config
	for _, cost := range costs {
		flops := cost.FLOPs * float64(c.GradientAccumulationSteps)
		b.FLOPsPerStep += flops
		if cost.Phase == training.PhaseRecompute {
			b.RecomputedFLOPs += flops
		}
	}
	b.FLOPsPerToken = b.FLOPsPerStep / float64(c.BatchSize*c.ContextLength*c.GradientAccumulationSteps)
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
