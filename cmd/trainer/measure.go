package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"trainer/core/session"
	"trainer/fault"
	"trainer/training"
	"trainer/training/config"
)

// runPlan tells what a run takes, without running it.
func runPlan(_ context.Context, job Job, events Events) (result Result, err error) {
	w, err := openWorkshop(job)
	if err != nil {
		return result, err
	}
	defer w.close(&err)
	uses, loop, err := w.plannedUses(events)
	if err != nil {
		return result, err
	}
	steps := 0
	if loop != nil {
		steps = loop.Steps(job.Config.BatchSize, job.Config.GradientAccumulationSteps)
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
	if err := w.estimate(&report, uses, loop); err != nil {
		err = events.Log("the time was not estimated: %v", err)
		return Result{Plan: &report}, err
	}
	return Result{Plan: &report}, nil
}

// estimate adds the least time that the steps take: all their products at the rate of dense
// ones, which a short probe measures. Without a device, or without training, it is not known.
func (w *workshop) estimate(report *PlanReport, uses training.Uses, loop *training.Loop) error {
	if !w.job.Device.Found() {
		return nil
	}
	device, err := w.device()
	if err != nil {
		return err
	}
	rates, err := session.Measure(device, session.Probe{Compute: w.settings().Precision.Compute, Room: w.limit(), Brief: true})
	if err != nil {
		return err
	}
	micro := map[int64]int{slices.Max(uses.Train): w.job.Config.GradientAccumulationSteps}
	steps := 1
	if loop != nil {
		micro, steps = loop.MicroBatches(w.settings()), max(1, report.Steps)
	}
	var flops float64
	for length, count := range micro {
		costs, err := w.engine.Costs(w.randomBatch(0, int(length)))
		if err != nil {
			return err
		}
		for _, c := range costs {
			flops += c.FLOPs * float64(count)
		}
	}
	report.StepTime = flops / rates.GEMM / float64(steps)
	report.Seconds = report.StepTime * float64(report.Steps)
	return nil
}

// plannedUses are those of the run: by its data, or of full rows, without a loop, where there
// is none.
func (w *workshop) plannedUses(events Events) (training.Uses, *training.Loop, error) {
	if w.job.Config.Dataset == "" || w.tok == nil {
		return w.fullRows(), nil, nil
	}
	loop, err := w.loop(events)
	if err != nil {
		return training.Uses{}, nil, err
	}
	return w.uses(loop), &loop, nil
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
	if c.Quantization == "none" {
		try("with --train_type qlora it fits", func(c *config.Config) { c.TrainType, c.Quantization, c.Recompute = "qlora", "nf4", "auto" })
	}
	return list
}
