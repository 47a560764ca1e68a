package safetensors

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// shardedFolder is a folder of t0..t3 in two shards.
func shardedFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, saveModel(dir, 4, 10, 20, 7))
	return dir
}

func edit(t *testing.T, path, from, to string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), from)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o666))
}

func TestFolderFindsTensorsInTheirFiles(t *testing.T) {
	dir := shardedFolder(t)
	f, err := OpenFolder(dir)
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, []string{"t0", "t1", "t2", "t3"}, f.Names())
	require.Equal(t, filepath.Join(dir, "model-00002-of-00002.safetensors"), f.Path("t2"))
	require.Len(t, f.Files(), 2)
	info, ok := f.Tensor("t3")
	require.True(t, ok)
	ints, err := f.ReadInts(info)
	require.NoError(t, err)
	require.Equal(t, int64(7), ints[9])
	_, err = f.ReadFloat32(info)
	refused(t, err, `model-00002-of-00002.safetensors: tensor "t3": found dtype U8`)
	_, ok = f.Tensor("t4")
	require.False(t, ok)
	require.Empty(t, f.Path("t4"))
	require.Error(t, f.Read(Info{Name: "t4"}, nil, 0))
}

func TestBrokenFolders(t *testing.T) {
	const first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	for name, c := range map[string]struct {
		breakIt func(t *testing.T, dir string)
		message string
	}{
		"shard missing": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, second))) },
			second + `: tensor "t2": file does not exist; the index says that it is in this file`},
		"shard truncated": {func(t *testing.T, dir string) {
			info, err := os.Stat(filepath.Join(dir, second))
			require.NoError(t, err)
			require.NoError(t, os.Truncate(filepath.Join(dir, second), info.Size()-1))
		}, second + `: tensor "t3": found a file of`},
		"shard empty":             {func(t *testing.T, dir string) { require.NoError(t, os.Truncate(filepath.Join(dir, second), 0)) }, "found a file of 0 bytes"},
		"tensor in another shard": {func(t *testing.T, dir string) { edit(t, filepath.Join(dir, indexName), first, second) }, `tensor "t0": found a tensor that the index does not place here`},
		"tensor not in the index": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, indexName), `    "t1": "`+first+"\",\n", "")
		}, first + `: tensor "t1": found a tensor that the index does not place here`},
		"tensor in no shard": {func(t *testing.T, dir string) { edit(t, filepath.Join(dir, indexName), `"t3"`, `"t9"`) }, second + `: tensor "t9": found no such tensor`},
		"same shard twice": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, second)))
			require.NoError(t, os.Link(filepath.Join(dir, first), filepath.Join(dir, second)))
		}, `tensor "t2": found no such tensor`},
		"shard is a pipe": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, second)))
			require.NoError(t, syscall.Mkfifo(filepath.Join(dir, second), 0o666))
		}, "found a named pipe"},
		"shard leads out": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, second)))
			require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, second)))
		}, "leads out of the folder"},
		"no weights": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, indexName))) },
			"found neither model.safetensors nor model.safetensors.index.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := shardedFolder(t)
			c.breakIt(t, dir)
			_, err := OpenFolder(dir)
			require.ErrorContains(t, err, c.message)
			require.Contains(t, err.Error(), dir)
			require.Equal(t, int(fault.Files), fault.ExitCode(err))
		})
	}
}

func TestIndexNamesStayInTheFolder(t *testing.T) {
	for _, name := range []string{"../x.safetensors", "/etc/shadow", "a/../../b.safetensors", "a/b.safetensors", `..\\x.safetensors`, "", ".", "..",
		".safetensors", "x.bin", "x.safetensors/", "x.safetensors.", "%2e%2e%2fx.safetensors", "．．/x.safetensors", `x\u0000.safetensors`, "x .safetensors",
		"~/x.safetensors", "x.SAFETENSORS", "é.safetensors", "C:x.safetensors", "file:///x.safetensors"} {
		_, err := parseIndex("index.json", []byte(`{"weight_map":{"a":"`+name+`"}}`))
		require.ErrorContains(t, err, `index.json: tensor "a": found the file name`, name)
	}
}

