package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/plugin"
)

// A backend that was compiled for an earlier minor of the border is found and trains.
func TestFrozenBackendsStillTrain(t *testing.T) {
	t.Parallel()
	libs, err := filepath.Glob("../../core/abi/frozen/*/" + runtime.GOOS + "-" + runtime.GOARCH + "/trainer-backend-frozen.so")
	require.NoError(t, err)
	if len(libs) == 0 {
		t.Skip("none is kept for this platform; core/conformance compiles and judges them")
	}
	for _, lib := range libs {
		t.Run(filepath.Base(filepath.Dir(filepath.Dir(lib))), func(t *testing.T) {
			text, err := os.ReadFile(lib)
			require.NoError(t, err)
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, plugin.FileName("frozen")), text, 0o755))
			lines := newRealRun(t, "qlora", "--backend_path", dir, "--backend", "frozen").train(t)
			require.Equal(t, "frozen", lines[0]["backend"])
			first, last := lines[1]["loss"].(float64), lines[4]["loss"].(float64)
			require.Less(t, last, first, "it learns")
		})
	}
}
