package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/op"
	"trainer/core/session"
	"trainer/fault"
	"trainer/llama"
	"trainer/training"
)

// bench measures the embedded model on a real backend.
func bench(t *testing.T, more ...string) BenchReport {
	t.Helper()
	r := trainer(t, append([]string{"bench", "--json", "--model_name", demoFile(t, "model"), "--train_type", "qlora", "--lora_rank", "4", "--precision", "fp32",
		"--batch_size", "2", "--context_length", "32", "--max_steps", "2", "--backend_path", filepath.Dir(realBackend(t))}, more...)...)
	require.Equal(t, 0, r.code, r.err)
	var b BenchReport
	require.NoError(t, json.Unmarshal([]byte(r.out), &b))
	return b
}

// A benchmark with a profile says where the time of a step goes, and leaves a trace.
func TestBenchProfile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "a.json")
	b := bench(t, "--profile", "--profiling_output", file, "--recompute", "block", "--gradient_accumulation_steps", "2")
	assert.Equal(t, 2, b.Steps)
	assert.Equal(t, "block", b.Recompute)
	assert.True(t, b.Within, "the CPU backend tells times")
	assert.Positive(t, float64(b.LoadSeconds))
	assert.Positive(t, b.Copy)
	assert.Equal(t, b.FLOPsPerStep, 2*2*32*b.FLOPsPerToken)
	assert.Less(t, 0.2*b.FLOPsPerStep, b.RecomputedFLOPs)
	assert.Less(t, b.RecomputedFLOPs, 0.4*b.FLOPsPerStep)
	assert.InEpsilon(t, b.FLOPsPerStep/float64(b.SecondsPerStep)/b.GEMM, float64(b.GEMMShare), 1e-9)
	assert.InEpsilon(t, b.MemoryPlannedBytes, b.MemoryPeakBytes, 0.03, "profiling takes no part in it")
	var phases []string
	var sums [2]ProfileLine
	for i, lines := range [][]ProfileLine{b.Phases, b.Families} {
		for _, l := range lines {
			assert.Positive(t, l.Seconds, l.Name)
			sums[i].Calls += l.Calls
			sums[i].Share += l.Share
			sums[i].FLOPs += l.FLOPs
		}
		assert.InDelta(t, 1, sums[i].Share, 1e-9)
	}
	for _, l := range b.Phases {
		phases = append(phases, l.Name)
	}
	assert.Equal(t, training.StepPhases, phases)
	assert.Equal(t, sums[0].Calls, sums[1].Calls)
	assert.InEpsilon(t, b.FLOPsPerStep/2, sums[1].FLOPs, 1e-9, "a micro-batch's")

	require.Equal(t, file, b.TraceFile)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var trace struct{ TraceEvents []traceEvent }
	require.NoError(t, json.Unmarshal(text, &trace))
	var ops int
	var end, phaseEnd float64
	for _, e := range trace.TraceEvents {
		switch {
		case e.Kind != "X":
			continue
		case e.TID == traceOps:
			ops++
			assert.InDelta(t, end, e.Start, 1e-3)
			end = e.Start + e.Took
		default:
			assert.InDelta(t, phaseEnd, e.Start, 1e-3)
			phaseEnd = e.Start + e.Took
		}
	}
	assert.Equal(t, sums[0].Calls, ops)
	assert.InDelta(t, phaseEnd, end, 1e-3)
}

// On a data set the tokens of its rows count, and padding does not.
func TestBenchDataset(t *testing.T) {
	t.Parallel()
	single := bench(t, "--dataset", demoFile(t, "train.jsonl"), "--context_length", "160", "--max_steps", "4")
	assert.Equal(t, 4, single.Steps)
	assert.Positive(t, float64(single.PaddingShare))
	assert.Less(t, float64(single.PaddingShare), 0.1)
	file := filepath.Join(t.TempDir(), "a.json")
	packed := bench(t, "--dataset", demoFile(t, "train.jsonl"), "--packing", "--context_length", "512", "--profile", "--profiling_output", file)
	assert.Equal(t, 2, packed.Steps)
	assert.Less(t, float64(packed.PaddingShare), 0.05)
	assert.Greater(t, float64(packed.TokensPerSecond)*float64(packed.SecondsPerStep), 900.0, "two full rows a step")
	assert.FileExists(t, file)
	refused(t, fault.Usage, "--tokenizer is missing: a shape has none, and --dataset needs one; name a model folder that has", "bench", "--shape", "smollm2-135m", "--dataset", "dummy")
	refused(t, fault.Usage, "found --packing without --dataset, which it belongs to", "bench", "--shape", "smollm2-135m", "--packing")
}

