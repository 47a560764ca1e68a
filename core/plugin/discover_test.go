package plugin

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/internal/zoo"
)

// Every file of the zoo has its reason, the good ones still load, and nothing of this process
// is changed by looking.
func TestZoo(t *testing.T) {
	require.Equal(t, 10*time.Second, ProbeTimeout)
	dir := folder(t)
	animals := zoo.Fill(t, dir)
	require.Greater(t, len(animals), 80)
	before := observe()
	all := Discover(Options{Paths: []string{dir}})
	require.NoError(t, before.compare("looking"))
	for _, a := range animals {
		c := byName(t, all, a.Name)
		assert.Equal(t, a.Reason, string(c.Reason), "%s: %s", a.Name, c.Sentence)
		assert.Contains(t, c.Sentence, a.Says, a.Name)
		if a.Reason != "ok" {
			_, err := Open(c)
			assert.Equal(t, int(fault.Device), fault.ExitCode(err), a.Name)
		}
	}
	good := byName(t, all, "zoo-good")
	require.Len(t, good.Devices, 1)
	assert.Equal(t, "tiny", good.Devices[0].Name)
	assert.Equal(t, "tiny", good.Manifest.Name)
	b, err := Open(good)
	require.NoError(t, err)
	assert.Equal(t, "zoo-good", b.Name)
	old, err := Open(byName(t, all, "zoo-fine-02"))
	require.NoError(t, err)
	assert.Zero(t, old.table.QueueProgress, "a shorter table has no more than it says")
	require.NoError(t, before.compare("opening"))
	out, _ := exec.Command("pgrep", "-f", "__probe "+dir).Output()
	assert.Empty(t, string(out), "processes left behind")
}

// A file that was cut anywhere is refused before the system's loader sees it.
func TestCutLibraries(t *testing.T) {
	linuxOnly(t)
	library, err := os.ReadFile(compile(t, folder(t), "good"))
	require.NoError(t, err)
	for size := 0; size < len(library); size += 64 {
		_, err := readImage(bytes.NewReader(library[:size]), int64(size))
		require.Error(t, err, "cut to %d of %d bytes", size, len(library))
	}
}

func TestWhatStrangersCanWriteIsRefused(t *testing.T) {
	dir := folder(t)
	good := compile(t, dir, "good")
	look := func(path string) Candidate {
		t.Helper()
		all := Discover(Options{Paths: []string{path}})
		return byName(t, all, "good")
	}
	require.NoError(t, os.Chmod(good, 0o757))
	c := look(dir)
	assert.Equal(t, ReasonPermission, c.Reason)
	assert.Contains(t, c.Sentence, "run chmod o-w \""+good)
	require.NoError(t, os.Chmod(good, 0o755))
	require.NoError(t, os.Chmod(dir, 0o777))
	assert.Equal(t, ReasonPermission, look(dir).Reason)
	require.NoError(t, os.Chmod(dir, 0o777|os.ModeSticky))
	assert.Equal(t, ReasonOK, look(dir).Reason)
	require.NoError(t, os.Chmod(dir, 0o755))
	links := t.TempDir()
	link := filepath.Join(links, filepath.Base(good))
	require.NoError(t, os.Symlink(good, link))
	assert.Equal(t, ReasonOK, look(links).Reason)
	require.NoError(t, os.Chmod(links, 0o777))
	assert.Equal(t, ReasonPermission, look(links).Reason, "who can write the link's folder chooses the file")
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(good, 12345, 0))
		assert.Contains(t, look(dir).Sentence, "chown 0")
		require.NoError(t, os.Chown(good, 0, 12345))
		require.NoError(t, os.Chmod(good, 0o775))
		assert.Contains(t, look(dir).Sentence, "run chmod g-w")
	}
}

func TestWhereBackendsAreLookedFor(t *testing.T) {
	dir := folder(t)
	good := compile(t, dir, "one")
	data := t.TempDir()
	user := filepath.Join(data, "trainer", "backends")
	require.NoError(t, os.MkdirAll(user, 0o755))
	compile(t, user, "one")
	compile(t, user, "two")
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("TRAINER_BACKEND_PATH", dir+string(os.PathListSeparator)+"relative/folder")
	all := Discover(Options{Paths: []string{filepath.Join(dir, "absent"), good}})
	var got []string
	for _, c := range all {
		got = append(got, c.Name+" "+string(c.Reason))
	}
	want := []string{" not_found", "one ok", " not_found", "one shadowed", "two ok"}
	if runtime.GOOS == "darwin" {
		want = want[:3]
	}
	require.Equal(t, want, got)
	assert.Equal(t, good, all[1].Path, "the earliest wins")
	text, err := json.Marshal(all)
	require.NoError(t, err)
	var back []Candidate
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, all, back)
}

func TestAFileThatChangedIsNotOpened(t *testing.T) {
	dir := folder(t)
	good := compile(t, dir, "good")
	c := byName(t, Discover(Options{Paths: []string{dir}}), "good")
	require.Equal(t, ReasonOK, c.Reason, c.Sentence)
	compile(t, dir, "good", "-DLOAD_CRASHES")
	_, err := Open(c)
	require.ErrorContains(t, err, "changed after it was checked")
	require.NoError(t, os.Remove(good))
	_, err = Open(c)
	require.Equal(t, int(fault.Device), fault.ExitCode(err))
}

// The backend of this project under another name, where it is built.
func TestTheCPUBackendDropsIn(t *testing.T) {
	built := os.Getenv("TRAINER_BACKEND")
	if built == "" {
		built = "../../build/lib/trainer/backends/trainer-backend-cpu" + nativeSuffix()
	}
	library, err := os.ReadFile(built)
	if err != nil {
		t.Skip("needs the CPU backend: run make build")
	}
	dir := folder(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, filePrefix+"foo"+nativeSuffix()), library, 0o755))
	c := byName(t, Discover(Options{Paths: []string{dir}}), "foo")
	require.Equal(t, ReasonOK, c.Reason, c.Sentence)
	b, err := Open(c)
	require.NoError(t, err)
	require.Equal(t, "foo", b.Name)
	require.NotEmpty(t, c.Devices[0].ISA)
}
