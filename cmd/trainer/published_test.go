package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// published are small files in the shapes of data sets on the Hub, as their cache lays them
// out, by the name that trainer knows them by.
var published = map[string]struct {
	repository, file string
	text             func(t *testing.T) string
}{
	"guanaco": {"timdettmers--openassistant-guanaco", "openassistant_best_replies_train.jsonl", func(*testing.T) string {
		return lines(12, `{"text": "### Human: What is %[1]d + %[1]d?### Assistant: It is the double of %[1]d.### Human: Sure?### Assistant: Yes."}`)
	}},
	"sql": {"knowrohit07--know_sql", "know_sql_val3{ign}.json", func(*testing.T) string {
		return lines(1012, `{"context": "CREATE TABLE t%[1]d (a INTEGER)", "question": "How many rows has t%[1]d?", "answer": "SELECT COUNT(*) FROM t%[1]d"}`)
	}},
	"orca_math": {"microsoft--orca-math-word-problems-200k", "data/train-00000-of-00001.parquet", func(t *testing.T) string {
		text, err := os.ReadFile("../../files/parquet/testdata/plain_zstd.parquet") // written by pyarrow
		require.NoError(t, err)
		return string(text)
	}},
}

// lines writes n records, with the numbers from 0 on in them.
func lines(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", i)
	}
	return b.String()
}

// A few steps on each, by name from the cache and by path, alone in rows and packed.
func TestPublishedDataSets(t *testing.T) {
	t.Parallel()
	for name, set := range published {
		home := t.TempDir()
		base := filepath.Join(home, "hub", "datasets--"+set.repository)
		file := write(t, filepath.Join(base, "snapshots", "abc", set.file), set.text(t))
		write(t, filepath.Join(base, "refs", "main"), "abc")
		train := func(dataset string, more ...string) []map[string]any {
			r := newRealRun(t, "lora", append([]string{"--dataset", dataset, "--max_steps", "2", "--lr", "1e-3"}, more...)...)
			result := trainerWith(t, []string{"HF_HOME=" + home}, r.args...)
			require.Equal(t, 0, result.code, result.err)
			return metricsOf(t, r.out)
		}
		single := train(name)
		require.Len(t, single, 1+1+2+1+1, "%s: start, two evaluations, two steps, end", name)
		require.Positive(t, single[2]["labelled_tokens"])
		train(name, "--packing", "--batch_size", "1")
		path := file
		if strings.HasSuffix(file, "{ign}.json") { // there an object a line
			path = filepath.Join(t.TempDir(), "sql.jsonl")
			require.NoError(t, os.Link(file, path))
		}
		train(path)

		if strings.HasSuffix(file, ".parquet") {
			continue
		}
		text := strings.SplitAfter(set.text(t), "\n")
		text[1] = text[1][:57] + "\n"
		write(t, file, strings.Join(text, ""))
		r := newRealRun(t, "lora", "--dataset", name, "--dataset_samples", "0")
		result := trainerWith(t, []string{"HF_HOME=" + home}, r.args...)
		require.Equal(t, int(fault.Files), result.code, result.err)
		require.Contains(t, result.err, "trainer: "+file+": line 2, column 58: found the end, expected the rest of the JSON object")
	}
}
