package plugin

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/internal/zoo"
)

func TestMain(m *testing.M) {
	if RunProbeIfChild() {
		return
	}
	os.Exit(m.Run())
}

// compile builds the test backend.
func compile(t testing.TB, folder, name string, flags ...string) string {
	t.Helper()
	return zoo.Compile(t, folder, name, flags...)
}

// folder is a temporary folder that nobody else can write; standard folders of the machine
// are kept out of the search.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", filepath.Join(dir, "none"))
	t.Setenv("TRAINER_BACKEND_PATH", "")
	return dir
}

// byName finds a candidate.
func byName(t testing.TB, all []Candidate, name string) Candidate {
	t.Helper()
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	require.Fail(t, "no candidate", "%s in %+v", name, all)
	return Candidate{}
}

func linuxOnly(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: reads and patches ELF files")
	}
}
