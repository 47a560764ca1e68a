package main

import (
	"bytes"
	"io"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/plugin"
	"trainer/training"
	"trainer/training/config"
	"trainer/training/metrics"
)

// testConfig is a resolved Config that differs from the default.
func testConfig(t *testing.T) config.Config {
	t.Helper()
	c := config.Default()
	c.ModelName, c.Dataset, c.Quantization, c.BackendPath, c.WarmupSteps = "a b", "d", "mlx", []string{"/x"}, new(int)
	require.NoError(t, c.Resolve())
	return c
}

func TestMessagesTravelWhole(t *testing.T) {
	header := metrics.Header{Event: "step", Time: time.Date(2026, 1, 2, 3, 4, 5, 6000000, time.UTC), Rank: 1}
	sent := []event{
		{Log: "a line"},
		{Plan: &PlanReport{Model: "m", Kinds: []PlanBytes{{"weights", 1 << 40}}, Fits: true, Native: []string{"linear"}}},
		{Start: &Start{Start: metrics.Start{Header: header, Model: "m", Parameters: 1 << 40, NativeOps: []string{"a"}}, Steps: 3, Config: testConfig(t)}},
		{Step: &metrics.Step{Header: header, Step: 4, Loss: 0.1, GradNorm: metrics.Number(math.Inf(1)), MemoryBytes: 1 << 50}},
		{Eval: &metrics.Eval{Header: header, Step: 4, Loss: 0.1}},
		{Answer: &Answer{Prompt: "p\x00", Text: "ü\n", Model: "base"}},
		{Saved: "OUT"},
		{Final: &final{Result: Result{Interrupted: true, End: metrics.End{Header: header, Steps: 3}, Bench: &BenchReport{Steps: 8}}, Kind: 7, Sentence: "s"}},
	}
	var stream bytes.Buffer
	for _, e := range sent {
		require.NoError(t, (&frames{out: &stream}).send(e))
	}
	for _, want := range sent {
		var got event
		require.NoError(t, receive(&stream, &got))
		assert.Equal(t, want, got)
	}
	assert.Equal(t, io.EOF, receive(&stream, &event{}))
}

func TestJobTravelsWhole(t *testing.T) {
	want := command{Job: &Job{Command: "train", Config: testConfig(t), ModelDir: "/m", Prompts: []Prompt{{Text: "p", Framed: true}}, MaxNewTokens: 3, Sampling: training.Sampling{TopP: 0.5},
		Device: DeviceChoice{Why: "w", Choice: plugin.Choice{Device: 1, Candidate: plugin.Candidate{Name: "cpu", Path: "/x", Reason: plugin.ReasonOK,
			Devices: []plugin.DeviceInfo{{Name: "d", MemoryTotal: 1 << 60}}, Identity: plugin.Identity{Inode: 1 << 63}}}}}}
	var stream bytes.Buffer
	require.NoError(t, (&frames{out: &stream}).send(want))
	var got command
	require.NoError(t, receive(&stream, &got))
	assert.Equal(t, want, got)
}

func FuzzReceive(f *testing.F) {
	var stream bytes.Buffer
	require.NoError(f, (&frames{out: &stream}).send(event{Final: &final{Sentence: "s"}}))
	f.Add(stream.Bytes())
	f.Add([]byte("\x05\x00\x00\x00hello"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := bytes.NewReader(raw)
		for {
			var e event
			if receive(in, &e) != nil {
				return
			}
		}
	})
}
