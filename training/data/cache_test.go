package data

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// countedTokenizer counts what it encodes.
type countedTokenizer struct {
	byteTokenizer
	calls *atomic.Int32
}

func (c countedTokenizer) Encode(text string, addSpecial bool) []int32 {
	c.calls.Add(1)
	return c.byteTokenizer.Encode(text, addSpecial)
}

// cached loads with a cache and tells whether anything was tokenised.
func cached(t *testing.T, c Cache, name string, opts Options) (*Dataset, bool) {
	t.Helper()
	var calls atomic.Int32
	d, unkept, err := c.Load(name, opts, countedTokenizer{bytewise, &calls})
	require.NoError(t, err)
	require.NoError(t, unkept)
	return d, calls.Load() > 0
}

func cacheFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	return files
}

func TestCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.jsonl")
	text := `{"instruction":"a","output":"b"}` + "\n" + `{"instruction":"long","output":"ccccccccccccc"}` + "\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o666))
	c, opts := Cache{Dir: filepath.Join(t.TempDir(), "new", "cache"), Maker: "m"}, Options{ContextLength: 260}
	plain, err := Load(file, opts, bytewise)
	require.NoError(t, err)

	first, tokenised := cached(t, c, file, opts)
	require.True(t, tokenised)
	require.Equal(t, plain, first)
	again, tokenised := cached(t, c, file, opts)
	require.False(t, tokenised)
	require.Equal(t, plain, again)
	require.Equal(t, plain.Lengths(), again.Lengths())

	copied := filepath.Join(t.TempDir(), "b.jsonl")
	require.NoError(t, os.WriteFile(copied, []byte(text), 0o666))
	_, tokenised = cached(t, c, copied, opts)
	require.False(t, tokenised, "content counts, the name does not")

	for what, other := range map[string]struct {
		maker string
		opts  Options
	}{
		"another tokenizer": {"n", opts},
		"another context":   {"m", Options{ContextLength: 261}},
		"fewer records":     {"m", Options{ContextLength: 260, Samples: 1}},
		"a forced format":   {"m", Options{ContextLength: 260, Format: "alpaca"}},
		"a chat template":   {"m", Options{ContextLength: 260, Chat: &Chat{source: "x"}}},
	} {
		_, tokenised = cached(t, Cache{Dir: c.Dir, Maker: other.maker}, file, other.opts)
		require.True(t, tokenised, what)
	}
	require.NoError(t, os.WriteFile(file, []byte(text+text), 0o666))
	twice, tokenised := cached(t, c, file, opts)
	require.True(t, tokenised, "other content")
	require.Equal(t, 4, twice.Stats.Records)
	_, tokenised = cached(t, Cache{}, file, opts)
	require.True(t, tokenised, "without a cache")
	_, tokenised = cached(t, c, "dummy", opts)
	require.True(t, tokenised, "what is generated is not kept")
	require.Len(t, cacheFiles(t, c.Dir), 7)
}

// A file that is damaged anywhere is written anew.
func TestDamagedCacheIsRewritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(`{"instruction":"a","output":"b"}`), 0o666))
	c, opts := Cache{Dir: t.TempDir()}, Options{ContextLength: 300}
	want, _ := cached(t, c, file, opts)
	path := cacheFiles(t, c.Dir)[0]
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, damaged := range [][]byte{nil, whole[:8], whole[:len(whole)-1], append(whole[:len(whole):len(whole)], 0)} {
		require.NoError(t, os.WriteFile(path, damaged, 0o666))
		got, tokenised := cached(t, c, file, opts)
		require.True(t, tokenised)
		require.Equal(t, want, got)
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, whole, now)
	}
	for i := 0; i < len(whole); i += 7 {
		damaged := append([]byte{}, whole...)
		damaged[i] ^= 1
		require.NoError(t, os.WriteFile(path, damaged, 0o666))
		got, _ := cached(t, c, file, opts)
		require.Equal(t, want, got, "byte %d", i)
	}
	require.Equal(t, []string{path}, cacheFiles(t, c.Dir))
}

// Where nothing can be kept, the data is there all the same; and what is wrong with the data
// is said as without a cache.
func TestCacheThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(`{"instruction":"a","output":"b"}`+"\n{"), 0o666))
	_, _, err := Cache{Dir: t.TempDir()}.Load(file, Options{ContextLength: 300}, bytewise)
	require.ErrorContains(t, err, file+": line 2, column 2")
	require.Equal(t, int(fault.Files), fault.ExitCode(err))
	require.NoError(t, os.WriteFile(file, []byte(`{"instruction":"a","output":"b"}`), 0o666))
	d, unkept, err := Cache{Dir: filepath.Join(file, "x")}.Load(file, Options{ContextLength: 300}, bytewise)
	require.NoError(t, err)
	require.Error(t, unkept)
	require.Len(t, d.Examples, 1)
}

func TestCacheMaker(t *testing.T) {
	dir := t.TempDir()
	seen := map[string]bool{}
	for _, change := range []func(){
		func() {},
		func() { require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte("{}"), 0o666)) },
		func() { require.NoError(t, os.WriteFile(filepath.Join(dir, configFile), []byte("{}"), 0o666)) },
	} {
		change()
		for _, build := range []string{"1", "2"} {
			maker, err := CacheMaker(dir, build)
			require.NoError(t, err)
			require.False(t, seen[maker])
			seen[maker] = true
		}
	}
}
