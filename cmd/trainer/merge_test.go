package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// oracle is the absolute path of a file of the oracles.
func oracle(t *testing.T, parts ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{"..", "..", "testdata", "oracles"}, parts...)...))
	require.NoError(t, err)
	return path
}

// adapterWith copies an adapter of the oracles, with fields of its config changed.
func adapterWith(t *testing.T, name string, changes map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(oracle(t, "steps", name))))
	path := filepath.Join(dir, "adapter_config.json")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(text, &config))
	for field, value := range changes {
		config[field] = value
	}
	text, err = json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o666))
	return dir
}

// kinds are adapters of every kind for the llama2 of the oracles.
func kinds(t *testing.T) map[string]string {
	return map[string]string{
		"lora": oracle(t, "steps", "lora.final"),
		"dora": oracle(t, "steps", "dora.final"),
		"rslora with patterns": adapterWith(t, "lora.final", map[string]any{"use_rslora": true,
			"alpha_pattern": map[string]any{"q_proj": 3, "model.layers.1.mlp.up_proj": 40}}),
	}
}

// A merged model of any kind of adapter has the logits of base and adapter, on a backend.
func TestMergeIsVerified(t *testing.T) {
	for name, adapter := range kinds(t) {
		checkVerified(t, name, adapter, "auto", 1e-5)
	}
	checkVerified(t, "lora", oracle(t, "steps", "lora.final"), "float16", 1e-2)
	checkVerified(t, "lora", oracle(t, "steps", "lora.final"), "bfloat16", 5e-2)
}

// checkVerified merges into a dtype; logits may differ by a share of the largest.
func checkVerified(t *testing.T, name, adapter, dtype string, most float64) {
	t.Run(name+" "+dtype, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "merged")
		r := trainer(t, "merge", "--model_name", oracle(t, "models", "llama2"), "--adapter", adapter, "--output_dir", dir, "--dtype", dtype,
			"--verify", "--backend_path", filepath.Dir(realBackend(t)), "--json")
		require.Equal(t, 0, r.code, r.err)
		var result struct {
			OutputDir string `json:"output_dir"`
			Modules   int
			Verified  VerifyReport
		}
		require.NoError(t, json.Unmarshal([]byte(r.out), &result), r.out)
		require.Equal(t, dir, result.OutputDir)
		require.Equal(t, 12, result.Modules)
		require.Greater(t, result.Verified.Effect, 0.05, "the adapter does something")
		require.Less(t, result.Verified.Difference, most*result.Verified.Logit)
		assert.Contains(t, r.err, "logits differ by at most ")
	})
}

// A merged model that is not the base with its adapter is found out.
func TestMergeThatWentWrongIsFoundOut(t *testing.T) {
	c := testConfig(t)
	c.ModelName, c.Precision, c.TrainType, c.BackendPath = oracle(t, "models", "llama2"), "fp32", "lora", []string{filepath.Dir(realBackend(t))}
	device, err := chooseDevice(&c)
	require.NoError(t, err)
	job := Job{Command: "verify", Config: c, Device: device, ModelDir: c.ModelName, Adapter: oracle(t, "steps", "dora.final"), Merged: c.ModelName}
	v, err := job.verify(t.Context())
	require.NoError(t, err)
	require.InDelta(t, v.Effect, v.Difference, 1e-6, "a base that was not merged at all")
	require.Greater(t, v.Difference, 100*v.Allowed)
}

func TestMergeRefuses(t *testing.T) {
	model, adapter, out := oracle(t, "models", "llama2"), oracle(t, "steps", "lora.final"), filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		code     fault.Kind
		sentence string
		args     []string
	}{
		{fault.Usage, "--adapter is missing: name a PEFT adapter folder", []string{"--model_name", model, "--output_dir", out}},
		{fault.Usage, "--output_dir is missing: name a folder for the result", []string{"--model_name", model, "--adapter", adapter}},
		{fault.Usage, `--dtype: found "int8", expected auto, float32, bfloat16, float16`, []string{"--model_name", model, "--adapter", adapter, "--output_dir", out, "--dtype", "int8"}},
		{fault.Files, "--adapter /no/such: found no such folder, expected a PEFT adapter folder", []string{"--model_name", model, "--adapter", "/no/such", "--output_dir", out}},
		{fault.Usage, "--output_dir " + adapter + ": found a folder that is read, expected another one",
			[]string{"--model_name", model, "--adapter", adapter, "--output_dir", adapter, "--overwrite_output_dir"}},
		{fault.Files, adapter + "/adapter_model.safetensors: module model.layers.0.self_attn.k_proj: found an adapter of a [64, 64] matrix, expected one of [32 64], as in " +
			oracle(t, "models", "llama3") + "; name the model the adapter was trained on", []string{"--model_name", oracle(t, "models", "llama3"), "--adapter", adapter, "--output_dir", out}},
	} {
		refused(t, c.code, c.sentence, append([]string{"merge"}, c.args...)...)
	}
	require.NoDirExists(t, out, "what is refused leaves nothing")
}

// compareLogits is how two models, each with or without an adapter, differ in Transformers
// and PEFT, as a share of the largest logit.
func compareLogits(t *testing.T, models ...string) float64 {
	t.Helper()
	cmd := exec.Command(python(t, "torch", "transformers", "peft"), append([]string{"testdata/compare_logits.py"}, models...)...)
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var found struct{ Difference, Largest float64 }
	require.NoError(t, json.Unmarshal(out, &found))
	return found.Difference / found.Largest
}

// Transformers computes of a merged model what PEFT computes of base and adapter.
func TestInteropMerge(t *testing.T) {
	python(t, "torch", "transformers", "peft")
	for name, adapter := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			model, dir := oracle(t, "models", "llama2"), filepath.Join(t.TempDir(), "merged")
			r := trainer(t, "merge", "--model_name", model, "--adapter", adapter, "--output_dir", dir)
			require.Equal(t, 0, r.code, r.err)
			require.Less(t, compareLogits(t, model, adapter, dir, "-"), 1e-5)
		})
	}
}

// An expanded model computes what its base computes.
func TestInteropExpand(t *testing.T) {
	python(t, "torch", "transformers", "peft")
	model := demoFile(t, "model")
	r := trainer(t, "expand", "--model_name", model, "--expansion_rate", "0.3", "--output_dir", t.TempDir())
	require.Equal(t, 0, r.code, r.err)
	require.Zero(t, compareLogits(t, model, "-", strings.TrimSpace(r.out), "-"))
}
