package atomicfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
	"trainer/internal/smalldisk"
)

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func TestWriteFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	for _, text := range []string{"one", "", strings.Repeat("x", 1<<20)} {
		require.NoError(t, WriteFile(path, []byte(text)))
		require.Equal(t, text, content(t, path))
	}
	require.Equal(t, []string{"a"}, names(t, filepath.Dir(path)))
}

func TestNothingAppearsBeforeRename(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	require.NoError(t, WriteFile(path, []byte("old")))
	f, err := Create(path)
	require.NoError(t, err)
	_, err = f.Write([]byte("new"))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.Equal(t, "old", content(t, path))
	require.Len(t, names(t, dir), 2)
	require.NoError(t, f.Rename())
	require.Equal(t, "new", content(t, path))
	f.Abort()
	require.Equal(t, []string{"a"}, names(t, dir))
}

func TestAbortLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	require.NoError(t, WriteFile(path, []byte("old")))
	f, err := Create(path)
	require.NoError(t, err)
	f.Abort()
	_, err = f.Write([]byte("x"))
	require.Error(t, err)
	require.Error(t, f.Commit())
	require.Equal(t, "old", content(t, path))
	require.Equal(t, []string{"a"}, names(t, dir))
}

func TestALinkIsReplacedNotFollowed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "victim"), []byte("mine"), 0o666))
	require.NoError(t, os.Symlink("victim", filepath.Join(dir, "a")))
	require.NoError(t, WriteFile(filepath.Join(dir, "a"), []byte("new")))
	require.Equal(t, "mine", content(t, filepath.Join(dir, "victim")))
	require.Equal(t, "new", content(t, filepath.Join(dir, "a")))
}

func TestErrorsAreOfTheDisk(t *testing.T) {
	dir := t.TempDir()
	err := WriteFile(filepath.Join(dir, "nowhere", "a"), nil)
	require.ErrorContains(t, err, "nowhere/a: no such file or directory; what was saved before is unchanged")
	require.Equal(t, int(fault.Disk), fault.ExitCode(err))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o777))
	err = WriteFile(filepath.Join(dir, "folder"), []byte("x"))
	require.Equal(t, int(fault.Disk), fault.ExitCode(err))
	require.Equal(t, []string{"folder"}, names(t, dir))
}

func TestPrepareOutput(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "a", "b")
	require.NoError(t, PrepareOutput(dir, false))
	require.NoError(t, PrepareOutput(dir, false), "an empty folder")
	left := filepath.Join(dir, ".adapter_model.safetensors.tmp-0123456789abcdef")
	require.NoError(t, os.WriteFile(left, nil, 0o666))
	require.NoError(t, PrepareOutput(dir, false), "a leftover does not count")
	require.Empty(t, names(t, dir))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), []byte("kept"), 0o666))
	require.NoError(t, os.WriteFile(left, nil, 0o666))
	err := PrepareOutput(dir, false)
	require.ErrorContains(t, err, "--overwrite_output_dir")
	require.Equal(t, int(fault.Usage), fault.ExitCode(err))
	require.Len(t, names(t, dir), 2, "a refused folder is left as it is")
	require.NoError(t, PrepareOutput(dir, true))
	require.Equal(t, []string{"x"}, names(t, dir))
	require.Equal(t, "kept", content(t, filepath.Join(dir, "x")))
}

func TestPrepareOutputRefusesWhatIsNoFolder(t *testing.T) {
	base := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(base, "file"), nil, 0o666))
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(base, "link")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(base, "dangling")))
	for name, message := range map[string]string{"file": "found a file", "link": "found a symbolic link", "link/": "found a symbolic link", "dangling": "found a symbolic link"} {
		for _, overwrite := range []bool{false, true} {
			err := PrepareOutput(base+"/"+name, overwrite)
			require.ErrorContains(t, err, message, name)
			require.Equal(t, int(fault.Usage), fault.ExitCode(err))
		}
	}
	err := PrepareOutput(filepath.Join(base, "file", "x"), false)
	require.Error(t, err)
}

func TestFolderAppearsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	for _, text := range []string{"old", "new"} {
		f, err := CreateFolder(path)
		require.NoError(t, err)
		require.NoError(t, WriteFile(filepath.Join(f.Temp(), "x"), []byte(text)))
		require.Len(t, names(t, dir), map[string]int{"old": 1, "new": 2}[text], "not there yet")
		require.NoError(t, f.Commit())
		f.Abort()
		require.Equal(t, []string{"a"}, names(t, dir))
		require.Equal(t, text, content(t, filepath.Join(path, "x")))
	}
	f, err := CreateFolder(path)
	require.NoError(t, err)
	f.Abort()
	require.Equal(t, []string{"a"}, names(t, dir))
	require.NoError(t, RemoveFolder(path))
	require.Empty(t, names(t, dir))

	_, err = CreateFolder(path)
	require.NoError(t, err)
	require.NoError(t, PrepareOutput(dir, false), "a folder that a kill left does not count")
	require.Empty(t, names(t, dir))
}

func TestAFullDiskKeepsTheOldFile(t *testing.T) {
	dir := smalldisk.Mount(t, "64k")
	path := filepath.Join(dir, "a")
	require.NoError(t, WriteFile(path, []byte("old")))
	for _, size := range []int{100 << 10, 400 << 10} { // found while flushing, and while writing
		err := WriteFile(path, make([]byte, size))
		require.ErrorContains(t, err, "no space left on device; free some space or choose another output_dir")
		require.Equal(t, int(fault.Disk), fault.ExitCode(err))
		require.Equal(t, "old", content(t, path))
		require.Equal(t, []string{"a"}, names(t, dir))
	}
	require.NoError(t, WriteFile(path, []byte("new")), "room was given back")
}
