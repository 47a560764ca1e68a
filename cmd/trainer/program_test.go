package main

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/internal/smalldisk"
)

// realRun is the command line of a short training run of the program on a backend that was
// dropped into a folder.
type realRun struct {
	out  string
	args []string
}

func newRealRun(t *testing.T, method string, more ...string) realRun {
	t.Helper()
	r := realRun{out: filepath.Join(t.TempDir(), "out")}
	r.args = append([]string{"--train_type", method, "--model_name", demoFile(t, "model"), "--dataset", demoFile(t, "train.jsonl"), "--dataset_samples", "8",
		"--eval_dataset", demoFile(t, "eval.jsonl"), "--eval_samples", "4", "--batch_size", "4", "--context_length", "160", "--lora_rank", "4",
		"--lr", "1e-3", "--precision", "fp32", "--backend_path", filepath.Dir(realBackend(t)), "--output_dir", r.out}, more...)
	return r
}

// train runs it and expects that it ends well.
func (r realRun) train(t *testing.T) (lines []map[string]any) {
	t.Helper()
	result := trainer(t, r.args...)
	require.Equal(t, 0, result.code, result.err)
	require.Equal(t, r.out+"\n", result.out, "the result is the folder alone")
	return metricsOf(t, r.out)
}

// metricsOf reads the lines of metrics.jsonl.
func metricsOf(t *testing.T, dir string) (lines []map[string]any) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, metricsFile))
	require.NoError(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var line map[string]any
		require.NoError(t, json.Unmarshal(s.Bytes(), &line))
		lines = append(lines, line)
	}
	return lines
}

// weightFiles are the contents of what was trained.
func weightFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*model*.safetensors"))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	files := map[string]string{}
	for _, path := range append(found, filepath.Join(dir, map[bool]string{true: "adapter_config.json", false: "config.json"}[strings.Contains(found[0], "adapter")])) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		files[filepath.Base(path)] = string(text)
	}
	return files
}

// The fields of each kind of line of metrics.jsonl.
var metricsFields = map[string][]string{
	"start": {"backend", "composed_ops", "device", "event", "model", "native_ops", "parameters", "rank", "time", "trainable_parameters"},
	"step": {"epoch", "event", "grad_norm", "labelled_tokens", "learning_rate", "loss", "memory_bytes", "padded_tokens", "rank", "seconds", "step",
		"time", "tokens", "tokens_per_second"},
	"eval": {"event", "labelled_tokens", "loss", "rank", "seconds", "step", "time"},
	"end":  {"event", "finished", "loss", "memory_peak_bytes", "memory_planned_bytes", "rank", "seconds", "steps", "time", "tokens_per_second"},
}

// A whole run of each train type leaves what it promises, and run.yaml repeats it.
func TestRunsLeaveWhatTheyPromise(t *testing.T) {
	t.Parallel()
	for method, files := range map[string][]string{
		"lora":  {"adapter_config.json", "adapter_model.safetensors"},
		"qlora": {"adapter_config.json", "adapter_model.safetensors"},
		"full":  {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"},
	} {
		t.Run(method, func(t *testing.T) {
			r := newRealRun(t, method)
			lines := r.train(t)
			entries, err := os.ReadDir(r.out)
			require.NoError(t, err)
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			require.ElementsMatch(t, append(files, settingsFile, metricsFile, plotFile, cardFile), names)
			png, err := os.ReadFile(filepath.Join(r.out, plotFile))
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(png), "\x89PNG\r\n"))
			checkMetrics(t, lines)

			again := filepath.Join(t.TempDir(), "again")
			result := trainer(t, "--config", filepath.Join(r.out, settingsFile), "--output_dir", again)
			require.Equal(t, 0, result.code, result.err)
			require.True(t, maps.Equal(weightFiles(t, r.out), weightFiles(t, again)), "the same bytes")
			for i, line := range metricsOf(t, again) {
				require.Equal(t, lines[i]["loss"], line["loss"])
			}
		})
	}
}