// Every family is timed against what bounds it.
func TestBenchOps(t *testing.T) {
	t.Parallel()
	b := bench(t, "--ops")
	timed := map[string]bool{}
	for _, o := range b.Ops {
		timed[o.Family] = true
		assert.Positive(t, o.Seconds, o.Family)
		assert.Positive(t, o.Bytes, o.Family)
		assert.InEpsilon(t, ideal(o.FLOPs, o.Bytes, b.Rates)/o.Seconds, o.BoundShare, 1e-9)
	}
	for _, f := range op.Families() {
		assert.True(t, timed[f.Name], f.Name)
	}
	assert.Zero(t, b.Steps)
}

// The tables a person reads have a line for everything and stay within a wide terminal.
func TestBenchTables(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	c := &console{out: out, err: out}
	line := ProfileLine{Name: "linear_cross_entropy", Calls: 1, Seconds: 0.5, Share: 1, Bound: Bound{FLOPs: 3e14, BoundShare: 0.75}}
	b := BenchReport{Model: "m", Steps: 8, SecondsPerStep: 2, FLOPsPerStep: 4e15, FLOPsPerToken: 5e10, RecomputedFLOPs: 1e15, Rates: session.Rates{GEMM: 8e14, Copy: 4e12}, GEMMShare: 0.5}
	require.NoError(t, c.benchResult(b, false))
	b.Families, b.Phases, b.TraceFile = []ProfileLine{line}, []ProfileLine{line}, "profiles/trace.json"
	require.NoError(t, c.benchResult(b, false))
	b.Ops = []OpTiming{{Family: "copy", Shapes: "4×8 f32 → 4×8 f32", Calls: 3, Seconds: 1e-3, Bound: Bound{Bytes: 4e9, BoundShare: 1}}}
	require.NoError(t, c.benchResult(b, false))
	raw, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	text := string(raw)
	for _, want := range []string{"4 PFLOP a step, 50 GFLOP a token, 25.0 % of it recompute", "2 PFLOP/s, 50.0 % of the rate of dense products",
		"dense products 800 TFLOP/s, copies 4 TB/s", "600 TFLOP/s    75.0 %", "4 TB/s   100.0 %", "trace: profiles/trace.json"} {
		assert.Contains(t, text, want)
	}
	for _, l := range strings.Split(text, "\n") {
		assert.LessOrEqual(t, len([]rune(l)), 120, l)
	}
}

// A made-up model folder is one that training and measuring accept, the same from the same
// seed.
func TestWriteModel(t *testing.T) {
	t.Parallel()
	shape, err := llama.ReadConfig(demoFile(t, "model"))
	require.NoError(t, err)
	weights := map[string]string{}
	var dir string
	for _, seed := range []uint64{1, 1, 2} {
		dir = filepath.Join(t.TempDir(), "m")
		bytes, err := modelToWrite{dir, demoFile(t, "model")}.write(shape, seed)
		require.NoError(t, err)
		assert.Equal(t, 2*shape.ParamCount(), bytes)
		text, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		require.NoError(t, err)
		weights[string(text)] = dir
	}
	assert.Len(t, weights, 2)
	b := bench(t, "--model_name", dir)
	assert.InDelta(t, 8.3, float64(b.Loss), 1.5, "about that of guessing")
	r := newRealRun(t, "lora", "--model_name", dir)
	r.train(t)

	require.NoError(t, os.Remove(filepath.Join(dir, "tokenizer.json")))
	bench(t, "--model_name", dir)
	refused(t, fault.Usage, "--write_model "+dir+": found 4 entries, expected an empty folder; name another folder", "bench", "--shape", "smollm2-135m", "--write_model", dir)
	missing := trainer(t, "bench", "--shape", "smollm2-135m", "--write_model", filepath.Join(dir, "x"), "--tokenizer", "/no/such")
	assert.Equal(t, int(fault.Files), missing.code)
	assert.Contains(t, missing.err, "trainer: /no/such/tokenizer.json: ")
	assert.NoDirExists(t, filepath.Join(dir, "x"))
}
