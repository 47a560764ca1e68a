package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/internal/smalldisk"
)

// newLongRun takes twelve steps in three epochs, with a checkpoint after every second.
func newLongRun(t *testing.T, more ...string) realRun {
	return newRealRun(t, "lora", append([]string{"--batch_size", "2", "--num_epochs", "3", "--eval_steps", "4", "--save_steps", "2", "--resume", "auto"}, more...)...)
}

// in is the same run in another folder, with more flags.
func (r realRun) in(out string, more ...string) realRun {
	return realRun{out, append(append(slices.Clone(r.args), "--output_dir", out), more...)}
}

// outcome is everything that must not depend on interruptions: what was trained, and every
// line of metrics.jsonl but for what the clock says.
func (r realRun) outcome(t *testing.T) map[string]string {
	t.Helper()
	files := weightFiles(t, r.out)
	for i, line := range metricsOf(t, r.out) {
		for name := range maps.Clone(line) {
			if name == "time" || strings.Contains(name, "second") || strings.Contains(name, "memory") {
				delete(line, name)
			}
		}
		files[fmt.Sprint("line ", i)] = fmt.Sprint(line)
	}
	return files
}

// checkpoints lists what the folder holds, hidden folders too.
func (r realRun) checkpoints(t *testing.T) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(r.out)
	require.NoError(t, err)
	for _, e := range entries {
		if e.IsDir() {
			found = append(found, e.Name())
		}
	}
	return found
}

