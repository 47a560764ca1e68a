package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/op"
	"trainer/core/plugin"
)

// installTree lays down what `make install` does, from the build of this tree.
func installTree(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("../../build/cmake/CMakeCache.txt"); err != nil {
		t.Skip("needs a build: run make")
	}
	prefix := filepath.Join(t.TempDir(), "prefix")
	inFolder(t, ".", "cmake", "--install", "../../build/cmake", "--prefix", prefix)
	program, err := os.ReadFile(executable(t))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(prefix, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(prefix, "bin", "trainer"), program, 0o755))
	return prefix
}

// shell runs lines in a folder where nothing of this tree is known but the install tree.
// It returns what they print, and whether all went well.
func shell(t *testing.T, dir, prefix, lines string) (string, bool) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", lines)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + t.TempDir(), "PATH=" + filepath.Join(prefix, "bin") + ":" + os.Getenv("PATH"),
		"PKG_CONFIG_PATH=" + filepath.Join(prefix, "lib", "pkgconfig"), "CMAKE_PREFIX_PATH=" + prefix}
	text, err := cmd.CombinedOutput()
	return string(text), err == nil
}

// The first day of somebody who has the install tree and an empty folder.
func TestFirstDay(t *testing.T) {
	t.Parallel()
	prefix, empty := installTree(t), t.TempDir()
	text, ok := shell(t, empty, prefix, `trainer backend new foo --lang c
cd foo
make
trainer backend inspect `+plugin.FileName("foo")+`
trainer devices --backend_path .`)
	require.True(t, ok, text)
	require.Contains(t, text, "foo          works")

	text, ok = shell(t, filepath.Join(empty, "foo"), prefix, "trainer backend check "+plugin.FileName("foo")+" --tier 0 --report report.md")
	require.False(t, ok, "nothing is there yet")
	var names []string
	for _, f := range op.Families() {
		if f.Tier == 0 {
			names = append(names, f.Name)
		}
	}
	require.Contains(t, text, "mandatory ops that are missing: "+strings.Join(names, ", ")+"\n")
	require.FileExists(t, filepath.Join(empty, "foo", "report.md"))
}

// The header of an install tree is found by pkg-config and by CMake.
func TestInstalledPackages(t *testing.T) {
	prefix, dir := installTree(t), t.TempDir()
	example := filepath.Join(prefix, "share", "doc", "trainer", "backend", "example")
	if _, err := exec.LookPath("pkg-config"); err == nil {
		text, ok := shell(t, dir, prefix, "cp "+example+"/* . && make && trainer backend inspect "+plugin.FileName("example"))
		require.True(t, ok, text)
		require.NotContains(t, text, "forbidden")
	}
	project := t.TempDir()
	version := abiVersion()
	write(t, filepath.Join(project, "CMakeLists.txt"), `cmake_minimum_required(VERSION 3.20)
project(some C)
find_package(Threads REQUIRED)
find_package(trainer `+version+` REQUIRED)
trainer_add_backend(some `+example+`/trainer-backend-example.c)
target_compile_definitions(trainer-backend-some PRIVATE _GNU_SOURCE)
target_link_libraries(trainer-backend-some PRIVATE Threads::Threads m)
`)
	text, ok := shell(t, project, prefix, "cmake -B build && cmake --build build && trainer backend inspect build/"+plugin.FileName("some"))
	require.True(t, ok, text)
	require.NotContains(t, text, "forbidden")
}

// What the README of a new backend shows of an op compiles and is taken up.
func TestFirstOpOfTheReadme(t *testing.T) {
	dir := newProject(t, "foo", "c")
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```c\n(.*?)```").FindStringSubmatch(string(readme))
	require.NotNil(t, block)
	source, err := os.ReadFile(filepath.Join(dir, "backend.c"))
	require.NoError(t, err)
	const table, entry = "static const struct op ops[] = {", `{TRAINER_OP_COPY, "copy", check_copy, NULL}`
	require.Contains(t, string(source), table)
	require.Contains(t, string(source), entry)
	changed := strings.Replace(string(source), table, block[1]+"\n"+table, 1)
	changed = strings.Replace(changed, entry, `{TRAINER_OP_COPY, "copy", check_copy, run_copy}`, 1)
	write(t, filepath.Join(dir, "backend.c"), changed)
	inFolder(t, dir, "make")
	r := trainer(t, "backend", "check", filepath.Join(dir, plugin.FileName("foo")), "--op", "copy")
	require.Equal(t, 0, r.code, r.out+r.err)
}
