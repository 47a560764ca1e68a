package data

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// records writes data sets of about the same size, but other content.
func records(t *testing.T, count int) (files []string) {
	t.Helper()
	dir := t.TempDir()
	for i := range count {
		files = append(files, filepath.Join(dir, fmt.Sprint(i, ".jsonl")))
		require.NoError(t, os.WriteFile(files[i], fmt.Appendf(nil, `{"instruction":"%03d","output":"b"}`, i), 0o666))
	}
	return files
}

// The data sets that were not used for longest go when the cache is full, and nothing that is
// not its own.
func TestFullCache(t *testing.T) {
	files, opts := records(t, 4), Options{ContextLength: 300}
	c := Cache{Dir: t.TempDir()}
	for i, file := range files[:3] {
		_, tokenised := cached(t, c, file, opts)
		require.True(t, tokenised)
		for _, kept := range cacheFiles(t, c.Dir) { // each is an hour older than the next
			info, err := os.Stat(kept)
			require.NoError(t, err)
			before := info.ModTime().Add(-time.Hour)
			require.NoError(t, os.Chtimes(kept, before, before), i)
		}
	}
	size := int64(0)
	for _, kept := range cacheFiles(t, c.Dir) {
		info, err := os.Stat(kept)
		require.NoError(t, err)
		size = max(size, info.Size())
	}
	foreign := []string{"model.safetensors", "notes", strings.Repeat("0", 64), ".model.safetensors.tmp-0123456789abcdef"}
	killed := "." + strings.Repeat("0", 64) + ".safetensors.tmp-0123456789abcdef"
	for _, name := range append(foreign, killed) {
		path := filepath.Join(c.Dir, name)
		require.NoError(t, os.WriteFile(path, make([]byte, 10*size), 0o666))
		require.NoError(t, os.Chtimes(path, time.Time{}, time.Unix(0, 0)))
	}
	writing := filepath.Join(c.Dir, "."+strings.Repeat("0", 64)+".safetensors.tmp-fedcba9876543210")
	require.NoError(t, os.WriteFile(writing, make([]byte, 10*size), 0o666))

	_, tokenised := cached(t, c, files[0], opts)
	require.False(t, tokenised, "the oldest is used again")
	c.Limit = 2*size + size/2
	_, tokenised = cached(t, c, files[3], opts)
	require.True(t, tokenised)
	for _, name := range foreign {
		require.FileExists(t, filepath.Join(c.Dir, name))
	}
	require.FileExists(t, writing)
	require.NoFileExists(t, filepath.Join(c.Dir, killed))
	for i, kept := range []bool{true, false, false, true} {
		d := readCached(pathOf(t, c, files[i], opts))
		require.Equal(t, kept, d != nil, i)
	}

	c.Limit = 1
	_, tokenised = cached(t, c, files[1], opts)
	require.True(t, tokenised)
	_, tokenised = cached(t, c, files[1], opts)
	require.False(t, tokenised, "one that is larger than the cache is kept alone")
	kept, err := c.files()
	require.NoError(t, err)
	require.Len(t, kept, 1)
}

func pathOf(t *testing.T, c Cache, name string, opts Options) string {
	t.Helper()
	path, err := c.path(name, opts, bytewise)
	require.NoError(t, err)
	return path
}

// Runs that fill one small cache at once all have their data, and none has trouble.
func TestRunsShareASmallCache(t *testing.T) {
	files, opts := records(t, 6), Options{ContextLength: 300}
	c := Cache{Dir: t.TempDir(), Limit: 3000}
	var runs sync.WaitGroup
	for run := range 4 {
		runs.Go(func() {
			for i := range 30 {
				d, trouble, err := c.Load(files[(i*(run+1))%len(files)], opts, bytewise)
				if !assert.NoError(t, err) || !assert.NoError(t, trouble) {
					return
				}
				assert.Len(t, d.Examples, 1)
			}
		})
	}
	runs.Wait()
	kept, err := c.files()
	require.NoError(t, err)
	require.NotEmpty(t, kept)
	require.Less(t, len(kept), len(files))
}
