package training

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/fault"
	"trainer/files/safetensors"
	"trainer/training/checkpoint"
	"trainer/training/metrics"
	"trainer/training/optim"
)

// saver keeps a checkpoint of every step in a folder.
func (e *Engine) saver(dir string) func(checkpoint.State) error {
	return func(s checkpoint.State) error {
		_, err := checkpoint.Write(dir, s.Step, func(folder string) error {
			save := e.SaveModel
			switch m := e.Net.Method; {
			case m.Adapters():
				save = func(dir string) error { return e.SaveAdapter(dir, "base") }
			case m.Expanded:
				save = e.SaveBlocks
			}
			if err := save(folder); err != nil {
				return err
			}
			if err := e.SaveStates(folder); err != nil {
				return err
			}
			return s.Write(folder)
		})
		return err
	}
}

// longTrial takes three steps an epoch for three epochs, the last step of each half full.
func longTrial(method string) (trial, Loop) {
	tr := newTrial(method)
	tr.rows, tr.Batch = madeUpRows(10, 320), 4
	tr.eval = madeUpRows(3, 320)
	l := tr.loop()
	l.Epochs, l.Shuffle, l.GroupByLength, l.EvalSteps, l.LogEvery = 3, true, true, 2, 1
	l.Schedule, _ = optim.NewSchedule(optim.ScheduleOptions{Kind: "cosine", LR: 5e-3, MinRatio: 0.1, Total: 9})
	return tr, l
}

// told is what a run reports, without what the clock says.
func (s *seen) told() (lines []string) {
	for _, m := range s.steps {
		lines = append(lines, fmt.Sprintln(m.Step, m.Epoch, m.Loss, m.LearningRate, m.GradNorm, m.Tokens, m.LabelledTokens))
	}
	for _, m := range s.evals {
		lines = append(lines, fmt.Sprintln("evaluation", m.Step, m.Loss))
	}
	return lines
}

// A run that goes on from any step ends as the uninterrupted one does, to the bit, and
// reports the same.
func TestResumedRunsAreTheSameToTheBit(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *trial){
		"lora":                  func(_ *testing.T, tr *trial) { tr.method = "lora" },
		"qlora, bf16":           func(t *testing.T, tr *trial) { tr.method, tr.Precision = "qlora", precision(t, "bf16") },
		"lora, accumulated":     func(t *testing.T, tr *trial) { tr.method, tr.Batch, tr.Accumulation = "lora", 2, 2 },
		"full, bf16":            func(t *testing.T, tr *trial) { tr.method, tr.lr, tr.Precision = "full", 1e-3, precision(t, "bf16") },
		"lora, fp16, scaled":    func(t *testing.T, tr *trial) { tr.method, tr.Precision = "lora", precision(t, "fp16_autocast") },
		"full, clipped, blocks": func(t *testing.T, tr *trial) { tr.method, tr.Optimizer.MaxNorm, tr.Recompute = "full", 0.3, "block" },
		"lora, autocast, blocks": func(t *testing.T, tr *trial) {
			tr.method, tr.Precision, tr.Recompute = "lora", precision(t, "bf16_autocast"), "block:1"
		},
		"dora, blocks":        func(_ *testing.T, tr *trial) { tr.method, tr.Recompute = "dora", "block" },
		"bnb_dora, bf16":      func(t *testing.T, tr *trial) { tr.method, tr.Precision = "bnb_dora", precision(t, "bf16") },
		"llama_pro":           func(_ *testing.T, tr *trial) { tr.method, tr.lr = "llama_pro", 1e-3 },
		"bnb_llama_pro, bf16": func(t *testing.T, tr *trial) { tr.method, tr.Precision = "bnb_llama_pro", precision(t, "bf16") },
		"full, adadelta":      func(t *testing.T, tr *trial) { tr.method, tr.lr, tr.Optimizer.Rule = "full", 0.5, rule(t, "adadelta") },
		"full, 8 bits": func(_ *testing.T, tr *trial) {
			tr.method, tr.lr, tr.Optimizer.Rule = "full", 1e-3, rule(t, "adamw_8bit")
		},
		"lora, sgd, bf16": func(t *testing.T, tr *trial) { tr.Precision, tr.Optimizer.Rule = precision(t, "bf16"), rule(t, "sgd") },
	} {
		t.Run(name, func(t *testing.T) {
			tr, l := longTrial("lora")
			change(t, &tr)
			dir := t.TempDir()
			whole := tr.start(t)
			l.Save, l.SaveSteps = whole.saver(dir), 1
			var all seen
			out, err := whole.Train(context.Background(), l, &all)
			require.NoError(t, err)
			require.Equal(t, []any{9, true}, []any{out.Steps, out.Finished})
			want := whole.states(t)
			for _, step := range []int{1, 3, 5, 8, 9} {
				e, rest, out := tr.goOn(t, l, filepath.Join(dir, fmt.Sprint("checkpoint-", step)))
				require.Equal(t, []any{9, true}, []any{out.Steps, out.Finished})
				require.True(t, maps.EqualFunc(want, e.states(t), func(a, b []byte) bool { return string(a) == string(b) }), "after step %d", step)
				require.Equal(t, all.told(), rest.told(), "after step %d", step)
			}
		})
	}
}

