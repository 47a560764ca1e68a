package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"trainer/core/abi"
	"trainer/core/conformance"
	"trainer/core/plugin"
	"trainer/files/atomicfile"
	"trainer/training/config"
	"trainer/training/metrics"
)

// trainingGroup is the group of fine-tunes: of the demo's model, 20 steps of each kind.
const trainingGroup = "training"

// Size of the fine-tunes.
const (
	checkedSteps   = 20
	checkedBatch   = 2
	checkedContext = 128
)

// trainingCases are the train types that are tried.
func trainingCases() conformance.Group {
	return conformance.Group{Name: trainingGroup, Case: []string{"full", "lora", "qlora"}}
}

// lossTolerance is how far a loss may lie from the known one, relatively, by the numerics
// class of f32 products.
func lossTolerance(numerics uint32) float64 {
	if numerics == abi.NumericsTF32 {
		return 1e-2
	}
	return 1e-3
}

// judgeTraining fine-tunes and compares each step's loss. folder is for files.
func judgeTraining(choice plugin.Choice, folder string, names []string, begin func(string), done func(conformance.Result)) {
	for _, name := range names {
		begin(name)
		res := conformance.Result{Op: trainingGroup, Case: name, Status: conformance.Pass, Demand: "training.loss"}
		losses, err := fineTune(choice, name, filepath.Join(folder, name))
		if err == nil {
			res.Share, err = compareLosses(losses, knownLosses[name], lossTolerance(choice.Info().Numerics))
		}
		if err != nil {
			res.Status, res.Reason = conformance.Fail, err.Error()
		}
		done(res)
	}
}

// compareLosses returns the largest difference in parts of what is allowed.
func compareLosses(got, want []float64, tolerance float64) (share float64, err error) {
	if len(got) != len(want) {
		return 0, fmt.Errorf("%d steps were made, expected %d", len(got), len(want))
	}
	for i := range got {
		limit := tolerance * want[i]
		off := math.Abs(got[i] - want[i])
		share = max(share, off/limit)
		if !(off <= limit) { // a NaN too
			return share, fmt.Errorf("the loss of step %d is %.6f, expected %.6f ± %.2g", i+1, got[i], want[i], limit)
		}
	}
	return share, nil
}

// fineTune trains the demo's model on a device in f32 and returns the loss of each step.
func fineTune(choice plugin.Choice, trainType, folder string) ([]float64, error) {
	if err := unpackDemo(folder); err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	c := config.Default()
	lr := 1e-3
	c.ModelName, c.Dataset, c.OutputDir = filepath.Join(folder, "model"), filepath.Join(folder, "train.jsonl"), filepath.Join(folder, "out")
	c.TrainType, c.LoraRank, c.LoraAlpha, c.LoraDropout = trainType, 8, 16, 0
	c.LR, c.LRScheduler, c.MaxSteps, c.BatchSize, c.ContextLength = &lr, "cosine", checkedSteps, checkedBatch, checkedContext
	c.Precision, c.Deterministic, c.Seed = "fp32", true, 1
	if err := c.Resolve(); err != nil {
		return nil, err
	}
	if err := atomicfile.PrepareOutput(c.OutputDir, true); err != nil {
		return nil, err
	}
	var losses listener
	_, err := runTraining(context.Background(), Job{Command: "train", Config: c, ModelDir: c.ModelName, Device: DeviceChoice{Choice: choice}}, &losses)
	return losses, err
}

// listener keeps the losses of a run.
type listener []float64

func (l *listener) Step(s metrics.Step) error {
	*l = append(*l, float64(s.Loss))
	return nil
}
func (l *listener) Log(string, ...any) error { return nil }
func (l *listener) Plan(PlanReport) error    { return nil }
func (l *listener) Start(Start) error        { return nil }
func (l *listener) Eval(metrics.Eval) error  { return nil }
func (l *listener) Answer(Answer) error      { return nil }
func (l *listener) Saved(string) error       { return nil }
func (l *listener) Checkpoint(string) error  { return nil }
