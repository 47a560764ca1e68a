package data

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// texts loads a data set and gives what its examples say.
func texts(t *testing.T, name string, opts Options) []string {
	t.Helper()
	opts.ContextLength = max(opts.ContextLength, 4096)
	d, err := Load(name, opts, bytewise)
	require.NoError(t, err)
	var all []string
	for _, e := range d.Examples {
		all = append(all, bytewise.Decode(e.IDs, true))
	}
	return all
}

// folder writes files by their names.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

func TestFolder(t *testing.T) {
	line := func(text string) string { return `{"text":"` + text + `"}` + "\n" }
	for name, files := range map[string]map[string]string{
		"all in order":        {"b.jsonl": line("2"), "a.jsonl": line("1"), "README.md": "no data", ".c.jsonl": line("hidden")},
		"only the train part": {"train-00000-of-00002.jsonl": line("1"), "train-00001-of-00002.jsonl": line("2"), "test.jsonl": line("3")},
		"in data":             {"data/x.jsonl": line("1") + line("2"), "dataset_infos": "x"},
		"no word":             {"constraints.jsonl": line("1"), "d.jsonl": line("2")},
	} {
		assert.Equal(t, []string{"1", "2"}, texts(t, folder(t, files), Options{}), name)
	}
	d, err := Load(folder(t, map[string]string{"a.txt": "1\n2\n", "b.txt": "3\n"}), Options{ContextLength: 9}, bytewise)
	require.NoError(t, err)
	assert.Equal(t, []int{0, 1, 2}, []int{d.Examples[0].Row, d.Examples[1].Row, d.Examples[2].Row})
}

func TestSourceRefused(t *testing.T) {
	link := folder(t, map[string]string{"a.jsonl": "{}"})
	require.NoError(t, os.Remove(filepath.Join(link, "a.jsonl")))
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(link, "a.jsonl")))
	for path, want := range map[string]string{
		filepath.Join(t.TempDir(), "none"): "no such file or directory; name a data file or folder that can be read, or one of alpaca, alpaca_sample, dummy, guanaco, orca_math, sql",
		folder(t, nil):                     "found a folder without data files",
		folder(t, map[string]string{"a.json": "[]", "b.csv": "a"}): "found a.json and b.csv, expected data files of one type",
		write(t, "a.yaml", ""):     `found the file type ".yaml", expected one of .json, .jsonl, .csv, .parquet, .txt`,
		write(t, "a.parquet", "x"): "the file has 1 bytes and is no Parquet file; fetch or write the file again",
		link:                       "it is a link that leads out of the folder",
	} {
		err := Check(path, Options{})
		require.ErrorContains(t, err, want)
		assert.Equal(t, int(fault.Files), fault.ExitCode(err))
		_, err = Load(path, Options{ContextLength: 10}, bytewise)
		require.ErrorContains(t, err, want)
	}
	err := Check("x", Options{Format: "yaml"})
	require.ErrorContains(t, err, `--dataset_format: found "yaml", expected auto, messages, sharegpt, alpaca`)
	assert.Equal(t, int(fault.Usage), fault.ExitCode(err))
}

func TestCSVRefused(t *testing.T) {
	for text, want := range map[string]string{
		"question,answer\na,b,c\n":           "line 2: found another number of values, expected as many values as the first row has names",
		"question,answer\na\n":               "line 2: found another number of values",
		"question,answer\na,\"b\n":           "line 2: extraneous or missing \" in quoted-field; correct the row there",
		"question,answer\na,b\"c\n":          "line 2: bare \" in non-quoted-field",
		"question,question\n":                `line 1, column 1: found the column name "question", expected at most 10000 different names`,
		"question,answer\n\"a\nb\",\"\xff\"": `line 2, column 1: column "answer": found text that is not UTF-8`,
		"a,b\n1,2\n":                         `line 2, column 1: found the fields "a", "b", expected those of a known format`,
		"\xff\xfea":                          "found a UTF-16 byte order mark",
		"question,answer\n":                  "found no record",
	} {
		_, err := Load(write(t, "d.csv", text), Options{ContextLength: 100}, bytewise)
		require.ErrorContains(t, err, want, "%q", text)
		assert.Equal(t, int(fault.Files), fault.ExitCode(err))
	}
	in := &endless{}
	err := readCSV(in, "f", func(Record) error { return nil })
	require.ErrorContains(t, err, "f: the row behind line 0: found a longer row, expected at most 67108864 bytes")
	assert.Less(t, in.given, maxRecordBytes+1<<20)
	assert.Equal(t, []string{"###Question:\na\nb\n###Answer:\nc"}, texts(t, write(t, "d.csv", "\uFEFFquestion,answer\r\n\"a\nb\",c\r\n"), Options{}))
}

