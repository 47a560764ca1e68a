package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/core/op"
)

const docs = "../../docs/backend"

// The pages in the tree are those that the code makes now, and there is one for every op.
func TestPagesAreCurrent(t *testing.T) {
	all, err := pages()
	require.NoError(t, err)
	for _, f := range op.Families() {
		require.Contains(t, all, "ops/"+f.Name+".md")
		require.Contains(t, all["ops/README.md"], "("+f.Name+".md)")
	}
	for name, text := range all {
		have, err := os.ReadFile(filepath.Join(docs, name))
		require.NoError(t, err, "run go run ./internal/backenddocs")
		require.True(t, string(have) == text, "%s is old: run go run ./internal/backenddocs", name)
	}
	entries, err := os.ReadDir(filepath.Join(docs, "ops"))
	require.NoError(t, err)
	for _, e := range entries {
		require.Contains(t, all, "ops/"+e.Name(), "a page of no op")
	}
}

var link = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)

// Every link of the documentation leads somewhere.
func TestLinks(t *testing.T) {
	var count int
	require.NoError(t, filepath.WalkDir(docs, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".md") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range link.FindAllStringSubmatch(withoutCode(string(text)), -1) {
			count++
			if !strings.Contains(m[1], "://") {
				_, err := os.Stat(filepath.Join(filepath.Dir(path), m[1]))
				require.NoError(t, err, "%s links to %s", path, m[1])
			}
		}
		return err
	}))
	require.Greater(t, count, 100)
}

// withoutCode drops what stands in backquotes.
func withoutCode(text string) string {
	text = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "")
}
