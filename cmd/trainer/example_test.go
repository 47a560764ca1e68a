package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// exampleBackend builds the example backend against a folder laid out as `make install`
// does, and returns the folder it lies in.
func exampleBackend(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for from, to := range map[string]string{"docs/backend/example/Makefile": "Makefile", "docs/backend/example/trainer-backend-example.c": "trainer-backend-example.c",
		"core/abi/trainer_backend.h": "prefix/include/trainer/trainer_backend.h"} {
		text, err := os.ReadFile(filepath.Join("..", "..", from))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o755))
		write(t, filepath.Join(dir, to), string(text))
	}
	inFolder(t, dir, "make", "PREFIX=prefix")
	return dir
}

// A backend of mandatory ops alone fine-tunes to the losses of the CPU backend, whose fused
// ops it has as compositions.
func TestExampleTrainsAsTheCPUBackendDoes(t *testing.T) {
	t.Parallel()
	dir := exampleBackend(t)
	for _, method := range []string{"lora", "qlora", "full"} {
		t.Run(method, func(t *testing.T) {
			native, plain := newRealRun(t, method), newRealRun(t, method, "--backend_path", dir, "--backend", "example")
			want, got := native.train(t), plain.train(t)
			require.Equal(t, "example", got[0]["backend"])
			require.Empty(t, got[0]["native_ops"])
			require.Contains(t, got[0]["composed_ops"], "attention_grad")
			require.Equal(t, len(want), len(got))
			for i, line := range want {
				if loss, ok := line["loss"].(float64); ok {
					require.InDelta(t, loss, got[i]["loss"], 1e-3, line["event"])
				}
			}
		})
	}
}
