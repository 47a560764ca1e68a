package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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

// PEFT on the base, and Transformers on a whole model, compute our final evaluation loss.
func TestInterop(t *testing.T) {
	for method, modules := range map[string][]string{"lora": {"torch", "transformers", "peft"}, "full": {"torch", "transformers"}} {
		t.Run(method, func(t *testing.T) {
			interpreter := python(t, modules...)
			r := newRealRun(t, method)
			lines := r.train(t)
			ours := lines[4]

			shown := trainer(t, "data", "show", "--model_name", demoFile(t, "model"), "--dataset", demoFile(t, "eval.jsonl"), "--dataset_samples", "4",
				"--context_length", "160", "--rows", "4", "--json")
			require.Equal(t, 0, shown.code, shown.err)
			rows := write(t, filepath.Join(t.TempDir(), "rows.json"), shown.out)
			model, adapter := demoFile(t, "model"), r.out
			if method == "full" {
				model, adapter = r.out, "-"
			}
			cmd := exec.Command(interpreter, "testdata/eval_loss.py", model, adapter, rows)
			cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			require.NoError(t, err, stderr.String())
			var theirs struct {
				Loss     float64
				Labelled float64 `json:"labelled_tokens"`
			}
			require.NoError(t, json.Unmarshal(out, &theirs))
			require.Equal(t, ours["labelled_tokens"], theirs.Labelled)
			t.Logf("ours %v, theirs %v", ours["loss"], theirs.Loss)
			require.InEpsilon(t, theirs.Loss, ours["loss"], 1e-4)
			require.Less(t, theirs.Loss, 0.999*lines[1]["loss"].(float64), "training moved the loss")
		})
	}
}
