package checkpoint

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/files/atomicfile"
	"trainer/internal/smalldisk"
	"trainer/training/metrics"
)

// save writes a checkpoint of two files.
func save(t *testing.T, dir string, step int) string {
	t.Helper()
	path, err := Write(dir, step, func(folder string) error {
		if err := atomicfile.WriteFile(filepath.Join(folder, "weights"), []byte(fmt.Sprint("weights of step ", step))); err != nil {
			return err
		}
		return atomicfile.WriteFile(filepath.Join(folder, "empty"), nil)
	})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, fmt.Sprint("checkpoint-", step)), path)
	return path
}

// newest expects what is found in dir, and says why newer ones are not.
func newest(t *testing.T, dir, want string) (refused []string) {
	t.Helper()
	path, why, err := Newest(dir)
	require.NoError(t, err)
	require.Equal(t, want, path)
	for _, err := range why {
		require.Equal(t, int(fault.Files), fault.ExitCode(err))
		refused = append(refused, err.Error())
	}
	return refused
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestTheNewestIsTaken(t *testing.T) {
	dir := t.TempDir()
	require.Empty(t, newest(t, filepath.Join(dir, "none"), ""))
	require.Empty(t, newest(t, dir, ""))
	save(t, dir, 9)
	ten := save(t, dir, 10)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "checkpoint-011"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "checkpoint-12"), nil, 0o666))
	require.Empty(t, newest(t, dir, ten), "by number, not by name, and no other names")
	step, err := Check(ten)
	require.NoError(t, err)
	require.Equal(t, 10, step)
	require.Equal(t, ten, save(t, dir, 10), "one of the same step is replaced")
	require.Empty(t, newest(t, dir, ten))
}

// Whatever happens to any file of a checkpoint is seen, and the one before is taken.
func TestDamageIsSeen(t *testing.T) {
	change := func(name string, how func([]byte) []byte) func(string) error {
		return func(path string) error {
			text, err := os.ReadFile(filepath.Join(path, name))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(path, name), how(text), 0o666)
		}
	}
	replace := func(old, new string) func([]byte) []byte {
		return func(text []byte) []byte { return []byte(strings.Replace(string(text), old, new, 1)) }
	}
	for what, c := range map[string]struct {
		damage func(string) error
		want   string
	}{
		"a bit":          {change("weights", func(b []byte) []byte { b[3] ^= 4; return b }), "weights: found SHA-256 "},
		"cut":            {change("weights", func(b []byte) []byte { return b[:5] }), "weights: found 5 bytes, expected 17, as manifest.json says; "},
		"longer":         {change("empty", func(b []byte) []byte { return []byte("x") }), "empty: found 1 bytes, expected 0, as manifest.json says; "},
		"a file gone":    {func(p string) error { return os.Remove(filepath.Join(p, "empty")) }, "empty: file does not exist"},
		"a folder":       {func(p string) error { return os.RemoveAll(filepath.Join(p, "weights")) }, "weights: file does not exist"},
		"a link":         {func(p string) error { return link(filepath.Join(p, "weights")) }, "weights: it is a link that leads out of the folder"},
		"no manifest":    {func(p string) error { return os.Remove(filepath.Join(p, ManifestFile)) }, "manifest.json: file does not exist"},
		"empty manifest": {change(ManifestFile, func([]byte) []byte { return nil }), "manifest.json: "},
		"cut manifest":   {change(ManifestFile, func(b []byte) []byte { return b[:len(b)/2] }), "manifest.json: "},
		"other format":   {change(ManifestFile, replace("trainer checkpoint", "x")), `manifest.json: field format: found "x", expected "trainer checkpoint"; `},
		"other version":  {change(ManifestFile, replace(`"version": 1`, `"version": 2`)), "manifest.json: field version: found 2, expected an integer from 1 to 1; "},
		"other step":     {change(ManifestFile, replace(`"step": 8`, `"step": 7`)), "manifest.json: found step 7, expected 8, as the folder's name says; "},
		"other size":     {change(ManifestFile, replace(`"bytes": 17`, `"bytes": 18`)), "weights: found 17 bytes, expected 18"},
		"no size":        {change(ManifestFile, replace(`"bytes": 17,`, "")), "weights: found 17 bytes, expected -1"},
		"other hash":     {change(ManifestFile, replace(`"sha256": "`, `"sha256": "0`)), "expected 0"},
		"a way out":      {change(ManifestFile, replace(`"weights"`, `"../weights"`)), `found the file name "../weights"`},
		"a name twice":   {change(ManifestFile, replace(`"weights"`, `"empty"`)), "manifest.json: "},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			before := save(t, dir, 6)
			path := save(t, dir, 8)
			require.NoError(t, c.damage(path))
			refused := newest(t, dir, before)
			require.Len(t, refused, 1)
			require.Contains(t, refused[0], c.want)
			require.Contains(t, refused[0], path)
			save(t, dir, 8)
			require.Empty(t, newest(t, dir, path), "it is replaced when its step comes again")
		})
	}
}

// link puts a link to a copy outside in a file's place.
func link(path string) error {
	outside := filepath.Join(filepath.Dir(filepath.Dir(path)), "outside")
	if err := os.Rename(path, outside); err != nil {
		return err
	}
	return os.Symlink(outside, path)
}

