package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"trainer/fault"
	"trainer/llama/surgery"
	"trainer/training"
)

// VerifyReport is how the logits of a merged model differ from those of base and adapter.
type VerifyReport struct {
	Difference float64 `json:"largest_difference"`
	Logit      float64 `json:"largest_logit"`
	Effect     float64 `json:"largest_change_by_adapter"`
	Allowed    float64 `json:"allowed_difference"`
}

// The texts that are compared: so many of so many random tokens at most.
const (
	verifiedTexts  = 4
	verifiedTokens = 32
)

// allowedShare is how far logits may differ, as a share of the largest, by the dtype the
// weights are stored in: its rounding adds up over layers.
var allowedShare = map[string]float64{"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}

// verify has a worker compare, and tells what it found.
func (c *console) verify(job Job) (*VerifyReport, error) {
	c.note("%s", job.Device.Why)
	var err error
	if job.ModelDir, err = modelFolder(job.Config.ModelName); err != nil {
		return nil, err
	}
	result, err := launch(job, c.showLog)
	var signal *stopped
	if result.Interrupted && errors.As(err, &signal) {
		signal.sentence = fmt.Sprintf("ended by %s; the merged model is in %s, not verified", signalName(signal.signal), job.Merged)
	}
	if err != nil {
		return nil, err
	}
	v := result.Verify
	if v == nil {
		return nil, fmt.Errorf("the worker verified nothing")
	}
	c.note("logits differ by at most %.3g; the largest is %.3g, and the adapter changes them by up to %.3g", v.Difference, v.Logit, v.Effect)
	if !(v.Difference <= v.Allowed) {
		return nil, &fault.Error{Kind: fault.Files, Where: job.Merged, Found: fmt.Sprintf("logits that differ by %.3g from those of base and adapter", v.Difference),
			Want: fmt.Sprintf("at most %.3g", v.Allowed), Remedy: "merge with --dtype float32, or keep the adapter apart"}
	}
	if v.Effect > 0 && v.Difference > v.Effect/2 {
		c.note("rounding takes a good part of what the adapter does: merge with --dtype float32 to keep it")
	}
	return v, nil
}

// runVerify compares a merged model with base and adapter, which are applied one beside the
// other.
func runVerify(ctx context.Context, job Job, _ Events) (Result, error) {
	v, err := job.verify(ctx)
	if errors.Is(err, context.Canceled) {
		return Result{Interrupted: true}, nil
	}
	return Result{Verify: v}, err
}

// verify loads the models one after the other, never two at a time.
func (j Job) verify(ctx context.Context) (*VerifyReport, error) {
	base := j
	base.Adapter = ""
	without, err := logitsOf(ctx, base)
	if err != nil {
		return nil, err
	}
	with, err := logitsOf(ctx, j)
	if err != nil {
		return nil, err
	}
	base.ModelDir = j.Merged
	merged, err := logitsOf(ctx, base)
	if err != nil {
		return nil, err
	}
	share, err := j.allowedShare()
	if err != nil {
		return nil, err
	}
	v := VerifyReport{Difference: largestDifference(with, merged), Logit: largestDifference(with, make([]float32, len(with))), Effect: largestDifference(with, without)}
	v.Allowed = share * v.Logit
	return &v, nil
}

// allowedShare is that of the dtype which rounds most.
func (j Job) allowedShare() (float64, error) {
	merged, err := surgery.OpenBase(j.Merged)
	if err != nil {
		return 0, err
	}
	defer merged.Close()
	if j.Config.Precision != "fp32" {
		return allowedShare["bfloat16"], nil
	}
	return allowedShare[merged.DType()], nil
}

// logitsOf are the scores behind random texts, of a job's model with its adapter, if it
// names one.
func logitsOf(ctx context.Context, job Job) (logits []float32, err error) {
	if err := job.adoptAdapter(); err != nil {
		return nil, err
	}
	w, err := openWeights(job)
	if err != nil {
		return nil, err
	}
	defer w.close(&err)
	if err := w.ready(training.Uses{Source: w.source, Generate: verifiedTokens}); err != nil {
		return nil, err
	}
	numbers := rand.New(rand.NewPCG(job.Config.Seed, 0))
	for text := 1; text <= verifiedTexts; text++ {
		ids := make([]int32, text*verifiedTokens/verifiedTexts)
		for i := range ids {
			ids[i] = int32(numbers.Int64N(w.model.Vocab()))
		}
		scores, err := w.engine.Logits(ids, job.Adapter == "")
		if err != nil {
			return nil, err
		}
		logits = append(logits, scores...)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return logits, nil
}

// largestDifference is NaN where any difference is.
func largestDifference(a, b []float32) (most float64) {
	for i := range a {
		most = max(most, math.Abs(float64(a[i])-float64(b[i])))
	}
	return most
}
