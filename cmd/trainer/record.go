package main

import (
	"path/filepath"

	"trainer/files/atomicfile"
	"trainer/training/metrics"
)

// The files of the output folder that the launcher writes; the worker writes the adapter
// or model. One process writes each file, and these survive a worker that breaks.
const (
	settingsFile = "run.yaml"
	metricsFile  = "metrics.jsonl"
	plotFile     = "loss.png"
)

// record keeps what a training run reported.
type record struct {
	dir     string
	every   int // steps between lines
	history metrics.History
	title   string
	steps   int
	begun   Start
	writer  *metrics.Writer
	before  []metrics.Event // what was reported until the checkpoint that the run goes on from
}

// start writes the settings and the first line. Nothing is in the folder before, so that
// a run that could not begin can be started again.
func (r *record) start(s Start) error {
	if err := atomicfile.WriteFile(filepath.Join(r.dir, settingsFile), s.Config.Marshal()); err != nil {
		return err
	}
	w, err := metrics.NewWriter(filepath.Join(r.dir, metricsFile))
	if err != nil {
		return err
	}
	r.begun = s
	r.writer, r.title, r.steps, r.every = w, filepath.Base(s.Model), s.Steps, max(1, s.Config.LogEveryNSteps)
	if err := w.Start(s.Start); err != nil {
		return err
	}
	return r.repeat()
}

// repeat writes again what was reported until the checkpoint, and nothing that was reported
// after it: the lines of an interrupted run may be fewer, or more.
func (r *record) repeat() error {
	for _, e := range r.before {
		var err error
		switch {
		case e.Step != nil:
			err = r.step(*e.Step)
		case e.Eval != nil:
			err = r.eval(*e.Eval)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step writes every r.every-th step and the last.
func (r *record) step(s metrics.Step) error {
	r.history.AddStep(s)
	if s.Step%r.every != 0 && s.Step != r.steps {
		return nil
	}
	return r.writer.Step(s)
}

func (r *record) eval(e metrics.Eval) error {
	r.history.AddEval(e)
	return r.writer.Eval(e)
}

// end writes the model card, the picture and the last line, by which a finished run is
// known. A run that was interrupted has an end too: how far it came.
func (r *record) end(e metrics.End) error {
	if r.writer == nil {
		return nil
	}
	if r.begun.Config.SaveModel {
		c := card{settings: r.begun.Config, start: r.begun, end: e, history: r.history}
		if err := c.write(r.dir); err != nil {
			return err
		}
	}
	if err := r.draw(); err != nil {
		return err
	}
	if err := r.writer.End(e); err != nil {
		return err
	}
	w := r.writer
	r.writer = nil
	return w.Close()
}

// close makes the lines of a run without an end durable and draws what there is.
func (r *record) close() error {
	if r.writer == nil {
		return nil
	}
	w := r.writer
	r.writer = nil
	if err := w.Close(); err != nil {
		return err
	}
	return r.draw()
}

// draw draws the losses, if there are any.
func (r *record) draw() error {
	if len(r.history.Train) == 0 {
		return nil
	}
	return r.history.WritePNG(filepath.Join(r.dir, plotFile), r.title)
}