func TestText(t *testing.T) {
	path := write(t, "d.txt", "  one line \r\n\n\ntwo\n")
	assert.Equal(t, []string{"  one line", "two"}, texts(t, path, Options{}))
	d, err := Load(path, Options{ContextLength: 100}, bytewise)
	require.NoError(t, err)
	assert.Equal(t, []int32{Ignored, 't' + 3, 'w' + 3, 'o' + 3, 2}, d.Examples[1].Labels)
	_, err = Load(write(t, "d.txt", "a\n\xff\n"), Options{ContextLength: 100}, bytewise)
	require.ErrorContains(t, err, "line 2, column 1: found the byte 0xFF, expected UTF-8")
	assert.Equal(t, []string{"{not json"}, texts(t, write(t, "d", "{not json"), Options{Format: "txt"}))
}

func TestParquetRows(t *testing.T) {
	dir := "../../files/parquet/testdata/"
	d, err := Load(dir+"plain_snappy.parquet", Options{ContextLength: 400}, bytewise)
	require.NoError(t, err)
	assert.Equal(t, "qna", d.Format)
	require.Len(t, d.Examples, 60)
	assert.Equal(t, "###Context:\na context\n###Question:\nWhat is 3 + 3? é🙂\n###Answer:\n6, since xxxxxxxxxxxxxxxxxxxxx", bytewise.Decode(d.Examples[3].IDs, true))
	_, err = Load(dir+"nested.parquet", Options{ContextLength: 400, Format: "text"}, bytewise)
	require.ErrorContains(t, err, `nested.parquet: row 1: field "text": found nothing, expected a string`)
}

