package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// runTrain trains, so to say, in a folder of its own.
func runTrain(t *testing.T, seed uint64, view func(*trainingView)) (dir, out, stderr string, err error) {
	t.Helper()
	dir = t.TempDir()
	job := Job{Command: "train", Config: testConfig(t), Device: DeviceChoice{Why: "backend foo: asked for"}}
	job.Config.OutputDir, job.Config.Seed = filepath.Join(dir, "out"), seed
	require.NoError(t, os.Mkdir(job.Config.OutputDir, 0o755))
	c := &console{}
	c.out, err = os.Create(filepath.Join(dir, "stdout"))
	require.NoError(t, err)
	defer c.out.Close()
	c.err, err = os.Create(filepath.Join(dir, "stderr"))
	require.NoError(t, err)
	defer c.err.Close()
	v := &trainingView{console: c}
	if view != nil {
		view(v)
	}
	if v.toStdout {
		job.Config.LogTo = "stdout"
	}
	err = train(c, job, v)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(text)
	}
	return job.Config.OutputDir, read("stdout"), read("stderr"), err
}

func TestTraining(t *testing.T) {
	dir, out, stderr, err := runTrain(t, 42, nil)
	require.NoError(t, err)
	assert.Equal(t, dir+"\n", out, "the result is the folder alone")
	for _, line := range []string{
		"backend foo: asked for", "loading", "plan: 1.00 GiB in fp32 with recompute none (weights 512.0 MiB) of 2.00 GiB",
		"a/tiny: 1,000 parameters, 10 trained; 2 steps", "native ops: linear; composed: none", "evaluation after 0 steps: loss 4.0000 over 9 tokens", "saved in " + dir,
		"2 steps in 0.0 s, loss 2.0000, evaluation loss 4.0000 → 2.0000 (-50.0 %), memory 512.0 MiB, planned 1.00 GiB",
	} {
		assert.Contains(t, stderr, line+"\n")
	}
	assert.Contains(t, stderr, "step 2/2  loss 2.0000")
	for _, name := range []string{settingsFile, metricsFile, plotFile} {
		assert.FileExists(t, filepath.Join(dir, name))
	}
}

func TestTrainingForPrograms(t *testing.T) {
	_, out, stderr, err := runTrain(t, 42, func(v *trainingView) { v.asJSON, v.console.quiet = true, true })
	require.NoError(t, err)
	assert.Empty(t, stderr)
	var end map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &end))
	assert.Equal(t, []any{"end", 2.0, 2.0}, []any{end["event"], end["steps"], end["loss"]})
}

func TestTrainingLogsToStandardOutput(t *testing.T) {
	dir, out, _, err := runTrain(t, 42, func(v *trainingView) { v.toStdout = true })
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 3)
	assert.True(t, strings.HasPrefix(lines[0], "step 1/2  loss 3.0000  lr "), lines[0])
	assert.Equal(t, dir, lines[2])
}

// TestTrainingThatBreaks keeps what was recorded until then.
func TestTrainingThatBreaks(t *testing.T) {
	dir, out, _, err := runTrain(t, 0, nil)
	assert.EqualError(t, err, "the worker ended with status 0 and no final record after step 1")
	assert.Equal(t, int(fault.Device), exitCode(err))
	assert.Empty(t, out)
	lines, err := os.ReadFile(filepath.Join(dir, metricsFile))
	require.NoError(t, err)
	assert.Equal(t, 3, strings.Count(string(lines), "\n"))
	assert.FileExists(t, filepath.Join(dir, plotFile))
}
