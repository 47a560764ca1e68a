package main

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"trainer/training/checkpoint"
	"trainer/training/metrics"
)

// trainingView shows a training run while it happens, and has it recorded.
type trainingView struct {
	console  *console
	record   record
	asJSON   bool
	toStdout bool // --log_to stdout
	curve    bool // draw the loss at the end
	saved    string
	evals    []metrics.Eval
	answers  []Answer
	atEnd    func() // before the last line
}

// show takes an event of the worker.
func (v *trainingView) show(e event) error {
	c := v.console
	switch {
	case e.Log != "":
		c.note("%s", e.Log)
	case e.Plan != nil:
		c.note("%s", planLine(*e.Plan))
	case (e.Step != nil || e.Eval != nil) && v.record.writer == nil:
		return errors.New("the worker reports results before it reports its start")
	case e.Start != nil:
		return v.start(*e.Start)
	case e.Step != nil:
		return v.step(*e.Step)
	case e.Eval != nil:
		v.evals = append(v.evals, *e.Eval)
		c.note("evaluation after %d steps: loss %.4f over %s tokens", e.Eval.Step, float64(e.Eval.Loss), grouped(int64(e.Eval.LabelledTokens)))
		return v.record.eval(*e.Eval)
	case e.Answer != nil:
		v.answers = append(v.answers, *e.Answer)
	case e.Checkpoint != "":
		c.note("saved %s", e.Checkpoint)
	case e.Saved != "":
		v.saved = e.Saved
		c.note("saved in %s", e.Saved)
	}
	return nil
}

// goOn has the record begin with what was reported until the job's checkpoint.
func (v *trainingView) goOn(job Job) error {
	if job.Checkpoint == "" {
		return nil
	}
	s, err := checkpoint.ReadState(job.Checkpoint)
	if err != nil {
		return err
	}
	v.console.note("going on after step %d, from %s", s.Step, job.Checkpoint)
	v.record.before = s.Log
	for _, e := range s.Log {
		if e.Eval != nil {
			v.evals = append(v.evals, *e.Eval)
		}
	}
	return nil
}

// start shows what is about to run and opens the record.
func (v *trainingView) start(s Start) error {
	c := v.console
	c.note("%s: %s parameters, %s trained; %d steps", s.Model, grouped(s.Parameters), grouped(s.TrainableParameters), s.Steps)
	c.note("native ops: %s; composed: %s", listed(s.NativeOps), listed(s.ComposedOps))
	c.progress = metrics.NewProgress(c.err, s.Steps, c.quiet || v.toStdout)
	return v.record.start(s)
}

func (v *trainingView) step(s metrics.Step) error {
	if v.console.progress != nil {
		v.console.progress.Step(s)
	}
	if v.toStdout && (s.Step%v.record.every == 0 || s.Step == v.record.steps) {
		v.console.result("step %d/%d  loss %.4f  lr %.2e  grad norm %.4f  %.0f tokens/s", s.Step, v.record.steps, float64(s.Loss),
			float64(s.LearningRate), float64(s.GradNorm), float64(s.TokensPerSecond))
	}
	return v.record.step(s)
}

// closeProgress leaves the live line, so that an error stands on a line of its own.
func (v *trainingView) closeProgress() {
	if v.console.progress != nil {
		v.console.progress.Close()
		v.console.progress = nil
	}
}

// finish shows how the run ended, and its result: the folder, or the last line of the
// record.
func (v *trainingView) finish(job Job, r Result) error {
	c := v.console
	if v.curve || coloured(c.err) {
		if graph := v.record.history.Terminal(min(columns(c.err), 100), coloured(c.err)); graph != "" {
			c.note("\n%s\n", graph)
		}
	}
	if v.atEnd != nil {
		v.atEnd()
	}
	c.note("%s", endLine(r.End, v.evals))
	if v.asJSON {
		end := r.End
		if end.Event = "end"; end.Time.IsZero() {
			end.Time = metrics.Now()
		}
		return c.json(end)
	}
	c.result("%s", job.Config.OutputDir)
	return nil
}

// endLine says what a run came to.
func endLine(e metrics.End, evals []metrics.Eval) string {
	parts := []string{fmt.Sprintf("%d steps in %.1f s", e.Steps, float64(e.Seconds)), fmt.Sprintf("loss %.4f", float64(e.Loss))}
	if len(evals) > 1 {
		parts = append(parts, lossChange(evals))
	}
	if rate := float64(e.TokensPerSecond); rate > 0 && !math.IsInf(rate, 0) {
		parts = append(parts, fmt.Sprintf("%.0f tokens/s", rate))
	}
	return strings.Join(append(parts, fmt.Sprintf("memory %s, planned %s", gib(e.MemoryPeakBytes), gib(e.MemoryPlannedBytes))), ", ")
}

// lossChange says how the evaluation loss moved over the run.
func lossChange(evals []metrics.Eval) string {
	first, last := float64(evals[0].Loss), float64(evals[len(evals)-1].Loss)
	return fmt.Sprintf("evaluation loss %.4f → %.4f (%+.1f %%)", first, last, 100*(last-first)/first)
}

// planLine is the memory plan on one line.
func planLine(p PlanReport) string {
	var kinds []string
	for _, k := range p.Kinds {
		if k.Bytes > 0 {
			kinds = append(kinds, k.Name+" "+gib(k.Bytes))
		}
	}
	line := fmt.Sprintf("plan: %s in %s with recompute %s (%s)", gib(p.Total), p.Precision, p.Recompute, strings.Join(kinds, ", "))
	if p.Limit > 0 {
		line += " of " + gib(p.Limit)
	}
	return line
}
