package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/files/peft"
)

func TestConvertOnTheCommandLine(t *testing.T) {
	adapter, model, out := oracle(t, "steps", "lora.final"), oracle(t, "models", "llama2"), filepath.Join(t.TempDir(), "out")
	r := trainer(t, "convert", "--adapter", adapter, "--model_name", model, "--output_dir", out)
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, out+"\n", r.out)
	require.Equal(t, "a PEFT adapter: 12 modules of rank 8, alpha 16; 0 other tensors left out\n", r.err)
	c, err := peft.ReadConfig(out)
	require.NoError(t, err)
	require.Equal(t, model, c.BaseModel)

	r = trainer(t, "convert", "--adapter", adapter, "--output_dir", out, "--overwrite_output_dir", "--json", "--quiet")
	require.Equal(t, 0, r.code, r.err)
	require.Empty(t, r.err)
	var result struct {
		Modules, R int
		Ignored    int `json:"ignored_tensors"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.out), &result))
	require.Equal(t, []int{12, 8, 0}, []int{result.Modules, result.R, result.Ignored})

	refused(t, fault.Usage, "--adapter is missing: name an adapter folder or a state dict, or a model with --merged", "convert", "--output_dir", out)
	refused(t, fault.Usage, "--output_dir is missing: name a folder for the result", "convert", "--adapter", adapter)
	refused(t, fault.Files, "/no/such: file does not exist; name an adapter folder, or a state dict", "convert", "--adapter", "/no/such", "--output_dir", out)
	r = trainer(t, "convert", "--adapter", adapter, "--model_name", oracle(t, "models", "llama3"), "--output_dir", out)
	require.Equal(t, int(fault.Files), r.code)
	require.Contains(t, r.err, "found an adapter of a [64, 64] matrix, expected one of [32 64]")
}

// A DoRA adapter that was merged is found again.
func TestConvertFindsWhatWasMerged(t *testing.T) {
	model, temp := oracle(t, "models", "llama2"), t.TempDir()
	merged, found, again := filepath.Join(temp, "merged"), filepath.Join(temp, "found"), filepath.Join(temp, "again")
	run := func(args ...string) ran {
		r := trainer(t, args...)
		require.Equal(t, 0, r.code, r.err)
		return r
	}
	run("merge", "--model_name", model, "--adapter", oracle(t, "steps", "dora.final"), "--output_dir", merged)
	r := run("convert", "--merged", merged, "--model_name", model, "--lora_rank", "8", "--use_dora", "--output_dir", found, "--json")
	var result struct {
		Modules int
		Missed  float64 `json:"missed_share"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.out), &result))
	require.Equal(t, 12, result.Modules)
	require.Less(t, result.Missed, 1e-4)
	run("merge", "--model_name", model, "--adapter", found, "--output_dir", again)

	refused(t, fault.Usage, "--model_name is missing: name the base of the merged model", "convert", "--merged", merged, "--output_dir", again)
	refused(t, fault.Usage, "found both --adapter and --merged, expected one of them", "convert", "--merged", merged, "--adapter", found, "--output_dir", again)
	refused(t, fault.Usage, "--use_dora: found it without --merged, expected a merged model to find the adapter in", "convert", "--adapter", found, "--use_dora", "--output_dir", again)
}

// PEFT computes of a converted state dict, and of an adapter found in a merged model, what
// it computes of the adapter they come from.
func TestInteropConvert(t *testing.T) {
	python(t, "torch", "transformers", "peft")
	model, adapter, temp := oracle(t, "models", "llama2"), oracle(t, "steps", "dora.final"), t.TempDir()
	merged, found := filepath.Join(temp, "merged"), filepath.Join(temp, "found")
	r := trainer(t, "merge", "--model_name", model, "--adapter", adapter, "--output_dir", merged)
	require.Equal(t, 0, r.code, r.err)
	r = trainer(t, "convert", "--merged", merged, "--model_name", model, "--lora_rank", "8", "--use_dora", "--output_dir", found)
	require.Equal(t, 0, r.code, r.err)
	require.Less(t, compareLogits(t, model, adapter, model, found), 1e-5)
}
