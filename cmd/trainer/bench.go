package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"trainer/training/config"
)

// newBench makes `trainer bench`.
func newBench(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "bench --shape NAME [flags]", Short: "the speed of training a known shape with random weights", Args: noArguments,
		Example: "  trainer bench --shape smollm2-135m --train_type lora --batch_size 4 --context_length 256"}
	settings := addSettings(cmd, inGroups([]config.Group{config.TrainedPart, config.Memory, config.Device}, "shape", "context_length", "batch_size", "gradient_accumulation_steps", "max_steps"))
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		settings, err := settings.config(nil)
		if err != nil {
			return err
		}
		if err := required(map[string]string{"shape": settings.Shape}, "shape"); err != nil {
			return err
		}
		job := Job{Command: "bench", Config: settings}
		if err := checkShape(settings.Shape); err != nil {
			return err
		}
		if job.Device, err = chooseDevice(&job.Config); err != nil {
			return err
		}
		c.note("%s", job.Device.Why)
		result, err := launch(job, c.showBench)
		if err != nil {
			return err
		}
		if result.Bench == nil {
			return fmt.Errorf("the worker measured nothing")
		}
		return c.benchResult(*result.Bench, *asJSON)
	}
	return cmd
}

// showBench shows how a measurement goes on.
func (c *console) showBench(e event) error {
	switch {
	case e.Plan != nil:
		c.note("%s", planLine(*e.Plan))
	case e.Step != nil:
		c.note("step %d  loss %.4f  %.3f s  %.0f tokens/s", e.Step.Step, float64(e.Step.Loss), float64(e.Step.Seconds), float64(e.Step.TokensPerSecond))
	}
	return c.showLog(e)
}

func (c *console) benchResult(b BenchReport, asJSON bool) error {
	if asJSON {
		return c.json(b)
	}
	c.result("%s %s %s, batch %d × %d tokens, on %s (%s)", b.Model, b.TrainType, b.Precision, b.BatchSize, b.ContextLength, b.Backend, b.Device)
	c.result("  %.0f tokens/s, %.3f s a step (median of %d)", float64(b.TokensPerSecond), float64(b.SecondsPerStep), b.Steps)
	c.result("  memory %s, planned %s", gib(b.MemoryPeakBytes), gib(b.MemoryPlannedBytes))
	return nil
}
