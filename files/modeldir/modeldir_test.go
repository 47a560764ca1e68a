package modeldir

import (
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
}

func read(t *testing.T, dir, name string) (string, error) {
	t.Helper()
	d, err := Open(dir)
	require.NoError(t, err)
	defer d.Close()
	text, err := d.ReadFile(name, 100)
	return string(text), err
}

func TestFoldersPeopleHave(t *testing.T) {
	base := t.TempDir()
	plain := filepath.Join(base, "plain")
	write(t, filepath.Join(plain, "config.json"), "plain")
	require.NoError(t, os.Symlink(plain, filepath.Join(base, "link")))
	repository := filepath.Join(base, "hub", "models--org--name")
	write(t, filepath.Join(repository, "blobs", "abc"), "blob")
	snapshot := filepath.Join(repository, "snapshots", "0123")
	require.NoError(t, os.MkdirAll(snapshot, 0o777))
	require.NoError(t, os.Symlink("../../blobs/abc", filepath.Join(snapshot, "config.json")))
	require.NoError(t, os.Symlink(snapshot, filepath.Join(base, "cached")))
	for dir, want := range map[string]string{plain: "plain", "link": "plain", snapshot: "blob", "cached": "blob"} {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(base, dir)
		}
		got, err := read(t, dir, "config.json")
		require.NoError(t, err, dir)
		require.Equal(t, want, got)
	}
}

func TestRelativeFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "here/a", "x")
	got, err := read(t, "here", "a")
	require.NoError(t, err)
	require.Equal(t, "x", got)
	d, err := Open("here")
	require.NoError(t, err)
	defer d.Close()
	require.Equal(t, "here/a", d.Path("a"))
	require.True(t, d.Exists("a"))
	require.False(t, d.Exists("b"))
}

func TestNamesThatLeaveTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	write(t, filepath.Join(dir, "a"), "x")
	write(t, filepath.Join(dir, "..", "secret"), "x")
	for _, name := range []string{"", ".", "..", "../secret", "/etc/passwd", "a/../a", "a/b", `..\secret`, "a\x00", "%2e%2e/x", "‥", "a b", "é", "a:b", "~", "*", strings.Repeat("../", 40) + "etc/passwd"} {
		_, err := read(t, dir, name)
		require.ErrorContains(t, err, "the file name", "%q", name)
		require.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
}

func TestLinksAndThingsThatAreNoFiles(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "m")
	write(t, filepath.Join(base, "secret"), "x")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "folder"), 0o777))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o666))
	t.Chdir(dir) // a socket's path is short
	socket, err := net.Listen("unix", "socket")
	require.NoError(t, err)
	defer socket.Close()
	for name, target := range map[string]string{"up": "../secret", "absolute": "/etc/passwd", "zero": "/dev/zero", "memory": "/proc/self/mem",
		"loop": "loop", "tofifo": "fifo", "dangling": "nowhere", "chain": "up", "tofolder": "folder"} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	for name, message := range map[string]string{
		"up": "leads out of the folder", "absolute": "leads out of the folder", "zero": "leads out", "memory": "leads out", "chain": "leads out",
		"loop": "too many", "fifo": "found a named pipe, expected a regular file", "tofifo": "a named pipe", "socket": dir + "/socket",
		"dangling": "file does not exist", "missing": "file does not exist", "folder": "found a folder", "tofolder": "found a folder"} {
		_, err := read(t, dir, name)
		require.ErrorContains(t, err, message, name)
		require.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
	_, err = read(t, dir, "missing")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestCacheLinksStayInTheirRepository(t *testing.T) {
	hub := t.TempDir()
	write(t, filepath.Join(hub, "models--b", "blobs", "x"), "other")
	snapshot := filepath.Join(hub, "models--a", "snapshots", "1")
	require.NoError(t, os.MkdirAll(snapshot, 0o777))
	require.NoError(t, os.Symlink("../../../models--b/blobs/x", filepath.Join(snapshot, "f")))
	_, err := read(t, snapshot, "f")
	require.ErrorContains(t, err, "leads out of the folder")
}

func TestOpenRefuses(t *testing.T) {
	base := t.TempDir()
	write(t, filepath.Join(base, "file"), "x")
	_, err := Open(filepath.Join(base, "nowhere"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Open(filepath.Join(base, "file"))
	require.ErrorContains(t, err, "found a file, expected a folder")
}

func TestReadFileHoldsItsLimit(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), strings.Repeat("x", 101))
	_, err := read(t, dir, "a")
	require.ErrorContains(t, err, "found 101 bytes, expected at most 100")
}

func TestOpenFileFollowsLinksOfThePerson(t *testing.T) {
	base := t.TempDir()
	write(t, filepath.Join(base, "file"), "x")
	require.NoError(t, os.Symlink("file", filepath.Join(base, "link")))
	f, size, err := OpenFile(filepath.Join(base, "link"))
	require.NoError(t, err)
	defer f.Close()
	text, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, int64(len(text)), size)
	_, _, err = OpenFile(base)
	require.ErrorContains(t, err, "found a folder, expected a regular file")
}