// checkMetrics holds a run of two steps against the schema.
func checkMetrics(t *testing.T, lines []map[string]any) {
	t.Helper()
	var events []any
	for _, line := range lines {
		events = append(events, line["event"])
		require.Equal(t, metricsFields[line["event"].(string)], slices.Sorted(maps.Keys(line)))
		_, err := time.Parse(time.RFC3339Nano, line["time"].(string))
		require.NoError(t, err)
	}
	require.Equal(t, []any{"start", "eval", "step", "step", "eval", "end"}, events)
	first, last, end := lines[1]["loss"].(float64), lines[4]["loss"].(float64), lines[5]
	require.Less(t, last, first, "it learns")
	require.Equal(t, "foo", lines[0]["backend"], "the backend under its new name")
	require.Empty(t, lines[0]["composed_ops"])
	require.Equal(t, []any{1.0, 2.0, 1.0}, []any{lines[2]["step"], lines[3]["step"], lines[3]["epoch"]})
	require.InEpsilon(t, end["memory_peak_bytes"], end["memory_planned_bytes"], 0.03)
}

// A run starts where an adapter stands, and generate answers with it.
func TestAdaptersAreTakenUpAgain(t *testing.T) {
	r := newRealRun(t, "lora")
	lines := r.train(t)
	next := newRealRun(t, "lora", "--init_adapter", r.out)
	require.InEpsilon(t, lines[4]["loss"], next.train(t)[1]["loss"], 1e-6)

	bad := newRealRun(t, "lora", "--init_adapter", r.out, "--lora_alpha", "3")
	result := trainer(t, bad.args...)
	assert.Equal(t, int(fault.Files), result.code)
	assert.Contains(t, result.err, "trainer: "+r.out+"/adapter_config.json: r, lora_alpha: found 4, 16, expected 4, 3; set --lora_rank 4 --lora_alpha 16\n")

	result = trainer(t, "generate", "--model_name", demoFile(t, "model"), "--adapter", r.out, "--prompt", "How many?", "--max_new_tokens", "4", "--train_type", "lora",
		"--precision", "fp32", "--backend_path", r.args[slices.Index(r.args, "--backend_path")+1], "--json")
	require.Equal(t, 0, result.code, result.err)
	require.Contains(t, result.out, `"adapter"`)
	require.Contains(t, result.out, `"base"`)
}

// Rows with nothing to learn are left out and counted.
func TestRowsWithoutAnythingToLearnAreCounted(t *testing.T) {
	long := strings.Repeat("word ", 200)
	data := write(t, filepath.Join(t.TempDir(), "d.jsonl"), `{"instruction":"`+long+`","input":"","output":"never seen"}`+"\n"+
		`{"instruction":"How many?","input":"","output":"Two of them."}`+"\n"+`{"instruction":"`+long+`","input":"","output":"nor this"}`+"\n")
	r := newRealRun(t, "lora", "--dataset", data, "--dataset_samples", "0")
	result := trainer(t, r.args...)
	require.Equal(t, 0, result.code, result.err)
	require.Contains(t, result.err, "d.jsonl: 3 records, ")
	require.Contains(t, result.err, "; 2 left out with nothing to learn; 2 cut, --context_length ")
	require.Len(t, metricsOf(t, r.out), 5)
}

// What does not fit is known before anything runs, and a limit is kept to.
func TestMemoryLimitOnTheCommandLine(t *testing.T) {
	r := newRealRun(t, "qlora", "--memory_limit", "20MiB")
	result := trainer(t, r.args...)
	require.Equal(t, int(fault.Memory), result.code, result.err)
	lines := strings.Split(strings.TrimSpace(result.err), "\n")
	require.Regexp(t, `^trainer: memory plan: found 0\.\d\d GiB needed, expected at most 0\.02 GiB; lower --batch_size or --context_length, or raise --memory_limit$`, lines[len(lines)-1])
	require.Empty(t, result.out)

	plan := func(limit string) (int, PlanReport) {
		args := slices.Delete(slices.Clone(r.args), slices.Index(r.args, "--output_dir"), slices.Index(r.args, "--output_dir")+2)
		result := trainer(t, append(append([]string{"plan", "--json"}, args...), "--memory_limit", limit)...)
		var report PlanReport
		require.NoError(t, json.Unmarshal([]byte(result.out), &report), result.err)
		return result.code, report
	}
	code, report := plan("0")
	require.Equal(t, 0, code)
	require.Equal(t, "none", report.Recompute)
	code, tooLarge := plan("20MiB")
	require.Equal(t, int(fault.Memory), code)
	require.False(t, tooLarge.Fits)
	require.Equal(t, report.Trainable, tooLarge.Trainable)
	change, ok := strings.CutSuffix(strings.TrimPrefix(tooLarge.Change, "with "), " it fits")
	require.True(t, ok, tooLarge.Change)
	r.args = append(r.args, strings.Fields(change)...)
	end := r.train(t)[5]
	require.LessOrEqual(t, end["memory_peak_bytes"], float64(20<<20), "what the plan proposed fits")
	code, report = plan("20MiB")
	require.Equal(t, 0, code)
	require.Equal(t, float64(report.Total), end["memory_planned_bytes"], "plan and run plan the same")
}

