package data_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/llama/tokenizer"
	"trainer/training/data"
)

// TestLoadFollowsOracle takes every record of prompts/llama2.json through the real
// tokenizer, in each type of file that can hold it.
func TestLoadFollowsOracle(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/oracles/prompts/llama2.json")
	require.NoError(t, err)
	var oracles []struct {
		Style  string
		Record json.RawMessage
		IDs    []int32 `json:"input_ids"`
		Labels []int32
	}
	require.NoError(t, json.Unmarshal(raw, &oracles))
	records, want := map[string][]json.RawMessage{}, map[string][]data.Example{}
	for _, o := range oracles {
		want[o.Style] = append(want[o.Style], data.Example{IDs: o.IDs, Labels: o.Labels, Row: len(want[o.Style])})
		records[o.Style] = append(records[o.Style], o.Record)
	}
	require.Len(t, want, 4)
	tok := llama2(t)
	for style, examples := range want {
		format := map[string]string{"qna_no_ctx": "qna"}[style]
		if format == "" {
			format = style
		}
		for _, path := range files(t, records[style]) {
			for _, forced := range []string{"auto", format} {
				d, err := data.Load(path, data.Options{ContextLength: 4096, Format: forced}, tok)
				require.NoError(t, err, path)
				assert.Equal(t, format, d.Format)
				assert.Equal(t, examples, d.Examples, path)
			}
		}
	}
}

// files writes records as .json, .jsonl and .csv.
func files(t *testing.T, records []json.RawMessage) []string {
	dir := t.TempDir()
	array, err := json.Marshal(records)
	require.NoError(t, err)
	var lines, table bytes.Buffer
	var names []string
	w := csv.NewWriter(&table)
	for _, r := range records {
		require.NoError(t, json.Compact(&lines, r))
		lines.WriteByte('\n')
		var fields map[string]string
		require.NoError(t, json.Unmarshal(r, &fields))
		if names == nil {
			names = slices.Sorted(maps.Keys(fields))
			require.NoError(t, w.Write(names))
		}
		var row []string
		for _, name := range names {
			row = append(row, fields[name])
		}
		require.NoError(t, w.Write(row))
	}
	w.Flush()
	paths := []string{}
	for name, text := range map[string][]byte{"d.json": array, "d.jsonl": lines.Bytes(), "d.csv": table.Bytes()} {
		paths = append(paths, filepath.Join(dir, name))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	return paths
}

// withEnd is a tokenizer.json alone, which does not say which token ends a text.
type withEnd struct {
	*tokenizer.Tokenizer
	eos int32
}

func (t withEnd) EOS() (int32, bool) { return t.eos, true }

func llama2(t *testing.T) data.Tokenizer {
	t.Helper()
	tok, err := tokenizer.LoadFile("../../testdata/tokenizers/llama2.tokenizer.json.gz")
	require.NoError(t, err)
	return withEnd{tok, 2}
}
