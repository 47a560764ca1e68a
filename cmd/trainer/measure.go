package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"trainer/fault"
	"trainer/training"
	"trainer/training/config"
	"trainer/training/data"
	"trainer/training/metrics"
)

// runPlan tells what a run takes, without running it.
func runPlan(_ context.Context, job Job, events Events) (result Result, err error) {
	w, err := openWorkshop(job)
	if err != nil {
		return result, err
	}
	defer w.close(&err)
	uses, steps, err := w.plannedUses(events)
	if err != nil {
		return result, err
	}
	err = w.prepare(uses)
	if tooLarge(err) {
		report, err := w.reportTooLarge(uses, steps)
		return Result{Plan: &report}, err
	}
	if err != nil {
		return result, err
	}
	report := w.report(steps)
	return Result{Plan: &report}, nil
}

// plannedUses are those of the run: by its data, or of full rows where there is none.
func (w *workshop) plannedUses(events Events) (uses training.Uses, steps int, err error) {
	c := w.job.Config
	if c.Dataset == "" || w.tok == nil {
		return w.fullRows(), 0, nil
	}
	loop, err := w.loop(events)
	if err != nil {
		return uses, 0, err
	}
	return w.uses(loop), loop.Steps(c.BatchSize, c.GradientAccumulationSteps), nil
}

// fullRows trains on rows of the context length alone.
func (w *workshop) fullRows() training.Uses {
	s := w.settings()
	longest := (int64(w.job.Config.ContextLength) + s.Grain - 1) / s.Grain * s.Grain
	return training.Uses{Source: w.source, Train: []int64{longest}}
}

func tooLarge(err error) bool {
	var known *fault.Error
	return errors.As(err, &known) && known.Kind == fault.Memory
}

// reportTooLarge is the least that a run takes which does not fit, and the smallest change
// that makes it fit.
func (w *workshop) reportTooLarge(uses training.Uses, steps int) (PlanReport, error) {
	limit := w.limit()
	change := w.smallestChange()
	w.unlimited = true
	if w.job.Config.Recompute == "auto" {
		w.job.Config.Recompute = "block"
	}
	if err := w.prepare(uses); err != nil {
		return PlanReport{}, err
	}
	report := w.report(steps)
	report.Limit, report.Fits, report.Change = limit, false, change
	return report, nil
}

// smallestChange names the first of a few changes, from the mildest on, with which the run
// fits.
func (w *workshop) smallestChange() string {
	for _, ch := range changes(w.job.Config) {
		job := w.job
		job.Config = ch.config
		other := &workshop{job: job, model: w.model, source: w.source}
		var err error
		if err = other.prepare(other.fullRows()); err == nil {
			other.close(&err)
			return ch.text
		}
	}
	return "lower --batch_size and --context_length, take a smaller model, or a device with more memory"
}

// change is a change of settings and its words.
type change struct {
	text   string
	config config.Config
}

// changes lists what takes less memory, from the mildest on.
func changes(c config.Config) (list []change) {
	try := func(text string, edit func(*config.Config)) {
		edited := c
		edit(&edited)
		list = append(list, change{text, edited})
	}
	if c.Recompute != "auto" {
		try("with --recompute auto it fits", func(c *config.Config) { c.Recompute = "auto" })
	}
	for batch := c.BatchSize / 2; batch >= 1; batch /= 2 {
		text := fmt.Sprintf("with --batch_size %d --gradient_accumulation_steps %d it fits", batch, c.GradientAccumulationSteps*c.BatchSize/batch)
		try(text, func(c *config.Config) { c.BatchSize, c.Recompute = batch, "auto" })
	}
	for length := c.ContextLength / 2; length >= 128; length /= 2 {
		try(fmt.Sprintf("with --batch_size 1 --context_length %d it fits", length), func(c *config.Config) { c.BatchSize, c.ContextLength, c.Recompute = 1, length, "auto" })
	}
	if c.TrainType != "qlora" {
		try("with --train_type qlora it fits", func(c *config.Config) { c.TrainType, c.Recompute = "qlora", "auto" })
	}
	return list
}

// The steps of a benchmark.
const (
	benchWarmUp = 3
	benchTimed  = 8
)

// runBench times training steps on random weights and random tokens, all labelled.
func runBench(ctx context.Context, job Job, events Events) (result Result, err error) {
	w, err := openWorkshop(job)
	if err != nil {
		return result, err
	}
	defer w.close(&err)
	if err := w.prepare(w.fullRows()); err != nil {
		return result, err
	}
	if err := events.Plan(w.report(0)); err != nil {
		return result, err
	}
	if err := w.allocate(); err != nil {
		return result, err
	}
	bench, err := w.time(ctx, events)
	return Result{Bench: &bench, Interrupted: ctx.Err() != nil}, err
}

// time runs the steps.
func (w *workshop) time(ctx context.Context, events Events) (BenchReport, error) {
	c := w.job.Config
	b := BenchReport{Backend: c.Backend, Device: w.job.Device.Info().Name, Model: w.name(), TrainType: c.TrainType, Precision: c.Precision,
		BatchSize: c.BatchSize, ContextLength: c.ContextLength}
	timed := benchTimed
	if c.MaxSteps > 0 {
		timed = c.MaxSteps
	}
	var rate metrics.Throughput
	for step := 0; step < benchWarmUp+timed && ctx.Err() == nil; step++ {
		var micro []data.Batch
		for i := range c.GradientAccumulationSteps {
			micro = append(micro, w.randomBatch(step*c.GradientAccumulationSteps+i))
		}
		began := time.Now()
		r, err := w.engine.Step(micro, *c.LR, step)
		if err != nil {
			return b, err
		}
		seconds := time.Since(began).Seconds()
		rate.Add(r.Tokens, seconds)
		b.Loss, b.Steps = metrics.Number(r.Loss), max(0, step+1-benchWarmUp)
		if err := events.Step(metrics.Step{Step: step + 1, Loss: b.Loss, Tokens: r.Tokens, Seconds: metrics.Number(seconds),
			TokensPerSecond: metrics.Number(float64(r.Tokens) / seconds)}); err != nil {
			return b, err
		}
		b.SecondsPerStep = metrics.Number(float64(r.Tokens) / rate.Median())
	}
	b.TokensPerSecond = metrics.Number(rate.Median())
	var err error
	_, b.MemoryPeakBytes, err = w.engine.Session.Stats()
	b.MemoryPlannedBytes = w.engine.Session.Memory().Total()
	return b, err
}

// randomBatch fills a batch with tokens that are spread over the vocabulary.
func (w *workshop) randomBatch(seed int) data.Batch {
	s, c := w.settings(), w.job.Config
	numbers := rand.New(rand.NewPCG(c.Seed, uint64(seed)))
	examples := make([]data.Example, c.BatchSize)
	for r := range examples {
		ids := make([]int32, c.ContextLength)
		for t := range ids {
			ids[t] = int32(numbers.Int64N(w.model.Vocab()))
		}
		examples[r] = data.Example{IDs: ids, Labels: ids, Row: seed*c.BatchSize + r}
	}
	return data.Collate(examples, 0, int(s.Grain))
}
