package main

import (
	"context"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"trainer/training/config"
	"trainer/training/metrics"
)

// newEval makes `trainer eval`.
func newEval(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "eval --model_name DIR --dataset FILE [flags]", Short: "loss of a model, or of an adapter on it, on a data set", Args: noArguments,
		Example: "  trainer eval --model_name DIR --adapter OUT --dataset FILE.jsonl"}
	settings := addSettings(cmd, inGroups([]config.Group{config.Device}, "model_name", "dataset", "dataset_format", "dataset_samples", "data_cache", "context_length",
		"batch_size", "train_type", "precision", "memory_limit", "host_memory_limit"))
	adapter := cmd.Flags().String("adapter", "", "PEFT folder `DIR`")
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		s, err := settings.config(func(c *config.Config) { c.TrainType = "lora" })
		if err != nil {
			return err
		}
		job, err := prepareEval(s, *adapter)
		if err != nil {
			return err
		}
		return c.eval(job, *asJSON)
	}
	return cmd
}

// prepareEval checks what can be checked without a backend and makes the job.
func prepareEval(c config.Config, adapter string) (job Job, err error) {
	job = Job{Command: "eval", Config: c, Adapter: adapter}
	if err := required(map[string]string{"model_name": c.ModelName, "dataset": c.Dataset}, "model_name", "dataset"); err != nil {
		return job, err
	}
	if job.ModelDir, err = checkModel(&job.Config); err != nil {
		return job, err
	}
	if adapter == "" && c.TrainType == "lora" && job.Config.Quantization == "none" {
		job.Config.TrainType = "full" // the same base without adapters
	}
	if err := checkAdapter("--adapter", adapter); err != nil {
		return job, err
	}
	if err := checkData(c.Dataset, c); err != nil {
		return job, err
	}
	job.Device, err = chooseDevice(&job.Config)
	return job, err
}

// EvalReport is the loss on a data set.
type EvalReport struct {
	Loss           metrics.Number `json:"loss"` // mean over all labelled tokens
	Perplexity     metrics.Number `json:"perplexity"`
	LabelledTokens int            `json:"labelled_tokens"`
	Seconds        metrics.Number `json:"seconds"`
}

// eval has the loss computed and shows it.
func (c *console) eval(job Job, asJSON bool) error {
	c.note("%s", job.Device.Why)
	var r *EvalReport
	_, err := launch(job, func(e event) error {
		if e.Eval != nil {
			r = &EvalReport{e.Eval.Loss, metrics.Number(math.Exp(float64(e.Eval.Loss))), e.Eval.LabelledTokens, e.Eval.Seconds}
		}
		return c.showLog(e)
	})
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("the worker evaluated nothing")
	}
	if asJSON {
		return c.json(r)
	}
	c.result("loss %.4f, perplexity %.2f, over %s tokens", float64(r.Loss), float64(r.Perplexity), grouped(int64(r.LabelledTokens)))
	return nil
}

// runEval is a run of no steps, which evaluates once.
func runEval(ctx context.Context, job Job, events Events) (result Result, err error) {
	if err := job.adoptAdapter(); err != nil {
		return result, err
	}
	w, err := openWorkshop(job)
	if err != nil {
		return result, err
	}
	defer w.close(&err)
	w.job.Config.MaxSteps, w.job.Config.EvalDataset, w.job.Config.EvalSamples = 0, "", 0
	loop, err := w.loop(events)
	if err != nil {
		return result, err
	}
	loop.Eval = loop.Train
	if err := w.ready(w.uses(loop)); err != nil {
		return result, err
	}
	out, err := w.engine.Train(ctx, loop, events)
	return Result{Interrupted: out.Interrupted}, err
}
