package data_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/llama/tokenizer"
	"trainer/training/data"
)

// TestLoadFollowsOracle takes the alpaca rows of prompts/llama2.json through the
// real tokenizer.
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
	var records []json.RawMessage // they come first, so that a record and its oracle have one index
	for _, o := range oracles {
		if o.Style == "alpaca" {
			records = append(records, o.Record)
		}
	}
	require.Len(t, records, 8)
	file, err := json.Marshal(records)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "alpaca.json")
	require.NoError(t, os.WriteFile(path, file, 0o600))

	d, err := data.Load(path, data.Options{ContextLength: 4096}, llama2(t))
	require.NoError(t, err)
	require.Len(t, d.Examples, len(records))
	for i, e := range d.Examples {
		assert.Equal(t, data.Example{IDs: oracles[i].IDs, Labels: oracles[i].Labels, Row: i}, e)
	}
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
