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

	refused(t, fault.Usage, "--adapter is missing: name an adapter folder or a state dict", "convert", "--output_dir", out)
	refused(t, fault.Usage, "--output_dir is missing: name a folder for the result", "convert", "--adapter", adapter)
	refused(t, fault.Files, "/no/such: file does not exist; name an adapter folder, or a state dict", "convert", "--adapter", "/no/such", "--output_dir", out)
	r = trainer(t, "convert", "--adapter", adapter, "--model_name", oracle(t, "models", "llama3"), "--output_dir", out)
	require.Equal(t, int(fault.Files), r.code)
	require.Contains(t, r.err, "found an adapter of a [64, 64] matrix, expected one of [32 64]")
}
