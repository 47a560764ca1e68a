package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"trainer/fault"
	"trainer/training/config"
)

// newBench makes `trainer bench`.
func newBench(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "bench (--shape NAME | --model_name DIR) [flags]", Short: "the speed of training, and what bounds it", Args: noArguments,
		Long: `The speed of training steps on random tokens, all labelled, or on the rows of a data set, without
their padding: of a known shape with random weights, or of a model folder. With it the FLOPs of
a step, the rate of dense matrix products that the device reaches in the same run, and the
share of it that training reaches.`,
		Example: `  trainer bench --shape smollm2-135m --train_type lora --batch_size 4 --context_length 256
  trainer bench --shape smollm2-135m --profile --profiling_output trace.json
  trainer bench --shape smollm2-135m --ops
  trainer bench --shape llama-2-7b --dataset DATA --tokenizer DIR --packing --context_length 2048
  trainer bench --shape llama-2-7b --write_model DIR && trainer bench --model_name DIR`}
	settings := addSettings(cmd, inGroups([]config.Group{config.TrainedPart, config.Memory, config.Device}, "model_name", "shape", "dataset", "dataset_format", "dataset_samples", "data_cache", "packing", "group_by_length", "context_length", "batch_size", "gradient_accumulation_steps", "max_steps"))
	var options BenchOptions
	cmd.Flags().BoolVar(&options.Profile, "profile", false, "after the steps, time the nodes of one, each alone where the backend has no times: tables by phase and op, and a trace for chrome://tracing")
	cmd.Flags().StringVar(&options.Profiling, "profiling_output", "profiles", "with --profile: `PATH` of the trace, a folder or a file that ends in .json")
	cmd.Flags().BoolVar(&options.Ops, "ops", false, "instead of steps, time every kind of op alone, at the sizes of a step, against what bounds it")
	writeModel := cmd.Flags().String("write_model", "", "instead of measuring, write a folder `DIR` of random bf16 weights of the --shape")
	cmd.Flags().StringVar(&options.Tokenizer, "tokenizer", "", "a model folder `DIR` whose tokenizer reads the --dataset, or is put beside the weights of --write_model; training asks for one there")
	asJSON := addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := settings.config(nil)
		if err != nil {
			return err
		}
		if err := checkTogether(cmd); err != nil {
			return err
		}
		if *writeModel != "" {
			return c.writeModel(modelToWrite{*writeModel, options.Tokenizer}, settings)
		}
		job, err := prepareBench(settings, options)
		if err != nil {
			return err
		}
		return c.bench(job, *asJSON)
	}
	return cmd
}

// prepareBench checks what can be checked without a backend and makes the job.
func prepareBench(c config.Config, options BenchOptions) (job Job, err error) {
	job = Job{Command: benchCommand, Config: c, Bench: options}
	if err := checkModelOrShape(&job); err != nil {
		return job, err
	}
	if err := options.checkRows(job); err != nil {
		return job, err
	}
	job.Device, err = chooseDevice(&job.Config)
	return job, err
}

// bench has a worker measure and shows it.
func (c *console) bench(job Job, asJSON bool) error {
	c.note("%s", job.Device.Why)
	result, err := launch(job, c.showBench)
	if err != nil {
		return err
	}
	if result.Bench == nil {
		return fmt.Errorf("the worker measured nothing")
	}
	return c.benchResult(*result.Bench, asJSON)
}

