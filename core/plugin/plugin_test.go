package plugin

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if RunProbeIfChild() {
		return
	}
	os.Exit(m.Run())
}

// compile builds testdata/backend.c with cc flags into a folder under a backend's name.
func compile(t testing.TB, folder, name string, flags ...string) string {
	t.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	out := filepath.Join(folder, filePrefix+name+nativeSuffix())
	args := append([]string{"-std=gnu11", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
		"-I../abi", "-o", out, "testdata/backend.c"}, flags...)
	text, err := exec.Command(cc, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", cc, args, text)
	return out
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