func TestMalformedIndexes(t *testing.T) {
	var many strings.Builder
	for i := range maxShards + 1 {
		fmt.Fprintf(&many, `"t%d":"s%d.safetensors",`, i, i)
	}
	for text, message := range map[string]string{
		``:                           "the text ends",
		`[]`:                         "expected an object",
		`{}`:                         "field weight_map: found no tensors",
		`{"weight_map":{}}`:          "found no tensors",
		`{"weight_map":null}`:        "expected an object",
		`{"weight_map":[]}`:          "expected an object",
		`{"Weight_Map":{"a":"x"}}`:   "found no tensors",
		`{"weight_map":{"a":1}}`:     "line 1, column 20: found '1', expected a string",
		`{"weight_map":{"a":["x"]}}`: "expected a string",
		`{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}`:            `duplicate key "a"`,
		`{"weight_map":{"a":"x.safetensors"},"weight_map":{}}`:                `duplicate key "weight_map"`,
		`{"weight_map":{"a":"x.safetensors"}}}`:                               "expected the end",
		`{"weight_map":{"` + strings.Repeat("n", 513) + `":"x.safetensors"}}`: "a name of 513 bytes",
		`{"weight_map":{` + many.String() + `"last":"s0.safetensors"}}`:       "found more files, expected at most 1024",
	} {
		_, err := parseIndex("index.json", []byte(text))
		require.ErrorContains(t, err, message, "%.60s", text)
		require.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
}

func TestSharedModelFolders(t *testing.T) {
	shared := os.Getenv("TRAINER_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	dir := filepath.Join(shared, "models", "llama-10m")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("needs TRAINER_SHARED: the folder with models/llama-10m")
	}
	f, err := OpenFolder(dir)
	require.NoError(t, err)
	defer f.Close()
	require.Len(t, f.Names(), 75)
	require.Len(t, f.Files(), 3)
}

func TestHubCacheLayout(t *testing.T) {
	source := shardedFolder(t)
	repository := filepath.Join(t.TempDir(), "models--org--name")
	snapshot := filepath.Join(repository, "snapshots", "abc")
	require.NoError(t, os.MkdirAll(snapshot, 0o777))
	require.NoError(t, os.MkdirAll(filepath.Join(repository, "blobs"), 0o777))
	for i, name := range listing(t, source) {
		blob := fmt.Sprintf("blobs/%d", i)
		require.NoError(t, os.Rename(filepath.Join(source, name), filepath.Join(repository, blob)))
		require.NoError(t, os.Symlink("../../"+blob, filepath.Join(snapshot, name)))
	}
	requireModel(t, snapshot, 4, 7)
}

// FuzzIndex: an index is refused with a sentence, or every file it names is a plain name and
// every tensor has one file.
func FuzzIndex(f *testing.F) {
	for _, seed := range []string{`{"metadata":{"total_size":1},"weight_map":{"a":"model-00001-of-00001.safetensors"}}`,
		`{"weight_map":{"a":"../x.safetensors"}}`, `{"weight_map":{"a":"x.safetensors","b":"x.safetensors","a":"x.safetensors"}}`, `{}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		shards, err := parseIndex("index.json", text)
		if err != nil {
			var sentence *fault.Error
			if !errors.As(err, &sentence) || sentence.Kind != fault.Files {
				t.Fatalf("not a sentence: %v", err)
			}
			return
		}
		seen := map[string]bool{}
		for name, tensors := range shards {
			if filepath.Base(name) != name || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
				t.Fatalf("accepted the name %q", name)
			}
			for _, tensor := range tensors {
				if seen[tensor] {
					t.Fatalf("tensor %q has two files", tensor)
				}
				seen[tensor] = true
			}
		}
	})
}
