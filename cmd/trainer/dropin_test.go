package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/plugin"
	"trainer/internal/zoo"
)

// A backend under another name trains, whatever lies beside it in the folder, and each
// file that cannot be used has its reason.
func TestDroppedInBackendTrainsBesideHostileFiles(t *testing.T) {
	r := newRealRun(t, "qlora")
	dir := t.TempDir()
	good, err := os.ReadFile(realBackend(t))
	require.NoError(t, err)
	animals := append(zoo.Fill(t, dir), zoo.Animal{Name: "foo", Reason: "ok"})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "trainer-backend-foo.so"), good, 0o755))
	r.args = append(r.args, "--backend_path", "", "--backend", "foo")

	home := t.TempDir()
	start := func(args ...string) (*exec.Cmd, *strings.Builder, *strings.Builder) {
		cmd := exec.Command(executable(t), args...)
		cmd.Env = []string{"HOME=" + home, "TMPDIR=" + home, "TRAINER_BACKEND_PATH=" + dir}
		var out, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &stderr
		require.NoError(t, cmd.Start())
		return cmd, &out, &stderr
	}
	began := time.Now()
	devices, listed, _ := start("devices", "--json")
	require.NoError(t, devices.Wait())
	// Where others use the machine too, what counts is the time of two processors.
	busy := (devices.ProcessState.UserTime() + devices.ProcessState.SystemTime()) / 2
	require.Less(t, min(time.Since(began), busy+plugin.ProbeTimeout), time.Minute)
	named, _, namedErr := start(r.args...)
	require.NoError(t, named.Wait(), namedErr.String())
	require.Equal(t, "foo", metricsOf(t, r.out)[0]["backend"])

	var report struct {
		Backends []struct{ Name, Reason, Sentence string }
	}
	require.NoError(t, json.Unmarshal([]byte(listed.String()), &report))
	got := map[string][2]string{}
	for _, b := range report.Backends {
		got[b.Name] = [2]string{b.Reason, b.Sentence}
	}
	for _, a := range animals {
		assert.Equal(t, a.Reason, got[a.Name][0], "%s: %s", a.Name, got[a.Name][1])
		assert.Contains(t, got[a.Name][1], a.Says, a.Name)
	}
}
