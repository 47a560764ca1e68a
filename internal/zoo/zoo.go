package zoo

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Animal is a file of the zoo and what must become of it.
type Animal struct {
	Name   string // of the backend
	Reason string // code of the refusal; ok = usable
	Says   string // part of its sentence
}

// prefix and suffix make a backend's name a file's.
const (
	prefix = "trainer-backend-"
	suffix = ".so"
)

// Fill builds all animals into a folder that only the user can write. It needs Linux and a C
// compiler; else the test is skipped.
func Fill(t *testing.T, dir string) []Animal {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: reads and patches ELF files")
	}
	good := Compile(t, dir, "zoo-good")
	library, err := os.ReadFile(good)
	require.NoError(t, err)
	animals := []Animal{{"zoo-good", "ok", ""}}
	animals = append(animals, compileAll(t, dir)...)
	animals = append(animals, files(t, dir, library)...)
	animals = append(animals, nodes(t, dir)...)
	return append(animals, strangers(t, dir, library)...)
}

// Compile builds core/plugin/testdata/backend.c with flags under a backend's name.
func Compile(t testing.TB, dir, name string, flags ...string) string {
	t.Helper()
	out, text, err := compile(dir, name, flags)
	require.NoError(t, err, "%v: %s", flags, text)
	return out
}

func compile(dir, name string, flags []string) (out string, text []byte, err error) {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	_, here, _, _ := runtime.Caller(0)
	core := filepath.Join(filepath.Dir(here), "..", "..", "core")
	out = filepath.Join(dir, prefix+name+suffix)
	args := append([]string{"-std=gnu11", "-D_GNU_SOURCE", "-O0", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
		"-I" + filepath.Join(core, "abi"), "-o", out, filepath.Join(core, "plugin", "testdata", "backend.c")}, flags...)
	text, err = exec.Command(cc, append(args, "-lm", "-lpthread")...).CombinedOutput()
	return out, text, err
}

// compileAll builds what misbehaves by itself, on all processors.
func compileAll(t *testing.T, dir string) (animals []Animal) {
	t.Helper()
	var wait sync.WaitGroup
	var mu sync.Mutex
	var failed []string
	slots := make(chan struct{}, runtime.NumCPU())
	for kind, group := range map[string][]build{"bad": builds, "slow": hangs, "fine": harmless} {
		for i, b := range group {
			if runtime.GOARCH != "amd64" && strings.Contains(b.flags, "DENORMALS") {
				continue
			}
			name := fmt.Sprintf("zoo-%s-%02d", kind, i)
			animals = append(animals, Animal{name, b.reason, b.says})
			flags := []string{b.flags}
			if !strings.Contains(b.flags, `"`) {
				flags = strings.Fields(b.flags)
			}
			wait.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				if _, text, err := compile(dir, name, flags); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed = append(failed, fmt.Sprintf("%v: %s", flags, text))
				}
			})
		}
	}
	wait.Wait()
	require.Empty(t, failed)
	return append(animals, relatives(t, dir)...)
}

// relatives need another library.
func relatives(t *testing.T, dir string) []Animal {
	elsewhere := t.TempDir()
	source, helper := filepath.Join(elsewhere, "h.c"), filepath.Join(elsewhere, "libzoohelper.so.7")
	require.NoError(t, os.WriteFile(source, []byte("int helper(void) { return 1; }\n"), 0o600))
	text, err := exec.Command("cc", "-shared", "-fPIC", "-Wl,-soname,libzoohelper.so.7", "-o", helper, source).CombinedOutput()
	require.NoError(t, err, string(text))
	link := func(name string, more ...string) {
		Compile(t, dir, name, append([]string{"-Wl,--no-as-needed", helper}, more...)...)
	}
	link("zoo-missing")
	link("zoo-relative", "-Wl,-rpath,libs")
	link("zoo-here", "-Wl,-rpath,/usr/lib:")
	link("zoo-absolute", "-Wl,-rpath,"+elsewhere)
	return []Animal{{"zoo-missing", "dependency", "libzoohelper.so.7"}, {"zoo-relative", "dependency", `"libs"`},
		{"zoo-here", "dependency", `""`}, {"zoo-absolute", "ok", ""}}
}

