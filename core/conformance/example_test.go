package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/plugin"
)

const exampleFolder = "../../docs/backend/example"

// buildExample builds the example backend with its own Makefile against an install tree
// that holds the header alone.
func buildExample(t testing.TB) string {
	t.Helper()
	for _, tool := range []string{"make", "cc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs ", tool)
		}
	}
	dir := t.TempDir()
	for from, to := range map[string]string{exampleFolder + "/Makefile": "Makefile", exampleFolder + "/trainer-backend-example.c": "trainer-backend-example.c",
		"../abi/trainer_backend.h": "prefix/include/trainer/trainer_backend.h"} {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		to = filepath.Join(dir, to)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, os.WriteFile(to, text, 0o644))
	}
	cmd := exec.Command("make", "-C", dir, "PREFIX=prefix")
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, string(text))
	return filepath.Join(dir, plugin.FileName("example"))
}

// The example is one file of fewer than 1,500 lines that includes nothing of this tree but
// the header, and passes every case of tier 0 and every composition.
func TestExampleBackend(t *testing.T) {
	source, err := os.ReadFile(exampleFolder + "/trainer-backend-example.c")
	require.NoError(t, err)
	require.Less(t, strings.Count(string(source), "\n"), 1500)
	for _, line := range strings.Split(string(source), "\n") {
		if name, ok := strings.CutPrefix(line, "#include "); ok {
			require.True(t, name == "<trainer/trainer_backend.h>" || strings.HasPrefix(name, "<") && !strings.Contains(name, "/"), line)
		}
	}
	options := Options{Tier: 1}
	if testing.Short() {
		options.Tier = 0
	}
	s, err := New(options)
	require.NoError(t, err)
	judged(t, load(t, "example", buildExample(t)), s, 1)
}
