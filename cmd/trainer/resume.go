package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"trainer/fault"
	"trainer/training/checkpoint"
	"trainer/training/config"
	"trainer/training/metrics"
)

// comeback is what a run finds of itself.
type comeback struct {
	own        bool         // the output folder is that of an earlier run with these settings, or of this one
	checkpoint string       // to go on from; empty = from the beginning
	finished   *metrics.End // nothing is left to do
	refused    []error      // why newer checkpoints are not taken
}

// comeBack looks for what c.Resume names. Settings that the run decided when it began are
// decided the same way again; contradictions are refused.
func comeBack(c *config.Config) (b comeback, err error) {
	switch c.Resume {
	case config.ResumeNever:
		return b, nil
	case config.ResumeAuto:
		return comeBackByItself(c)
	}
	b.own, b.checkpoint = hasRun(c.OutputDir), c.Resume
	if _, err := os.Stat(c.Resume); err != nil {
		return b, &fault.Error{Kind: fault.Files, Where: "--resume " + c.Resume, Found: "no such folder", Want: "never, auto or a checkpoint's folder"}
	}
	if _, err := checkpoint.Check(c.Resume); err != nil {
		return b, err
	}
	return b, goOn(c, c.Resume)
}

// comeBackByItself takes the newest whole checkpoint, if the run is not over already.
func comeBackByItself(c *config.Config) (b comeback, err error) {
	dir := c.OutputDir
	end, over := metrics.ReadEnd(filepath.Join(dir, metricsFile))
	over = over && end.Finished
	if b.own = hasRun(dir); b.own && over {
		began := config.Default()
		if err := config.ReadFile(&began, filepath.Join(dir, settingsFile)); err != nil {
			return b, err
		}
		if err := c.GoOn(began, filepath.Join(dir, settingsFile)); err != nil {
			return b, err
		}
		if c.SameLength(began) {
			b.finished = &end
			return b, nil
		}
	}
	if b.checkpoint, b.refused, err = checkpoint.Newest(dir); err != nil {
		return b, err
	}
	switch {
	case b.checkpoint != "":
		b.own = true
		return b, goOn(c, b.checkpoint)
	case b.own && over:
		return b, &fault.Error{Kind: fault.Usage, Where: "--resume auto", Found: "a run that is finished, of another length and without a checkpoint", Want: "a checkpoint to go on from",
			Remedy: "choose another --output_dir, or start afresh with --resume never --overwrite_output_dir"}
	}
	return b, nil
}

// goOn compares the settings with a checkpoint's.
func goOn(c *config.Config, path string) error {
	began := config.Default()
	file := filepath.Join(path, settingsFile)
	if err := config.ReadFile(&began, file); err != nil {
		return err
	}
	return c.GoOn(began, file)
}

// hasRun tells whether a run has begun in a folder.
func hasRun(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, settingsFile))
	return !errors.Is(err, fs.ErrNotExist)
}