// files are no libraries, or parts of one.
func files(t *testing.T, dir string, library []byte) (animals []Animal) {
	add := func(name string, content []byte, reason, says string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, prefix+name+suffix), content, 0o755))
		animals = append(animals, Animal{name, reason, says})
	}
	patched := func(at int, values ...byte) []byte {
		out := bytes.Clone(library)
		copy(out[at:], values)
		return out
	}
	add("zoo-text", []byte("#!/bin/sh\necho this is Größe\n"), "not_a_library", "text")
	add("zoo-empty", nil, "not_a_library", "empty")
	add("zoo-noise", []byte("\x01\x02\xff\xfe\x00\x00 and more"), "not_a_library", "0102fffe")
	add("zoo-class", patched(4, 1), "architecture", "64-bit")
	add("zoo-order", patched(5, 2), "architecture", "byte order")
	add("zoo-machine", patched(18, 40, 0), "architecture", "EM_ARM")
	add("zoo-aarch64", patched(18, 183, 0), map[string]string{"arm64": "ok"}[runtime.GOARCH]+map[string]string{"amd64": "architecture"}[runtime.GOARCH], "")
	add("zoo-program", patched(16, 2, 0), "not_a_library", "ET_EXEC")
	add("zoo-windows", []byte("MZ\x90\x00\x03"), "architecture", "Windows")
	add("zoo-mac", []byte("\xcf\xfa\xed\xfe\x07\x00\x00\x01"), "architecture", "macOS")
	add("zoo-headers", patched(32, 0xFF, 0xFF, 0xFF, 0xFF), "truncated", "program headers")
	for i, size := range []int{1, 3, 20, 63, 64, 300, 2000, len(library) / 4, len(library) / 2, len(library) * 3 / 4, len(library) - 100, len(library) - 1} {
		add(fmt.Sprintf("zoo-cut-%02d", i), library[:size], "truncated", "cut off")
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, prefix+"zoo-readme.txt"), []byte("text"), 0o644))
	return append(animals, Animal{"zoo-readme.txt", "file_name", "expected a name"})
}

// nodes are no plain files.
func nodes(t *testing.T, dir string) []Animal {
	path := func(name string) string { return filepath.Join(dir, prefix+name+suffix) }
	require.NoError(t, os.Mkdir(path("zoo-folder"), 0o755))
	require.NoError(t, syscall.Mkfifo(path("zoo-fifo"), 0o600))
	require.NoError(t, os.Symlink("nowhere", path("zoo-broken")))
	require.NoError(t, os.Symlink(filepath.Base(path("zoo-loop")), path("zoo-loop")))
	require.NoError(t, os.Symlink("/dev/zero", path("zoo-device")))
	return []Animal{{"zoo-folder", "not_a_library", "no plain file"}, {"zoo-fifo", "not_a_library", "no plain file"}, {"zoo-broken", "not_found", "leads nowhere"},
		{"zoo-loop", "not_found", "leads nowhere"}, {"zoo-device", "permission", ""}}
}

// strangers can be written by others, or are another's.
func strangers(t *testing.T, dir string, library []byte) []Animal {
	put := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, prefix+name+suffix)
		require.NoError(t, os.WriteFile(path, library, 0o755))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	put("zoo-world", 0o757)
	animals := []Animal{{"zoo-world", "permission", "chmod o-w"}}
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(put("zoo-foreign", 0o755), 12345, 0))
		group := put("zoo-group", 0o775)
		require.NoError(t, os.Chown(group, 0, 12345))
		require.NoError(t, os.Chmod(group, 0o775))
		animals = append(animals, Animal{"zoo-foreign", "permission", "chown 0"}, Animal{"zoo-group", "permission", "chmod g-w"})
	}
	return animals
}