// checkTogether refuses flags of a benchmark that do not go together, and those without the
// one they belong to.
func checkTogether(cmd *cobra.Command) error {
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	for _, pair := range [][2]string{{"ops", "profile"}, {"write_model", "model_name"}, {"write_model", "dataset"}, {"write_model", "ops"}, {"write_model", "profile"}} {
		if given(pair[0]) && given(pair[1]) {
			return fault.New(fault.Usage, "found both --%s and --%s, expected one of them", pair[0], pair[1])
		}
	}
	if given("profiling_output") && !given("profile") {
		return fault.New(fault.Usage, "found --profiling_output without --profile, which it belongs to")
	}
	if given("tokenizer") && !given("write_model") && !given("dataset") {
		return fault.New(fault.Usage, "found --tokenizer without --dataset or --write_model, which it belongs to")
	}
	return nil
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

// benchResult writes what was measured.
func (c *console) benchResult(b BenchReport, asJSON bool) error {
	if asJSON {
		return c.json(b)
	}
	c.result("%s %s %s, batch %d × %d tokens, recompute %s%s, on %s (%s)", b.Model, b.TrainType, b.Precision, b.BatchSize, b.ContextLength, b.Recompute, offloadText(b.Offload), b.Backend, b.Device)
	c.result("  weights ready in %s", duration(float64(b.LoadSeconds)))
	if b.Ops == nil {
		c.stepResult(b)
	}
	c.result("  measured here: dense products %s, copies %s", perSecond(b.GEMM, "FLOP"), perSecond(b.Copy, "B"))
	if b.Ops != nil {
		c.opTable(b)
	}
	if b.Families != nil {
		c.profileTables(b)
	}
	return nil
}

func (c *console) stepResult(b BenchReport) {
	kind := "median"
	if b.Dataset != "" {
		kind = "mean"
	}
	c.result("  %.0f tokens/s, %.3f s a step (%s of %d)", float64(b.TokensPerSecond), float64(b.SecondsPerStep), kind, b.Steps)
	if b.Dataset != "" {
		c.result("  tokens of %s, padding not counted: %.1f %% of the places of an epoch", b.Dataset, 100*float64(b.PaddingShare))
	}
	c.result("  memory %s, planned %s", gib(b.MemoryPeakBytes), gib(b.MemoryPlannedBytes))
	again := ""
	if b.RecomputedFLOPs > 0 {
		again = fmt.Sprintf(", %.1f %% of it recompute", 100*b.RecomputedFLOPs/b.FLOPsPerStep)
	}
	c.result("  %s a step, %s a token%s", metric(b.FLOPsPerStep, "FLOP"), metric(b.FLOPsPerToken, "FLOP"), again)
	c.result("  %s, %.1f %% of the rate of dense products", perSecond(b.FLOPsPerStep/float64(b.SecondsPerStep), "FLOP"), 100*float64(b.GEMMShare))
}

// profileTables writes where the time of a step goes.
func (c *console) profileTables(b BenchReport) {
	var together float64
	for _, l := range b.Phases {
		together += l.Seconds
	}
	if b.Within {
		c.result("  its nodes one after the other, within the step: %s together", duration(together))
	} else {
		c.result("  every node run alone: %s together", duration(together))
	}
	for _, table := range []struct {
		title string
		lines []ProfileLine
	}{{"phase", b.Phases}, {"op", b.Families}} {
		c.result("\n%-22s %6s %11s %8s %16s %9s", table.title, "calls", "ms", "share", "rate", "of bound")
		for _, l := range table.lines {
			c.result("%-22s %6d %11.3f %6.1f %% %16s %7.1f %%", l.Name, l.Calls, 1e3*l.Seconds, 100*l.Share, l.rate(l.Seconds), 100*l.BoundShare)
		}
	}
	c.result("\ntrace: %s", b.TraceFile)
}

// opTable writes what each kind of op takes.
func (c *console) opTable(b BenchReport) {
	c.result("\n%-22s %-44s %6s %11s %16s %9s", "op", "reads → writes", "calls", "ms", "rate", "of bound")
	for _, o := range b.Ops {
		c.result("%-22s %-44s %6d %11.4f %16s %7.1f %%", o.Family, o.Shapes, o.Calls, 1e3*o.Seconds, o.rate(o.Seconds), 100*o.BoundShare)
	}
}

// rate is FLOPs, or where there are none bytes, per second.
func (b Bound) rate(seconds float64) string {
	if b.FLOPs > 0 {
		return perSecond(b.FLOPs/seconds, "FLOP")
	}
	return perSecond(b.Bytes/seconds, "B")
}

func perSecond(x float64, unit string) string { return metric(x, unit) + "/s" }

// metric writes a number of units with a prefix, as 1.23 TFLOP.
func metric(x float64, unit string) string {
	const prefixes = " kMGTPE"
	i := 0
	for ; x >= 1000 && i < len(prefixes)-1; i++ {
		x /= 1000
	}
	return fmt.Sprintf("%.3g %s%s", x, strings.TrimSpace(prefixes[i:i+1]), unit)
}