// killedAfter runs it for a while and kills it, the worker too where both is set. ended
// tells that it was over before.
func (r realRun) killedAfter(t *testing.T, d time.Duration, both bool) (ended bool) {
	t.Helper()
	cmd := exec.Command(executable(t), r.args...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	select {
	case err := <-over:
		require.NoError(t, err, stderr.String())
		return true
	case <-time.After(d):
	}
	if both {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		for _, child := range strings.Fields(string(children)) {
			var pid int
			if _, err := fmt.Sscan(child, &pid); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	_ = cmd.Process.Kill()
	<-over
	return false
}

// A run that is killed at any moment comes back, and ends as if nothing had happened.
func TestKilledRunsComeBack(t *testing.T) {
	t.Parallel()
	kills := 24
	if testing.Short() {
		kills = 6
	}
	if text := os.Getenv("TRAINER_KILLS"); text != "" { // make soak
		var err error
		kills, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	whole := newLongRun(t)
	began := time.Now()
	whole.train(t)
	longest, want := time.Since(began), whole.outcome(t)

	for killed := 0; killed < kills; {
		r := whole.in(filepath.Join(t.TempDir(), "out"))
		for killed < kills && !r.killedAfter(t, time.Duration(random.Float64()*float64(longest)), random.IntN(2) == 0) {
			killed++
		}
		result := trainer(t, r.args...)
		require.Equal(t, 0, result.code, result.err)
		require.NotContains(t, result.err, "not resumed from", "none is unreadable")
		require.Equal(t, want, r.outcome(t))
		require.Equal(t, []string{"checkpoint-10", "checkpoint-12"}, r.checkpoints(t), "nothing is left behind")
	}
}

// A run that is over ends at once, a longer one goes on, and a shorter one is refused.
func TestFinishedRunsAreOver(t *testing.T) {
	t.Parallel()
	r := newLongRun(t)
	r.train(t)
	want := r.outcome(t)
	result := trainer(t, r.args...)
	require.Equal(t, []any{0, r.out + "\n"}, []any{result.code, result.out}, result.err)
	require.Equal(t, "finished before, in "+r.out, strings.Split(result.err, "\n")[0])
	require.Equal(t, want, r.outcome(t))
	result = trainer(t, append(r.args, "--json")...)
	require.Contains(t, result.out, `"event":"end"`)
	require.Contains(t, result.out, `"finished":true,"steps":12,`)

	refusedRun(t, r, fault.Usage, "--max_steps, --num_epochs: found a run of 8 steps, expected at least 12, which the checkpoint has done; give what the run began with, or start afresh with another --output_dir", "--num_epochs", "2")
	require.Equal(t, want, r.outcome(t))

	longer := newLongRun(t, "--num_epochs", "4")
	longer.train(t)
	r.in(r.out, "--num_epochs", "4").train(t)
	require.Equal(t, longer.outcome(t)["adapter_model.safetensors"], r.outcome(t)["adapter_model.safetensors"])

	short := newRealRun(t, "lora", "--resume", "auto")
	short.train(t)
	refusedRun(t, short, fault.Usage, "--resume auto: found a run that is finished, of another length and without a checkpoint, expected a checkpoint to go on from; "+
		"choose another --output_dir, or start afresh with --resume never --overwrite_output_dir", "--num_epochs", "2")
}

// refusedRun expects that a run ends with one sentence and an exit code.
func refusedRun(t *testing.T, r realRun, code fault.Kind, sentence string, more ...string) {
	t.Helper()
	result := trainer(t, append(slices.Clone(r.args), more...)...)
	lines := strings.Split(strings.TrimSpace(result.err), "\n")
	require.Equal(t, "trainer: "+sentence, lines[len(lines)-1])
	require.Equal(t, int(code), result.code)
	require.Empty(t, result.out)
}

// A checkpoint goes on with what it began with, wherever it lies; an older one is taken
// where one is damaged.
func TestCheckpointsGoOn(t *testing.T) {
	t.Parallel()
	whole := newLongRun(t)
	whole.train(t)
	want := whole.outcome(t)
	r := newLongRun(t, "--save_total_limit", "0")
	r.train(t)
	require.Len(t, r.checkpoints(t), 6)
	at := func(step int) string { return filepath.Join(r.out, fmt.Sprint("checkpoint-", step)) }

	t.Run("by name, in another folder", func(t *testing.T) {
		other := whole.in(filepath.Join(t.TempDir(), "out"), "--resume", at(6))
		other.train(t)
		require.Equal(t, want, other.outcome(t))
	})
	t.Run("contradictions", func(t *testing.T) {
		began := ", as " + at(6) + "/run.yaml has it; give what the run began with, or start afresh with another --output_dir"
		for _, c := range []struct{ flag, value, want string }{
			{"--train_type", "full", "--train_type: found full, expected lora" + began},
			{"--lora_rank", "8", "--lora_rank: found 8, expected 4" + began},
			{"--seed", "7", "--seed: found 7, expected 42" + began},
			{"--batch_size", "4", "--batch_size: found 4, expected 2" + began},
			{"--context_length", "150", "--context_length: found 150, expected 160" + began},
			{"--dataset", demoFile(t, "eval.jsonl"), "--dataset: found 8 rows of 1079 tokens, expected 8 rows of 1104, as the checkpoint has it; give what the run began with, or start afresh with another --output_dir"},
		} {
			refusedRun(t, whole.in(filepath.Join(t.TempDir(), "out")), fault.Usage, c.want, "--resume", at(6), c.flag, c.value)
		}
		refusedRun(t, whole, fault.Files, "--resume nowhere: found no such folder, expected never, auto or a checkpoint's folder", "--resume", "nowhere")
		refusedRun(t, whole, fault.Files, r.out+"/manifest.json: file does not exist", "--resume", r.out)
	})
	t.Run("the model's own weights", func(t *testing.T) {
		model := filepath.Join(t.TempDir(), "model")
		require.NoError(t, os.CopyFS(model, os.DirFS(demoFile(t, "model"))))
		moved := whole.in(filepath.Join(t.TempDir(), "out"), "--resume", at(6), "--model_name", model)
		moved.train(t)
		require.Equal(t, want["adapter_model.safetensors"], moved.outcome(t)["adapter_model.safetensors"], "a copy elsewhere is the same model")
		path := filepath.Join(model, "model.safetensors")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		text[len(text)/2] ^= 1
		for i := len(text) - 1; i > len(text)/3; i -= 512 {
			text[i-i%2] ^= 1
		}
		require.NoError(t, os.WriteFile(path, text, 0o666))
		refusedRun(t, whole.in(filepath.Join(t.TempDir(), "out")), fault.Usage,
			"--model_name: found other base weights, expected those that the checkpoint was trained on; give what the run began with, or start afresh with another --output_dir", "--resume", at(6), "--model_name", model)
	})
	t.Run("damage", func(t *testing.T) {
		require.NoError(t, os.Truncate(filepath.Join(at(12), "optimizer.safetensors"), 1000))
		text, err := os.ReadFile(filepath.Join(at(10), "trainer_state.msgpack"))
		require.NoError(t, err)
		text[len(text)/2] ^= 1
		require.NoError(t, os.WriteFile(filepath.Join(at(10), "trainer_state.msgpack"), text, 0o666))
		require.NoError(t, os.Remove(filepath.Join(at(8), "manifest.json")))
		require.NoError(t, os.Remove(filepath.Join(r.out, metricsFile)))
		result := trainer(t, r.args...)
		require.Equal(t, 0, result.code, result.err)
		for _, line := range []string{
			"not resumed from: " + at(12) + "/optimizer.safetensors: found 1000 bytes, expected 555584, as manifest.json says; the file is damaged: take another checkpoint",
			"not resumed from: " + at(10) + "/trainer_state.msgpack: found SHA-256 ",
			"not resumed from: " + at(8) + "/manifest.json: file does not exist",
			"going on after step 6, from " + at(6) + "\n",
		} {
			require.Contains(t, result.err, line)
		}
		require.Equal(t, want, r.outcome(t))
		require.Equal(t, []string{"checkpoint-10", "checkpoint-12", "checkpoint-2", "checkpoint-4", "checkpoint-6", "checkpoint-8"}, r.checkpoints(t))
		require.NoError(t, os.Truncate(filepath.Join(at(12), "optimizer.safetensors"), 1000))
		refusedRun(t, r, fault.Files, at(12)+"/optimizer.safetensors: found 1000 bytes, expected 555584, as manifest.json says; the file is damaged: take another checkpoint", "--resume", at(12))
	})
	t.Run("afresh", func(t *testing.T) {
		require.NoError(t, os.RemoveAll(filepath.Join(r.out, metricsFile)))
		afresh := r.in(r.out, "--resume", "never")
		refusedRun(t, afresh, fault.Usage, "--output_dir "+r.out+": found 11 entries, expected an empty folder; choose another --output_dir, or write over it with --overwrite_output_dir")
		r.in(r.out, "--resume", "never", "--overwrite_output_dir", "--save_steps", "0", "--lora_rank", "2").train(t)
		require.Empty(t, r.checkpoints(t), "an earlier run's are gone")
	})
}

// A checkpoint of an expanded model holds its new blocks alone, and a run that ends where it stands
// makes a whole model of it.
func TestCheckpointsOfExpandedModels(t *testing.T) {
	whole := newRealRun(t, "llama_pro", "--model_name", expandedDemo(t), "--batch_size", "2", "--save_steps", "2")
	whole.train(t)
	want := whole.outcome(t)
	at := filepath.Join(whole.out, "checkpoint-2")
	require.NoFileExists(t, filepath.Join(at, "model.safetensors"))
	require.NoFileExists(t, filepath.Join(at, "config.json"))
	blocks, err := os.Stat(filepath.Join(at, "blocks.safetensors"))
	require.NoError(t, err)
	model, err := os.Stat(filepath.Join(whole.out, "model.safetensors"))
	require.NoError(t, err)
	require.Less(t, 2*blocks.Size(), model.Size())

	rest := whole.in(filepath.Join(t.TempDir(), "out"), "--resume", at)
	rest.train(t)
	require.Equal(t, want, rest.outcome(t))
	short := whole.in(filepath.Join(t.TempDir(), "short"), "--max_steps", "2", "--save_steps", "0")
	short.train(t)
	there := whole.in(filepath.Join(t.TempDir(), "there"), "--max_steps", "2", "--save_steps", "0", "--resume", at)
	there.train(t)
	require.Equal(t, weightFiles(t, short.out), weightFiles(t, there.out))
}

// A folder with other things in it is not taken for a run's own.
func TestAutoRefusesForeignFolders(t *testing.T) {
	r := newLongRun(t)
	write(t, filepath.Join(r.out, "precious"), "x")
	refusedRun(t, r, fault.Usage, "--output_dir "+r.out+": found 1 entries, expected an empty folder; choose another --output_dir, or write over it with --overwrite_output_dir")
}

// A signal saves a checkpoint, whatever else is due.
func TestSignalsSaveACheckpoint(t *testing.T) {
	t.Parallel()
	whole := newLongRun(t, "--num_epochs", "10", "--save_steps", "0")
	whole.train(t)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1} {
		r := whole.in(filepath.Join(t.TempDir(), "out"))
		cmd, stderr := r.start(t, `"step":3,`)
		require.NoError(t, cmd.Process.Signal(s))
		_ = cmd.Wait()
		require.Equal(t, 128+int(s), cmd.ProcessState.ExitCode(), stderr.String())
		require.Len(t, r.checkpoints(t), 1)
		require.Regexp(t, `saved in `+r.out+`, and --resume auto goes on from there\n$`, stderr.String())
		r.train(t)
		require.Equal(t, whole.outcome(t), r.outcome(t), "nothing is seen of it")
	}
}

// When the disk is full, the run ends, and goes on from what was saved before once there is
// room.
func TestDiskFullWhileACheckpointIsSaved(t *testing.T) {
	whole := newLongRun(t)
	whole.train(t)
	disk := smalldisk.Mount(t, "8m")
	r := whole.in(filepath.Join(disk, "out"))
	cmd, stderr := r.start(t, `"step":2,`)
	filler := filepath.Join(disk, "filler")
	f, err := os.Create(filler)
	require.NoError(t, err)
	for chunk := make([]byte, 4096); err == nil; {
		_, err = f.Write(chunk)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	_ = cmd.Wait()
	require.Equal(t, int(fault.Disk), cmd.ProcessState.ExitCode(), stderr.String())
	require.Contains(t, stderr.String(), "no space left on device")
	require.NoError(t, os.Remove(filler))
	result := trainer(t, r.args...)
	require.Equal(t, 0, result.code, result.err)
	require.NotContains(t, result.err, "not resumed from")
	require.Equal(t, whole.outcome(t), r.outcome(t))
}

func TestOneRunAFolder(t *testing.T) {
	dir := t.TempDir()
	none, err := lockFolder(filepath.Join(dir, "none"), 0)
	require.NoError(t, err)
	require.Nil(t, none)
	held, err := lockFolder(dir, 0)
	require.NoError(t, err)
	_, err = lockFolder(dir, 50*time.Millisecond)
	require.EqualError(t, err, "--output_dir "+dir+": found another run that is using it, expected none; wait for its end, or choose another --output_dir")
	require.Equal(t, int(fault.Usage), fault.ExitCode(err))
	time.AfterFunc(100*time.Millisecond, func() { held.Close() })
	again, err := lockFolder(dir, time.Minute)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}