func TestLimit(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "checkpoint-1"), 0o777)) // another program's
	for _, step := range []int{2, 4, 6, 8, 10} {
		save(t, dir, step)
	}
	for _, c := range []struct {
		limit, step int
		left        []string
	}{
		{0, 10, []string{"1", "10", "2", "4", "6", "8"}},
		{4, 10, []string{"1", "10", "4", "6", "8"}},
		{3, 8, []string{"1", "4", "6", "8"}}, // the run was taken back from step 10
		{1, 8, []string{"1", "8"}},
	} {
		require.NoError(t, Prune(dir, c.limit, c.step))
		for i := range c.left {
			if !strings.HasPrefix(c.left[i], "checkpoint-") {
				c.left[i] = "checkpoint-" + c.left[i]
			}
		}
		require.Equal(t, c.left, names(t, dir))
	}
	require.NoError(t, Clear(dir))
	require.Equal(t, []string{"checkpoint-1"}, names(t, dir))
}

// What was saved before a disk was full stays, and nothing else does.
func TestDiskFull(t *testing.T) {
	dir := smalldisk.Mount(t, "256k")
	path := save(t, dir, 2)
	for _, size := range []int{300 << 10, 1 << 20} { // found while flushing, and while writing
		_, err := Write(dir, 4, func(folder string) error {
			return atomicfile.WriteFile(filepath.Join(folder, "weights"), make([]byte, size))
		})
		require.EqualError(t, err, filepath.Join(dir, "checkpoint-4", "weights")+": no space left on device; free some space or choose another output_dir; what was saved before is unchanged")
		require.Equal(t, int(fault.Disk), fault.ExitCode(err))
		require.Equal(t, []string{"checkpoint-2"}, names(t, dir))
		require.Empty(t, newest(t, dir, path))
	}
}

// state is one with every field set.
func state() State {
	step, eval := metrics.Step{Step: 3, Epoch: 1.5, Loss: 2.5, GradNorm: metrics.Number(math.Inf(1)), LearningRate: 1e-4}, metrics.Eval{Step: 2, Loss: 3}
	step.Time, eval.Time = metrics.Now(), metrics.Now()
	return State{Version: 1, Step: 3, Steps: 9, PerEpoch: 2, Seed: 1<<63 + 1, Skipped: 1, EvaluatedAt: 2, Loss: 2.5, Seconds: 1.25,
		Identity: Identity{Base: "a", Rows: "b", Count: 4, Tokens: 5}, Log: []metrics.Event{{Eval: &eval}, {Step: &step}}}
}

func TestStateReadsBack(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, state().Write(dir))
	got, err := ReadState(dir)
	require.NoError(t, err)
	want := state()
	for i, e := range got.Log {
		if e.Step != nil {
			want.Log[i].Step.Time = e.Step.Time
			require.Equal(t, "UTC", e.Step.Time.Location().String())
			require.False(t, e.Step.Time.IsZero())
		} else {
			want.Log[i].Eval.Time = e.Eval.Time
		}
	}
	require.Equal(t, want, got)

	text, err := os.ReadFile(filepath.Join(dir, StateFile))
	require.NoError(t, err)
	for what, broken := range map[string][]byte{
		"cut": text[:len(text)-1], "more": append(slices.Clone(text), 0), "empty": nil, "another thing": []byte("\x01"), "nothing": []byte("\x80"),
		"a field nobody knows": []byte(strings.Replace(string(text), "seconds", "minutes", 1)),
		"another version":      []byte(strings.Replace(string(text), "\xa7version\x01", "\xa7version\x02", 1)),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, StateFile), broken, 0o666))
		_, err := ReadState(dir)
		require.ErrorContains(t, err, filepath.Join(dir, StateFile)+": ", what)
		require.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
}

// TestTrainerState holds the file against the fields of transformers.TrainerState, which
// refuses any other.
func TestTrainerState(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, TrainerState{NumTrainEpochs: 5, SaveSteps: 2}.WriteFor(state(), dir))
	text, err := os.ReadFile(filepath.Join(dir, TrainerStateFile))
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(text, &got))
	known := []string{"epoch", "global_step", "max_steps", "logging_steps", "eval_steps", "save_steps", "train_batch_size", "num_train_epochs", "num_input_tokens_seen",
		"total_flos", "log_history", "best_metric", "best_model_checkpoint", "is_local_process_zero", "is_world_process_zero",
		"is_hyper_param_search", "trial_name", "trial_params"}
	for name := range got {
		require.Contains(t, known, name)
	}
	require.Equal(t, []any{3.0, 9.0, 1.5, 5.0, 2.0}, []any{got["global_step"], got["max_steps"], got["epoch"], got["num_train_epochs"], got["save_steps"]})
	require.Equal(t, []any{
		map[string]any{"step": 2.0, "epoch": 1.0, "eval_loss": 3.0, "eval_runtime": 0.0},
		map[string]any{"step": 3.0, "epoch": 1.5, "loss": 2.5, "learning_rate": 1e-4, "grad_norm": nil},
	}, got["log_history"])
}
