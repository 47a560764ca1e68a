package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// liars are builds of a test backend that misbehave, and the reason for which each is
// refused.
var liars = map[string]struct{ flag, reason string }{
	"constructor-crashes": {"LOAD_CRASHES", "probe_crashed"},
	"constructor-hangs":   {"LOAD_HANGS", "probe_timeout"},
	"constructor-exits":   {"LOAD_EXITS", "probe_exit"},
	"other-major":         {"REPLY_MAJOR", "abi"},
	"sizes-too-large":     {"TABLE_HUGE", "struct_sizes"},
	"writes-too-much":     {"REPLY_OVERFLOWS", "struct_sizes"},
	"without-entry":       {"NO_ENTRY", "entry_symbol"},
}

// addLiars builds them, and files that are no libraries, into a folder.
func addLiars(t *testing.T, dir string, good []byte) map[string]string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("needs a C compiler")
	}
	file := func(name string) string { return filepath.Join(dir, "trainer-backend-"+name+".so") }
	reasons := map[string]string{"text": "not_a_library", "empty": "not_a_library", "truncated": "truncated", "other-machine": "architecture"}
	for name, l := range liars {
		text, err := exec.Command(cc, "-std=gnu11", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-w", "-I../../core/abi", "-D"+l.flag,
			"-o", file(name), "../../core/plugin/testdata/backend.c").CombinedOutput()
		require.NoError(t, err, string(text))
		reasons[name] = l.reason
	}
	write(t, file("text"), "hello\n")
	write(t, file("empty"), "")
	write(t, file("truncated"), string(good[:len(good)/2]))
	other := append([]byte{}, good...)
	other[18], other[19] = 40, 0 // e_machine: 32-bit ARM
	write(t, file("other-machine"), string(other))
	return reasons
}

// A backend under another name trains, whatever lies beside it in the folder, and each
// file that cannot be used has its reason.
func TestDroppedInBackendTrainsBesideHostileFiles(t *testing.T) {
	r := newRealRun(t, "qlora")
	dir := t.TempDir()
	good, err := os.ReadFile(realBackend(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "trainer-backend-foo.so"), good, 0o755))
	reasons := addLiars(t, dir, good)
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
	devices, listed, _ := start("devices", "--json")
	named, _, namedErr := start(r.args...)
	require.NoError(t, named.Wait(), namedErr.String())
	require.Equal(t, "foo", metricsOf(t, r.out)[0]["backend"])
	require.NoError(t, devices.Wait())

	var report struct {
		Backends []struct{ Name, Reason, Sentence string }
	}
	require.NoError(t, json.Unmarshal([]byte(listed.String()), &report))
	got, sentences := map[string]string{}, map[string]string{}
	for _, b := range report.Backends {
		if reasons[b.Name] == "" && b.Name != "foo" {
			continue // of a system folder
		}
		got[b.Name] = b.Reason
		assert.Empty(t, sentences[b.Sentence], "two files with one sentence")
		sentences[b.Sentence] = b.Name
	}
	reasons["foo"] = "ok"
	assert.Equal(t, reasons, got, fmt.Sprint(sentences))
}