// hub makes a Hub cache with one file of a data set.
func hub(t *testing.T, repository, name, text string) {
	t.Helper()
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	base := filepath.Join(cache, "datasets--"+strings.ReplaceAll(repository, "/", "--"))
	path := filepath.Join(base, "snapshots", "abc", name)
	for _, dir := range []string{filepath.Dir(path), filepath.Join(base, "refs"), filepath.Join(base, "blobs")} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(base, "refs", "main"), []byte("abc\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(base, "blobs", "1"), []byte(text), 0o600))
	up := strings.Repeat("../", 2+strings.Count(name, "/"))
	require.NoError(t, os.Symlink(up+"blobs/1", path))
}

func TestNamedSets(t *testing.T) {
	qna := strings.Repeat(`{"context":"c","question":"q","answer":"a"}`+"\n", 1203)
	hub(t, "knowrohit07/know_sql", "know_sql_val3{ign}.json", qna)
	d, err := Load("sql", Options{ContextLength: 100, Seed: 42}, bytewise)
	require.NoError(t, err)
	assert.Equal(t, 203, d.Stats.Examples)
	again, err := Load("sql", Options{ContextLength: 100, Seed: 43}, bytewise)
	require.NoError(t, err)
	assert.NotEqual(t, d.Examples, again.Examples, "the seed chooses the rows")
	assert.Len(t, texts(t, "sql", Options{Samples: 5}), 5)

	hub(t, "yahma/alpaca-cleaned", "alpaca_data_cleaned.json", "["+strings.TrimSuffix(strings.Repeat(`{"instruction":"i","input":"","output":"o"},`, 600), ",")+"]")
	assert.Len(t, texts(t, "alpaca", Options{}), 600)
	assert.Len(t, texts(t, "alpaca_sample", Options{}), 512)
	assert.Len(t, texts(t, "alpaca_sample", Options{Samples: 7}), 7)
	assert.Len(t, texts(t, "yahma/alpaca-cleaned", Options{}), 600, "a data set of the cache by its own name")

	hub(t, "timdettmers/openassistant-guanaco", "openassistant_best_replies_train.jsonl", `{"text":"### Human: a### Assistant: b"}`+"\n"+`{"text":"### Human: c"}`)
	assert.Len(t, texts(t, "guanaco", Options{}), 2)

	parquet, err := os.ReadFile("../../files/parquet/testdata/plain_zstd.parquet")
	require.NoError(t, err)
	hub(t, "microsoft/orca-math-word-problems-200k", "data/train-00000-of-00001.parquet", string(parquet))
	d, err = Load("orca_math", Options{ContextLength: 400, Samples: 3}, bytewise)
	require.NoError(t, err)
	// numpy.random.default_rng(42).permutation(60)[:3] is 28, 55, 18
	assert.Equal(t, []int{18, 28, 55}, []int{d.Examples[0].Row, d.Examples[1].Row, d.Examples[2].Row})
}

func TestDummy(t *testing.T) {
	d, err := Load("dummy", Options{ContextLength: 300}, bytewise)
	require.NoError(t, err)
	assert.Equal(t, 512, d.Stats.Examples)
	d, err = Load("dummy", Options{ContextLength: 2048, Samples: 3}, bytewise)
	require.NoError(t, err)
	require.Len(t, d.Examples, 3)
	for _, e := range d.Examples {
		assert.Len(t, e.IDs, 2048)
	}
}

func TestAbsentSetSaysWhatToDo(t *testing.T) {
	t.Setenv("HF_HUB_CACHE", "/cache")
	err := Check("sql", Options{})
	require.EqualError(t, err, "dataset sql: found no copy in the Hub cache, expected the data set knowrohit07/know_sql; "+
		"fetch it (hf download --repo-type dataset knowrohit07/know_sql), or place its file know_sql_val3{ign}.json at "+
		"/cache/datasets--knowrohit07--know_sql/snapshots/main/know_sql_val3{ign}.json")
}

// TestPermutationIsNumpys compares with numpy.random.default_rng(seed).permutation(n).
func TestPermutationIsNumpys(t *testing.T) {
	for seed, want := range map[uint64][]int{
		0: {4, 6, 2, 7, 3, 5, 9, 0, 8, 1}, 42: {5, 6, 0, 7, 3, 2, 4, 9, 1, 8}, 1<<40 + 7: {6, 2, 8, 7, 9, 3, 4, 1, 5, 0},
	} {
		assert.Equal(t, want, permutation(seed, 10))
	}
	long := permutation(42, 200035)
	assert.Equal(t, []int{153773, 123119, 56104, 38753, 129814}, long[:5])
	assert.Equal(t, []int{136740, 153185, 131009, 129997, 75400}, long[len(long)-5:])
	sum := 0
	for i, row := range long {
		sum += row * i % 1000003
	}
	assert.Equal(t, 99996298385, sum)
	assert.Empty(t, permutation(1, 0))
}

func FuzzReadTables(f *testing.F) {
	for _, text := range []string{"question,answer\na,\"b\"\"\nc\"\n", "\uFEFFa\n", "a,b\n1\n", "\"", "text\r\n### Human: x### Assistant: y\r\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for kind := range textReaders {
			err := textReaders[kind](strings.NewReader(string(text)), "f", func(r Record) error {
				format, err := detect(r)
				if err == nil {
					_, err = format.render(r, nil)
				}
				return err
			})
			if err != nil && fault.ExitCode(err) != int(fault.Files) {
				t.Fatalf("%s: %v", kind, err)
			}
		}
	})
}
