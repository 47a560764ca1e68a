package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/training/config"
	"trainer/training/metrics"
)

// discard is a console nobody reads.
func discard(t *testing.T) *console {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { null.Close() })
	return &console{out: null, err: null}
}

func TestNormalise(t *testing.T) {
	root := newRoot(discard(t))
	for line, want := range map[string]string{
		"--lora-rank 3":                        "--lora_rank=3",
		"--shuffle":                            "--shuffle=true",
		"--shuffle false --seed 1":             "--shuffle=false --seed=1",
		"--shuffle=false plan":                 "--shuffle=false plan",
		"--shuffle plan":                       "--shuffle=true plan",
		"--no-shuffle":                         "--shuffle=false",
		"--no_json":                            "--json=false",
		"--no_seed":                            "--no_seed",
		"--max_steps -1":                       "--max_steps=-1",
		"--output-dir --odd":                   "--output_dir=--odd",
		"--use_gradient_checkpointing auto":    "--use_gradient_checkpointing=auto",
		"--gradient-checkpointing":             "--gradient_checkpointing=true",
		"--unknown-flag 3":                     "--unknown_flag 3",
		"--model_name plan":                    "--model_name=plan",
		"-h":                                   "-h",
		"--seed":                               "--seed",
		"--quiet devices --json -- --no_quiet": "--quiet=true devices --json=true -- --no_quiet",
		"__complete --no_":                     "__complete --no_",
	} {
		assert.Equal(t, strings.Fields(want), normalise(root, strings.Fields(line)), line)
	}
}

func TestSettingsOfCommands(t *testing.T) {
	cmd := &cobra.Command{}
	f := addSettings(cmd, inGroups([]config.Group{config.Memory}, "seed", "lr"))
	file := write(t, filepath.Join(t.TempDir(), "c.yaml"), "seed: 7\ndataset: x\nlr: 1\n")
	require.NoError(t, cmd.ParseFlags([]string{"--learning_rate=2", "--config", file, "--precision=fp32"}))
	c, err := f.config(func(c *config.Config) { c.Seed, c.Threads = 1, 2 })
	require.NoError(t, err)
	assert.Equal(t, []any{uint64(7), 2, "x", 2.0, "fp32"}, []any{c.Seed, c.Threads, c.Dataset, *c.LR, c.Precision})
	assert.Nil(t, cmd.Flags().Lookup("dataset"))
}

func TestModelInTheHubCache(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HF_HOME", home)
	repository := filepath.Join(home, "hub", "models--org--name")
	snapshot := filepath.Join(repository, "snapshots", "abc123")
	require.NoError(t, os.MkdirAll(snapshot, 0o755))
	_, err := modelFolder("org/name")
	assert.Equal(t, int(fault.Files), fault.ExitCode(err))
	write(t, filepath.Join(repository, "refs", "main"), "abc123")
	dir, err := modelFolder("org/name")
	require.NoError(t, err)
	assert.Equal(t, snapshot, dir)
	write(t, filepath.Join(repository, "refs", "main"), "../../..")
	_, err = modelFolder("org/name")
	assert.Error(t, err, "a revision may not lead elsewhere")
	_, err = modelFolder("../name")
	assert.Error(t, err)
}

// TestRecord follows a run through the files of its folder.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(t)
	c.LogEveryNSteps = 2
	r := record{dir: dir}
	require.NoError(t, r.close(), "a run that never started leaves nothing")
	require.NoError(t, r.end(metrics.End{}))
	require.NoError(t, r.start(Start{Start: metrics.Start{Backend: "cpu", Model: "a/b"}, Steps: 5, Config: c}))
	require.NoError(t, r.eval(metrics.Eval{Loss: 3}))
	for i := range 5 {
		require.NoError(t, r.step(metrics.Step{Step: i + 1, Loss: 2}))
	}
	require.NoError(t, r.end(metrics.End{Steps: 5}))
	require.NoError(t, r.close())
	var again config.Config
	text, err := os.ReadFile(filepath.Join(dir, settingsFile))
	require.NoError(t, err)
	require.NoError(t, again.UnmarshalBinary(text))
	assert.Equal(t, c, again)
	f, err := os.Open(filepath.Join(dir, metricsFile))
	require.NoError(t, err)
	defer f.Close()
	var seen []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var line map[string]any
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line))
		assert.NotEmpty(t, line["time"])
		seen = append(seen, line["event"].(string))
	}
	assert.Equal(t, []string{"start", "eval", "step", "step", "step", "end"}, seen, "steps 2, 4 and the last")
	assert.FileExists(t, filepath.Join(dir, plotFile))
}

func TestResultsBeforeTheStartAreABug(t *testing.T) {
	v := trainingView{console: discard(t)}
	assert.ErrorContains(t, v.show(event{Step: &metrics.Step{}}), "before it reports its start")
}

// TestDemoFiles checks what the demo promises of its data.
func TestDemoFiles(t *testing.T) {
	records := func(name string) []string {
		text, err := demoFiles.ReadFile("demo/" + name)
		require.NoError(t, err)
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	train, eval := records("train.jsonl"), records("eval.jsonl")
	assert.Len(t, train, 400)
	assert.Len(t, eval, 64)
	seen := map[string]bool{}
	for _, r := range train {
		seen[r] = true
	}
	for _, r := range eval {
		assert.False(t, seen[r], "trained on: %s", r)
	}
	question, prompt, want, err := demoQuestion()
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(prompt, question+"\n\n### Response:"))
	assert.NotEmpty(t, want)
}

func TestUnpackDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	require.NoError(t, unpackDemo(dir))
	assert.FileExists(t, filepath.Join(dir, "model", "tokenizer.json"))
	assert.FileExists(t, filepath.Join(dir, "eval.jsonl"))
	require.NoError(t, unpackDemo(dir), "its own folder it takes again")
	other := t.TempDir()
	write(t, filepath.Join(other, "precious"), "x")
	assert.Equal(t, int(fault.Usage), fault.ExitCode(unpackDemo(other)))
}

func TestWords(t *testing.T) {
	assert.Equal(t, "-1,234,567", grouped(-1234567))
	assert.Equal(t, "123", grouped(123))
	assert.Equal(t, []string{"1.50 GiB", "2.0 MiB", "0.5 KiB"}, []string{gib(3 << 29), gib(2 << 20), gib(512)})
	assert.Equal(t, `a·\x1b[0m\n"`, strings.ReplaceAll(visible("a \x1b[0m\n\""), `\"`, `"`))
	assert.Equal(t, "a\n\tb[31mü", printable("a\n\tb\x1b[31mü\x00\u009b"))
	assert.Equal(t, "evaluation loss 4.0000 → 2.0000 (-50.0 %)", lossChange([]metrics.Eval{{Loss: 4}, {Loss: 2}}))
	assert.Equal(t, []string{"aa bb", "cc"}, wrap(" aa  bb cc", 5))
}

// TestPlanThatDoesNotFit is an error that says what would.
func TestPlanThatDoesNotFit(t *testing.T) {
	err := discard(t).showPlan(PlanReport{Total: 3 << 30, Limit: 1 << 30, Change: "lower --batch_size to 1"}, false)
	assert.EqualError(t, err, "memory plan: found 3.00 GiB needed, expected at most 1.00 GiB; lower --batch_size to 1")
	assert.Equal(t, int(fault.Memory), exitCode(err))
}
