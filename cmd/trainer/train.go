package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"trainer/fault"
	"trainer/files/atomicfile"
	"trainer/training/config"
)

// newTrain makes the command that trains; the root is one too.
func newTrain(c *console, use string) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: "fine-tune a model; the same as no command at all", Args: noArguments}
	settings := addSettings(cmd, func(s config.Setting) bool { return s.Name != "shape" })
	asJSON := addJSON(cmd)
	record := cmd.Flags().String("record", "", "keep one step in a `FILE`: its lists, and what the device held before it; see trainer backend replay")
	recordStep := cmd.Flags().Int("record_step", 1, "which optimizer step to record, `N` from 1")
	cmd.RunE = func(*cobra.Command, []string) error {
		settings, err := settings.config(nil)
		if err != nil {
			return err
		}
		if *recordStep < 1 {
			return &fault.Error{Kind: fault.Usage, Where: "--record_step", Found: fmt.Sprint(*recordStep), Want: "a whole number of at least 1"}
		}
		job, err := prepareTraining(c, settings)
		if err != nil {
			return err
		}
		job.Record, job.RecordStep = *record, *recordStep
		return train(c, job, &trainingView{console: c, asJSON: *asJSON})
	}
	return cmd
}

// prepareTraining checks what can be checked without a backend, looks for a checkpoint,
// chooses the device and makes the output folder, in the order of what is quickest to
// correct.
func prepareTraining(console *console, c config.Config) (Job, error) {
	job := Job{Command: "train", Config: c}
	if err := required(map[string]string{"model_name": c.ModelName, "dataset": c.Dataset, "output_dir": c.OutputDir}, "model_name", "dataset", "output_dir"); err != nil {
		return job, err
	}
	var err error
	if job.ModelDir, err = checkModel(&job.Config); err != nil {
		return job, err
	}
	for _, path := range []string{c.Dataset, c.EvalDataset} {
		if err := checkData(path, c); err != nil {
			return job, err
		}
	}
	if job.lock, err = lockFolder(c.OutputDir, lockWithin); err != nil {
		return job, err
	}
	b, err := comeBack(&job.Config)
	if err != nil {
		return job, err
	}
	for _, why := range b.refused {
		console.note("not resumed from: %v", why)
	}
	job.Checkpoint, job.finished = b.checkpoint, b.finished
	if job.finished != nil {
		return job, nil
	}
	if job.Device, err = chooseDevice(&job.Config); err != nil {
		return job, err
	}
	if err := atomicfile.PrepareOutput(c.OutputDir, c.OverwriteOutputDir || b.own); err != nil || job.lock != nil {
		return job, err
	}
	job.lock, err = lockFolder(c.OutputDir, lockWithin)
	return job, err
}

// train runs a training job and shows it.
func train(c *console, job Job, view *trainingView) (err error) {
	defer job.lock.Close() // only locked
	view.record.dir = job.Config.OutputDir
	view.toStdout = job.Config.LogTo == "stdout"
	if job.finished != nil {
		c.note("finished before, in %s", job.Config.OutputDir)
		return view.finish(job, Result{End: *job.finished})
	}
	c.note("%s", job.Device.Why)
	if err := view.goOn(job); err != nil {
		return err
	}
	result, err := launch(job, view.show)
	view.closeProgress()
	if err == nil || result.Interrupted {
		if recorded := view.record.end(result.End); err == nil {
			err = recorded
		}
	}
	if closed := view.record.close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return view.finish(job, result)
}
