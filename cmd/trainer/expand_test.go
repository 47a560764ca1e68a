package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/llama/surgery"
)

// An expanded model is a whole model folder under the name that says its layers.
func TestExpandOnTheCommandLine(t *testing.T) {
	model, parent := demoFile(t, "model"), t.TempDir()
	dir := filepath.Join(parent, "model_blk_exp-8-10")
	r := trainer(t, "expand", "--model_name", model, "--expansion_rate", "0.25", "--output_dir", parent)
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, dir+"\n", r.out)
	base, err := surgery.OpenBase(dir)
	require.NoError(t, err)
	require.Equal(t, 10, base.Config.NumLayers)
	require.NoError(t, base.Close())
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "generation_config.json"} {
		want, err := os.ReadFile(filepath.Join(model, name))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}

	refused(t, fault.Usage, "--expansion_rate: found 0.01, expected a number from 0.125, which adds one layer to 8, to 1, which doubles them",
		"expand", "--model_name", model, "--expansion_rate", "0.01", "--output_dir", parent)
	refused(t, fault.Usage, "--output_dir "+dir+": found 5 entries, expected an empty folder; choose another --output_dir, or write over it with --overwrite_output_dir",
		"expand", "--model_name", model, "--expansion_rate", "0.25", "--output_dir", parent)

	r = trainer(t, "expand", "--model_name", model, "--expansion_rate", "0.25", "--output_dir", parent, "--overwrite_output_dir", "--json")
	require.Equal(t, 0, r.code, r.err)
	var result struct {
		OutputDir string `json:"output_dir"`
		Layers    int    `json:"num_hidden_layers"`
		NewBlocks []int  `json:"new_blocks"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.out), &result))
	require.Equal(t, []int{4, 9}, result.NewBlocks)
}
