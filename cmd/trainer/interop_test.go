package main

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/training/config"
)

// python is the Python named by PYTHON, if it has what a script imports.
func python(t *testing.T, modules ...string) string {
	t.Helper()
	path := os.Getenv("PYTHON")
	if path == "" {
		t.Skip("needs PYTHON to name a Python with " + strings.Join(modules, ", ") + ": make interop")
	}
	if text, err := exec.Command(path, "-c", "import "+strings.Join(modules, ", ")).CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		t.Skipf("needs a Python with %s; %s has not: %s", strings.Join(modules, ", "), path, lines[len(lines)-1])
	}
	return path
}

// interopRuns are runs whose results other programs load.
var interopRuns = map[string]struct {
	trainType string
	flags     []string
	quantised bool // the base, while training
}{
	"lora": {trainType: "lora"}, "full": {trainType: "full"}, "dora": {trainType: "dora"}, "llama_pro": {trainType: "llama_pro"},
	"qlora": {trainType: "qlora", quantised: true}, "hqq_dora": {trainType: "hqq_dora", quantised: true}, "bnb_llama_pro": {trainType: "bnb_llama_pro", quantised: true},
	"patterns": {trainType: "dora", flags: []string{"--use_rslora", "--lora_target_modules", "all_linear", "--rank_pattern", `q_proj=8,layers\.1\.mlp\.up_proj=2`, "--alpha_pattern", "v_proj=3"}},
}

// PEFT on the base, and Transformers on a whole model, compute our loss with what each train
// type leaves. A base that was quantised while training is there as it was before.
func TestInterop(t *testing.T) {
	interpreter := python(t, "torch", "transformers", "peft")
	names := slices.Sorted(maps.Keys(interopRuns))
	var pairs []string
	var ours []float64
	for _, name := range names {
		run, model := interopRuns[name], demoFile(t, "model")
		kind, flags := (&config.Config{TrainType: run.trainType}).Type(), run.flags
		switch {
		case kind.Adapters():
			flags = append([]string{"--lr", "5e-3"}, flags...)
		case kind.Expanded():
			model = expandedDemo(t)
			flags = append(flags, "--llama_pro_path", model)
		}
		r := newRealRun(t, run.trainType, flags...)
		lines := r.train(t)
		pair, evaluated := []string{model, r.out}, []string{"--model_name", model, "--adapter", r.out}
		if !kind.Adapters() {
			pair, evaluated = []string{r.out, "-"}, []string{"--model_name", r.out}
		}
		loss := evaluate(t, evaluated...)
		if !run.quantised {
			require.InEpsilon(t, lines[4]["loss"], loss, 1e-6, name)
		}
		require.Less(t, loss, 0.999*lines[1]["loss"].(float64), "training moved the loss of %s", name)
		pairs, ours = append(pairs, pair...), append(ours, loss)
	}
	for i, theirs := range theirLosses(t, interpreter, pairs) {
		t.Logf("%s: ours %v, theirs %v", names[i], ours[i], theirs)
		require.InEpsilon(t, theirs, ours[i], 1e-4, names[i])
	}
}

// expandedDemo is the demo's model with new blocks.
func expandedDemo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	result := trainer(t, "expand", "--model_name", demoFile(t, "model"), "--expansion_rate", "0.3", "--output_dir", dir)
	require.Equal(t, 0, result.code, result.err)
	return filepath.Join(dir, "model_blk_exp-8-10")
}

// theirLosses are what Transformers and, of adapters, PEFT compute on the demo's records, of
// pairs of a model and an adapter.
func theirLosses(t *testing.T, interpreter string, pairs []string) (losses []float64) {
	t.Helper()
	shown := trainer(t, "data", "show", "--model_name", demoFile(t, "model"), "--dataset", demoFile(t, "eval.jsonl"), "--dataset_samples", "4",
		"--context_length", "160", "--rows", "4", "--json")
	require.Equal(t, 0, shown.code, shown.err)
	rows := write(t, filepath.Join(t.TempDir(), "rows.json"), shown.out)
	cmd := exec.Command(interpreter, append([]string{"testdata/eval_loss.py", rows}, pairs...)...)
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	require.NoError(t, json.Unmarshal(out, &losses))
	require.Len(t, losses, len(pairs)/2)
	return losses
}
