package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"trainer/fault"
	"trainer/training/config"
)

// newPlan makes `trainer plan`.
func newPlan(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "plan [flags]", Short: "memory, steps and time of a run, before anything runs", Args: noArguments,
		Example: "  trainer plan --shape llama-2-70b --train_type qlora\n  trainer plan --model_name DIR --dataset FILE.json --memory_limit 8GiB"}
	settings := addSettings(cmd, func(s config.Setting) bool { return s.Group != config.Output })
	asJSON := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		settings, err := settings.config(nil)
		if err != nil {
			return err
		}
		job, err := preparePlan(settings)
		if err != nil {
			return err
		}
		c.note("%s", job.Device.Why)
		result, err := launch(job, c.showLog)
		if err != nil {
			return err
		}
		if result.Plan == nil {
			return fmt.Errorf("the worker made no plan")
		}
		return c.showPlan(*result.Plan, *asJSON)
	}
	return cmd
}

// preparePlan checks the files a plan reads. A plan needs no backend: without one every op
// counts as native.
func preparePlan(c config.Config) (job Job, err error) {
	job = Job{Command: "plan", Config: c}
	if err := checkModelOrShape(&job); err != nil {
		return job, err
	}
	for _, path := range []string{c.Dataset, c.EvalDataset} {
		if err := checkData(path, c); err != nil {
			return job, err
		}
	}
	if job.Device, err = chooseDevice(&job.Config); err != nil {
		if c.Backend != "auto" || c.Device != "" {
			return job, err
		}
		job.Device.Why = "no backend was found: the plan is for one that computes every op natively"
		if job.Config.Precision == "auto" {
			job.Config.Precision = "bf16"
		}
	}
	return job, nil
}

// checkModelOrShape needs exactly one of both.
func checkModelOrShape(job *Job) (err error) {
	switch {
	case job.Config.Shape != "":
		return checkShape(job.Config.Shape)
	case job.Config.ModelName != "":
		job.ModelDir, err = checkModel(&job.Config)
		return err
	}
	return fault.New(fault.Usage, "--model_name is missing: name a model folder, or a known model with --shape")
}

// showLog shows the log lines of a job whose result is what matters.
func (c *console) showLog(e event) error {
	if e.Log != "" {
		c.note("%s", e.Log)
	}
	return nil
}

// showPlan writes a plan. One that does not fit is an error of kind Memory.
func (c *console) showPlan(p PlanReport, asJSON bool) error {
	if asJSON {
		if err := c.json(p); err != nil {
			return err
		}
	} else {
		c.planTable(p)
	}
	if p.Fits {
		return nil
	}
	return &fault.Error{Kind: fault.Memory, Where: "memory plan", Found: gib(p.Total) + " needed", Want: "at most " + gib(p.Limit), Remedy: p.Change}
}

func (c *console) planTable(p PlanReport) {
	bold := coloured(c.out)
	c.result("%s  %s parameters, %s trained (%.2f %%)", paint(bold, "1", p.Model), grouped(p.Parameters), grouped(p.Trainable), 100*float64(p.Trainable)/float64(max(1, p.Parameters)))
	c.result("%s  precision %s, recompute %s%s", paint(bold, "1", "run"), p.Precision, p.Recompute, offloadText(p.Offload))
	if p.Steps > 0 {
		c.result("%s  %s", paint(bold, "1", "steps"), grouped(int64(p.Steps)))
	}
	if p.StepTime > 0 {
		c.result("%s  %s", paint(bold, "1", "time"), estimateLine(p))
	}
	for _, table := range []struct {
		title string
		lines []PlanBytes
	}{{"memory by kind", p.Kinds}, {"memory by phase", p.Phases}, {"memory of the host", p.Host}} {
		if len(table.lines) == 0 {
			continue
		}
		c.result("%s", paint(bold, "1", table.title))
		for _, l := range table.lines {
			c.result("  %-34s %12s", l.Name, gib(l.Bytes))
		}
	}
	verdict := "fits"
	if !p.Fits {
		verdict = "does not fit"
	}
	c.result("%s  %s, %s%s", paint(bold, "1", "in all"), gib(p.Total), verdict, limitText(p.Limit))
	if p.Change != "" && !p.Fits {
		c.result("  %s", p.Change)
	}
}

func offloadText(offload bool) string {
	if offload {
		return ", activations on the host"
	}
	return ""
}

// estimateLine says what the time is an estimate of.
func estimateLine(p PlanReport) string {
	line := fmt.Sprintf("at least %s a step", duration(p.StepTime))
	if p.Seconds > 0 {
		line = fmt.Sprintf("at least %s, %s a step", duration(p.Seconds), duration(p.StepTime))
	}
	return line + ": an estimate, of all products at the rate just measured"
}

// duration writes seconds for people.
func duration(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%.3g ms", 1e3*seconds)
	case seconds < 120:
		return fmt.Sprintf("%.3g s", seconds)
	case seconds < 2*3600:
		return fmt.Sprintf("%.0f min", seconds/60)
	}
	return fmt.Sprintf("%.1f h", seconds/3600)
}

func limitText(limit int64) string {
	if limit <= 0 {
		return ""
	}
	return " into " + gib(limit)
}
