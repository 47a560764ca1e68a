package main

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/files/peft"
	"trainer/files/safetensors"
)

// evaluate is the loss that eval prints for records of the demo.
func evaluate(t *testing.T, args ...string) float64 {
	t.Helper()
	r := trainer(t, append([]string{"eval", "--dataset", demoFile(t, "eval.jsonl"), "--dataset_samples", "4", "--batch_size", "4", "--context_length", "160",
		"--precision", "fp32", "--backend_path", filepath.Dir(realBackend(t)), "--json"}, args...)...)
	require.Equal(t, 0, r.code, r.err)
	var result struct {
		Loss, Perplexity float64
		Labelled         int `json:"labelled_tokens"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.out), &result))
	require.Positive(t, result.Labelled)
	require.Greater(t, result.Perplexity, result.Loss)
	return result.Loss
}

// The loss of a model or adapter is one and the same in training, evaluated, merged and
// expanded.
func TestEvalAgreesWithTrainingAndSurgery(t *testing.T) {
	model, temp := demoFile(t, "model"), t.TempDir()
	r := newRealRun(t, "lora")
	lines := r.train(t)
	require.InEpsilon(t, lines[1]["loss"], evaluate(t, "--model_name", model), 1e-6)
	require.InEpsilon(t, lines[4]["loss"], evaluate(t, "--model_name", model, "--adapter", r.out), 1e-6)

	merged := filepath.Join(temp, "merged")
	result := trainer(t, "merge", "--model_name", model, "--adapter", r.out, "--output_dir", merged, "--dtype", "float32")
	require.Equal(t, 0, result.code, result.err)
	require.InEpsilon(t, lines[4]["loss"], evaluate(t, "--model_name", merged), 1e-5)

	result = trainer(t, "expand", "--model_name", model, "--expansion_rate", "0.3", "--output_dir", temp)
	require.Equal(t, 0, result.code, result.err)
	require.Equal(t, lines[1]["loss"], evaluate(t, "--model_name", filepath.Join(temp, "model_blk_exp-8-10")))
}

// An adapter whose kind the engine does not compute as it is, is computed all the same.
func TestEvalOfDoRA(t *testing.T) {
	model, r, dir := demoFile(t, "model"), newRealRun(t, "lora"), t.TempDir()
	r.train(t)
	makeDoRA(t, r.out, dir)
	merged := filepath.Join(t.TempDir(), "merged")
	result := trainer(t, "merge", "--model_name", model, "--adapter", dir, "--output_dir", merged, "--dtype", "float32")
	require.Equal(t, 0, result.code, result.err)
	loss := evaluate(t, "--model_name", model, "--adapter", dir)
	require.InEpsilon(t, evaluate(t, "--model_name", merged), loss, 1e-5)
	require.NotEqual(t, evaluate(t, "--model_name", model, "--adapter", r.out), loss)
}

// makeDoRA gives a LoRA adapter magnitudes, all rows one length.
func makeDoRA(t *testing.T, lora, dir string) {
	t.Helper()
	a, err := peft.ReadAdapter(lora)
	require.NoError(t, err)
	defer a.File.Close()
	var tensors []peft.Tensor
	add := func(module, part string, shape []int64, values []float32) {
		tensors = append(tensors, peft.Tensor{Module: module, Part: part, DType: "F32", Shape: shape, Data: func() (io.Reader, error) {
			return bytes.NewReader(safetensors.AppendFloats(nil, values, "F32")), nil
		}})
	}
	for module, m := range a.Modules {
		left, err := a.File.ReadFloat32(m.A)
		require.NoError(t, err)
		right, err := a.File.ReadFloat32(m.B)
		require.NoError(t, err)
		add(module, peft.PartA, m.A.Shape, left)
		add(module, peft.PartB, m.B.Shape, right)
		magnitude := make([]float32, m.B.Shape[0])
		for i := range magnitude {
			magnitude[i] = 0.5 + float32(i%7)/20
		}
		add(module, peft.PartMagnitude, m.B.Shape[:1], magnitude)
	}
	c := a.Config
	c.UseDoRA = true
	require.NoError(t, peft.Write(dir, c, tensors))
}

func TestEvalRefuses(t *testing.T) {
	model := demoFile(t, "model")
	refused(t, fault.Files, "--adapter /no/such: found no such folder, expected a PEFT adapter folder", "eval", "--model_name", model, "--dataset", demoFile(t, "eval.jsonl"), "--adapter", "/no/such")
	r := trainer(t, "eval", "--model_name", model, "--dataset", "/no/such.jsonl")
	require.Equal(t, int(fault.Files), r.code, r.err)
}