// A plan of a known shape needs neither its weights nor a backend.
func TestPlanOfALargeShape(t *testing.T) {
	alone := filepath.Join(t.TempDir(), "trainer")
	program, err := os.ReadFile(executable(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(alone, program, 0o755))
	for _, cmd := range []*exec.Cmd{
		exec.Command(alone, "plan", "--shape", "llama-2-70b", "--train_type", "qlora", "--json"),
		exec.Command(alone, "plan", "--shape", "llama-2-70b", "--train_type", "qlora", "--json", "--backend_path", filepath.Dir(realBackend(t)), "--memory_limit", "1GiB"),
	} {
		cmd.Env = []string{"HOME=" + t.TempDir()}
		out, _ := cmd.Output()
		var report PlanReport
		require.NoError(t, json.Unmarshal(out, &report), "%s", out)
		require.Equal(t, int64(69721137152), report.Parameters)
		require.Equal(t, int64(744488960), report.Trainable)
	}
}

// startRun starts a run and waits until its record says a word.
func (r realRun) start(t *testing.T, word string) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	cmd := exec.Command(executable(t), r.args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.Env = []string{"HOME=" + t.TempDir()}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(filepath.Join(r.out, metricsFile))
		return strings.Contains(string(text), word)
	}, time.Minute, 10*time.Millisecond)
	return cmd, &stderr
}

func TestInterruptedRunSavesWhatItHas(t *testing.T) {
	r := newRealRun(t, "lora", "--num_epochs", "100000")
	cmd, stderr := r.start(t, `"step":2,`)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait()
	require.Equal(t, 130, cmd.ProcessState.ExitCode(), stderr.String())
	require.Regexp(t, `\ntrainer: ended by SIGINT after step \d+; what was trained so far is saved in `+r.out+", and --resume auto goes on from there\n$", stderr.String())
	weightFiles(t, r.out)
	lines := metricsOf(t, r.out)
	require.Equal(t, "end", lines[len(lines)-1]["event"])
	again := newRealRun(t, "lora", "--init_adapter", r.out)
	again.train(t)
}

func TestSecondInterruptEndsARunAtOnce(t *testing.T) {
	r := newRealRun(t, "lora", "--gradient_accumulation_steps", "100000", "--dataset_samples", "0")
	cmd, stderr := r.start(t, `"eval"`) // the first step takes as long as the data
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	time.Sleep(200 * time.Millisecond)
	began := time.Now()
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait()
	require.Less(t, time.Since(began), 5*time.Second)
	require.Equal(t, 130, cmd.ProcessState.ExitCode())
	require.Contains(t, stderr.String(), "\ntrainer: ended at once by a second signal, SIGINT, before the first step\n")
	require.NoFileExists(t, filepath.Join(r.out, "adapter_model.safetensors"))
}

// When the disk is full, what was saved before stays.
func TestDiskFullWhileSaving(t *testing.T) {
	disk := smalldisk.Mount(t, "900k")
	r := newRealRun(t, "lora")
	r.out = filepath.Join(disk, "out")
	r.args = append(r.args, "--output_dir", r.out)
	r.train(t)
	before := weightFiles(t, r.out)
	result := trainer(t, append(r.args, "--overwrite_output_dir", "--lora_rank", "32")...)
	require.Equal(t, int(fault.Disk), result.code, result.err)
	lines := strings.Split(strings.TrimSpace(result.err), "\n")
	require.Equal(t, "trainer: "+r.out+"/adapter_model.safetensors: no space left on device; free some space or choose another output_dir; what was saved before is unchanged", lines[len(lines)-1])
	require.Empty(t, result.out)
	require.Equal(t, before, weightFiles(t, r.out))
}