// goOn goes on from a checkpoint and reports what came before it, too.
func (tr trial) goOn(t *testing.T, l Loop, path string) (*Engine, *seen, Outcome) {
	t.Helper()
	e := tr.start(t)
	var err error
	l.From, err = checkpoint.ReadState(path)
	require.NoError(t, err)
	require.NoError(t, e.GoesOn(l))
	require.NoError(t, e.Restore(path))
	seen := &seen{}
	for _, line := range l.From.Log {
		if line.Step != nil {
			seen.steps = append(seen.steps, *line.Step)
		} else {
			seen.evals = append(seen.evals, *line.Eval)
		}
	}
	l.Save = nil
	out, err := e.Train(context.Background(), l, seen)
	require.NoError(t, err)
	return e, seen, out
}

// stopper cancels a run after a step.
type stopper struct {
	seen
	at   int
	stop func()
}

func (s *stopper) Step(m metrics.Step) error {
	if m.Step == s.at {
		s.stop()
	}
	return s.seen.Step(m)
}

// An interrupted run saves where it stands, whatever else is due, once.
func TestInterruptedRunsSaveACheckpoint(t *testing.T) {
	for _, every := range []int{0, 2} {
		tr, l := longTrial("lora")
		e := tr.start(t)
		var saved []int
		l.SaveSteps = every
		l.Save = func(s checkpoint.State) error { saved = append(saved, s.Step); return nil }
		ctx, stop := context.WithCancel(context.Background())
		out, err := e.Train(ctx, l, &stopper{at: 4, stop: stop})
		require.NoError(t, err)
		require.Equal(t, []any{4, true, false}, []any{out.Steps, out.Interrupted, out.Finished})
		require.Equal(t, map[int][]int{0: {4}, 2: {2, 4}}[every], saved)
	}
}

// An evaluation that an interruption dropped is made when the run goes on.
func TestDroppedEvaluationsAreMadeUpFor(t *testing.T) {
	tr, l := longTrial("lora")
	var all seen
	_, err := tr.start(t).Train(context.Background(), l, &all)
	require.NoError(t, err)
	for _, at := range []int{4, 9} {
		e, dir := tr.start(t), t.TempDir()
		l.Save = e.saver(dir)
		ctx, stop := context.WithCancel(context.Background())
		_, err = e.Train(ctx, l, &stopper{at: at, stop: stop})
		require.NoError(t, err)
		_, rest, _ := tr.goOn(t, l, filepath.Join(dir, fmt.Sprint("checkpoint-", at)))
		require.Equal(t, all.told(), rest.told())
	}
}

// A run goes on with the same weights, rows and states only.
func TestGoingOnIsRefusedWhereItContradicts(t *testing.T) {
	tr, l := longTrial("lora")
	e := tr.start(t)
	dir := t.TempDir()
	l.Save, l.SaveSteps = e.saver(dir), 4
	_, err := e.Train(context.Background(), l, &seen{})
	require.NoError(t, err)
	path := filepath.Join(dir, "checkpoint-4")
	l.From, err = checkpoint.ReadState(path)
	require.NoError(t, err)
	require.NoError(t, e.GoesOn(l))

	refused := func(l Loop, want string) {
		t.Helper()
		err := e.GoesOn(l)
		require.ErrorContains(t, err, want)
		require.Equal(t, int(fault.Usage), fault.ExitCode(err))
	}
	other := l
	other.MaxSteps = 3
	refused(other, "--max_steps, --num_epochs: found a run of 3 steps, expected at least 4, which the checkpoint has done; ")
	rows := *l.Train
	other, other.Train = l, &rows
	rows.Examples = rows.Examples[:9]
	refused(other, "--dataset: found 9 rows of ")
	rows.Examples = slices.Clone(l.Train.Examples)
	slices.Reverse(rows.Examples)
	refused(other, "--dataset: found other rows, expected those that the checkpoint was trained on; ")
	other = l
	other.From.Identity.Base = "another"
	refused(other, "--model_name: found other base weights, expected those that the checkpoint was trained on; ")

	require.NoError(t, os.Remove(filepath.Join(path, statesFile)))
	require.Equal(t, int(fault.Files), fault.ExitCode(e.Restore(path)))
	w, err := safetensors.Create(filepath.Join(path, statesFile), []safetensors.Spec{{Name: "x", DType: "F32", Shape: []int64{0}}}, nil)
	require.NoError(t, err)
	require.NoError(t, w.Commit())
	err = e.Restore(path)
	require.ErrorContains(t, err, statesFile+`: tensor "`)
	require.True(t, strings.HasSuffix(err.Error(), "; take a checkpoint of this run"), err.Error())
}

// What decides about steps is saved: which were not taken, and the loss scale.
func TestStatesHoldWhatDecidesAboutSteps(t *testing.T) {
	tr, l := longTrial("lora")
	e := tr.start(t)
	l.MaxSteps = 3
	_, err := e.Train(context.Background(), l, &seen{})
	require.NoError(t, err)
	scale := encode(nil, []float32{8}, abi.F32)
	require.NoError(t, e.Session.Write(nil, e.guarded.Scale, 0, scale))
	dir := t.TempDir()
	require.NoError(t, e.SaveAdapter(dir, "base"))
	require.NoError(t, e.SaveStates(dir))

	again := tr.start(t)
	require.NoError(t, again.Restore(dir))
	for i, v := range guardedValues(e.guarded) {
		want, err := e.Session.Read(v)
		require.NoError(t, err)
		got, err := again.Session.Read(guardedValues(again.guarded)[i])
		require.NoError(t, err)
		require.Equal(t, want, got, v.Name)
	}
	taken, err := again.Session.Read(again.guarded.Steps)
	require.NoError(t, err)
	require.Equal(t, []byte{3, 0, 0, 0}, taken)
}
