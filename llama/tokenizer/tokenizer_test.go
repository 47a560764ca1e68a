package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testdata = "../../testdata"

// fixture returns one of the real tokenizers, loaded once for all tests.
func fixture(t testing.TB, name string) *Tokenizer {
	t.Helper()
	loadMu.Lock()
	defer loadMu.Unlock()
	if tok, ok := loaded[name]; ok {
		return tok
	}
	tok, err := LoadFile(fixturePath(name))
	require.NoError(t, err)
	loaded[name] = tok
	return tok
}

func fixturePath(name string) string {
	switch name {
	case "demo-2m":
		return filepath.Join(testdata, "models", name, "tokenizer.json")
	case "llama2-small": // Llama 2's with fewer pieces and merges
		return filepath.Join("testdata", name+".tokenizer.json.gz")
	}
	return filepath.Join(testdata, "tokenizers", name+".tokenizer.json.gz")
}

var (
	loadMu   sync.Mutex
	loaded   = map[string]*Tokenizer{}
	fixtures = []string{"llama2", "llama3", "qwen2", "demo-2m"}
)

func readJSON(t *testing.T, into any, path ...string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(append([]string{testdata}, path...)...))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, into))
}

type vector struct {
	Text string
	IDs  []int32
}

func TestVectors(t *testing.T) {
	for _, name := range []string{"llama2", "llama3", "qwen2"} {
		t.Run(name, func(t *testing.T) {
			var vectors []vector
			readJSON(t, &vectors, "tokenizers", name+".vectors.json")
			require.Len(t, vectors, 46)
			tok := fixture(t, name)
			for _, v := range vectors {
				assert.Equal(t, v.IDs, tok.Encode(v.Text, false), "%q", v.Text)
			}
		})
	}
}

func TestPrompts(t *testing.T) {
	var rows []struct {
		Example  string
		InputIDs []int32 `json:"input_ids"`
	}
	readJSON(t, &rows, "oracles", "prompts", "llama2.json")
	require.NotEmpty(t, rows)
	const eos = 2 // the rows end with </s>, which the trainer adds, not the tokenizer
	for _, row := range rows {
		assert.Equal(t, row.InputIDs, append(fixture(t, "llama2").Encode(row.Example, true), eos), "%q", row.Example)
	}
}

// texts that lose nothing on the way to ids and back; NFC in Qwen2's file
// composes, so all of them are composed.
var roundTrips = []string{
	"", " ", "   ", "\n", "\t\n \r\n", "Hello, world!", "  two  spaces  ", "trailing ",
	"Déjà vu: 你好, 世界! 🙂👩‍👩‍👧‍👦", "нещо на Български", "كلمة עברית ไทย हिन्दी", "'s 'LL don't WE'RE ' '",
	"x = [1, 22, 333, 4444];\n\tif (a<b) { return; }", "\u00a0\u2003\u3000", "\x00\x01\x7f", "▁Ġ<0x0A>",
}

func TestRoundTrip(t *testing.T) {
	for _, name := range fixtures {
		tok := fixture(t, name)
		for _, text := range roundTrips {
			if name == "llama2" {
				// U+2581 is how this tokenizer writes a space, and it reads its own byte names.
				text = strings.NewReplacer("▁", "", "<0x0A>", "").Replace(text)
			}
			assert.Equal(t, text, tok.Decode(tok.Encode(text, true), true), "%s", name)
		}
	}
}
