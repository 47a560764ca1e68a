package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/plugin"
	"trainer/fault"
)

// newProject writes the project of a backend and returns its folder.
func newProject(t *testing.T, name, lang string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	r := trainer(t, "backend", "new", name, "--lang", lang, "--dir", dir)
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, dir+"\n", r.out)
	return dir
}

// inFolder runs a tool in a folder, where it is installed.
func inFolder(t *testing.T, dir, tool string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skip("needs ", tool)
	}
	cmd := exec.Command(tool, args...)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, string(text))
	return string(text)
}

// A new backend compiles at once, with make and with CMake, loads, and claims no op.
func TestNewBackend(t *testing.T) {
	t.Parallel()
	dir := newProject(t, "some-thing", "c")
	lib := filepath.Join(dir, plugin.FileName("some-thing"))
	inFolder(t, dir, "make")
	r := trainer(t, "backend", "inspect", lib, "--json")
	require.Equal(t, 0, r.code, r.err)
	var in plugin.Inspection
	require.NoError(t, json.Unmarshal([]byte(r.out), &in))
	require.Equal(t, "some-thing", in.Manifest.Name)
	require.Empty(t, in.Traits)
	all := plugin.Discover(plugin.Options{Paths: []string{lib}})
	require.Equal(t, plugin.ReasonOK, all[0].Reason, all[0].Sentence)

	inFolder(t, dir, "cmake", "-S", ".", "-B", "other", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
	inFolder(t, dir, "cmake", "--build", "other")
	in, err := plugin.Inspect(filepath.Join(dir, "other", plugin.FileName("some-thing")))
	require.NoError(t, err)
	require.False(t, in.Forbidden(), in)
	require.Empty(t, in.Traits)
}

// The other languages add their files and rules; nothing is left to be filled in.
func TestNewBackendOfOtherLanguages(t *testing.T) {
	for lang, file := range map[string]string{"c": "backend.c", "cuda": "device.cu", "metal": "device.m"} {
		dir := newProject(t, "other", lang)
		require.FileExists(t, filepath.Join(dir, file))
		require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			for _, word := range []string{"@NAME@", "@BUILD@", "@DEVICE", "@LANG", "@LIB", "@DEF", "@PACK"} {
				require.NotContains(t, string(text), word, path)
			}
			return err
		}))
	}
}

func TestNewBackendRefuses(t *testing.T) {
	full := t.TempDir()
	write(t, filepath.Join(full, "something"), "")
	refused(t, fault.Usage, "NAME is missing: the name of the backend", "backend", "new")
	refused(t, fault.Usage, `found "b" behind "a", expected one NAME`, "backend", "new", "a", "b")
	refused(t, fault.Usage, `NAME: found "a b", expected letters, digits, dots, dashes and underscores, at most 64, not auto`, "backend", "new", "a b")
	refused(t, fault.Usage, `--lang: found "rust", expected c, cuda or metal`, "backend", "new", "a", "--lang", "rust")
	refused(t, fault.Usage, "--dir "+full+": found a folder with files in it, expected an empty one, or none yet", "backend", "new", "a", "--dir", full)
	refused(t, fault.Usage, `trainer backend: found "inspekt", expected a command or flags; did you mean inspect?`, "backend", "inspekt")
}

// build compiles C into a library of a backend.
func buildC(t *testing.T, name, source string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.c"), source)
	lib := filepath.Join(dir, plugin.FileName(name))
	header, err := filepath.Abs(filepath.Join("..", "..", "core", "abi"))
	require.NoError(t, err)
	inFolder(t, dir, "cc", append([]string{"-std=gnu11", "-shared", "-fPIC", "-I" + header, "-o", lib, "b.c"}, flags...)...)
	return lib
}

// What a file must not be is found without loading it, whatever its code does.
func TestInspectNamesForbiddenTraits(t *testing.T) {
	source := `#include "trainer_backend.h"
#include <stdlib.h>
const char trainer_backend_manifest[] = "{\"name\":\"bad\",\"version\":\"1\",\"abi_major\":0,\"abi_minor\":1}";
__attribute__((constructor)) static void end(void) { exit(3); }
int helper(void) { return 1; }
int32_t trainer_backend_query_v1(const trainer_host_info *h, trainer_reply *r) { return !h + !r; }
`
	lib := buildC(t, "bad", source, "-z", "execstack")
	r := trainer(t, "backend", "inspect", lib)
	require.Equal(t, int(fault.Device), r.code)
	for _, want := range []string{"forbidden  exports helper", "forbidden  asks for an executable stack", "look at    can call exit"} {
		require.Contains(t, r.out, want)
	}
	require.Equal(t, 1, strings.Count(r.err, "\n"), r.err)
	require.Contains(t, r.err, "trainer: "+lib+": it would be refused or breaks a rule: ")

	relative := buildC(t, "relative", source, "-Wl,-rpath,lib")
	r = trainer(t, "backend", "inspect", relative, "--json")
	require.Equal(t, int(fault.Device), r.code)
	require.Contains(t, r.out, `"reason":"dependency"`)

	text := write(t, filepath.Join(t.TempDir(), plugin.FileName("text")), "hello")
	r = trainer(t, "backend", "inspect", text)
	require.Contains(t, r.out, "not_a_library: is a text file")
	refused(t, fault.Device, "none.so: found no such file, expected the library of a backend, as "+plugin.FileName("NAME"), "backend", "inspect", "none.so")
}
