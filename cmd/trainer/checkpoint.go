package main

import (
	"path/filepath"
	"time"

	"trainer/files/atomicfile"
	"trainer/training"
	"trainer/training/checkpoint"
	"trainer/training/config"
)

// goOn has a loop begin where the job's checkpoint stands, if it may.
func (w *workshop) goOn(l *training.Loop) (err error) {
	if w.job.Checkpoint == "" {
		return nil
	}
	if l.From, err = checkpoint.ReadState(w.job.Checkpoint); err != nil {
		return err
	}
	return w.engine.GoesOn(*l)
}

// restore fills what training changes after so many steps, once memory is allocated. What a run
// left behind that ended between saving and pruning goes.
func (w *workshop) restore(step int) error {
	if w.job.Checkpoint == "" {
		return checkpoint.Clear(w.job.Config.OutputDir) // of an earlier run, which this one replaces
	}
	if err := w.engine.Restore(w.job.Checkpoint); err != nil {
		return err
	}
	c := w.job.Config
	if c.Resume != config.ResumeAuto {
		return nil
	}
	return checkpoint.Prune(c.OutputDir, c.SaveTotalLimit, step)
}

// checkpoints says when and how a loop saves checkpoints; c has nothing left to be decided.
func (w *workshop) checkpoints(l *training.Loop, events Events, c config.Config) {
	l.SaveSteps, l.SaveEvery, l.LogEvery = c.SaveSteps, time.Duration(c.SaveMinutes*float64(time.Minute)), c.LogEveryNSteps
	l.Save = func(s checkpoint.State) error {
		path, err := checkpoint.Write(c.OutputDir, s.Step, func(dir string) error { return w.fillCheckpoint(dir, s, c) })
		if err != nil {
			return err
		}
		if err := events.Checkpoint(path); err != nil {
			return err
		}
		return checkpoint.Prune(c.OutputDir, c.SaveTotalLimit, s.Step)
	}
}

// fillCheckpoint writes everything that the next step depends on, and what other programs
// load. Of an expanded model that is the new blocks; all else lies in its folder.
func (w *workshop) fillCheckpoint(dir string, s checkpoint.State, c config.Config) error {
	save := w.saveWeights
	if w.net.Method.Expanded {
		save = w.engine.SaveBlocks
	}
	if err := save(dir); err != nil {
		return err
	}
	if err := w.engine.SaveStates(dir); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, settingsFile), c.Marshal()); err != nil {
		return err
	}
	t := checkpoint.TrainerState{LoggingSteps: c.LogEveryNSteps, EvalSteps: c.EvalSteps, SaveSteps: c.SaveSteps,
		TrainBatchSize: c.BatchSize, NumTrainEpochs: c.NumEpochs}
	if err := t.WriteFor(s, dir); err != nil {
		return err
	}
	return s.Write(dir)
}
