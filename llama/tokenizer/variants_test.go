package tokenizer

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// variant is a real tokenizer with some fields replaced, and what Hugging Face
// tokenizers 0.23.3 makes of it: ids with special tokens, and their decoding
// where that library does not crash.
type variant struct {
	Name, Base string
	Fields     map[string]json.RawMessage
	Model      map[string]json.RawMessage
	Cases      []struct {
		Text    string
		IDs     []int32
		Decoded *string
	}
}

func TestVariants(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "variants.json"))
	require.NoError(t, err)
	var variants []variant
	require.NoError(t, json.Unmarshal(raw, &variants))
	for _, v := range variants {
		t.Run(v.Name, func(t *testing.T) {
			tok, err := Parse(v.Name, replaceFields(t, fixtureFile(t, v.Base), v))
			require.NoError(t, err)
			for _, c := range v.Cases {
				ids := tok.Encode(c.Text, true)
				assert.Equal(t, c.IDs, ids, "%q", c.Text)
				if c.Decoded != nil {
					assert.Equal(t, *c.Decoded, tok.Decode(ids, false), "%q", c.Text)
				}
			}
		})
	}
}

// fixtureFile returns the uncompressed content of a real tokenizer.json.
func fixtureFile(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(fixturePath(name))
	require.NoError(t, err)
	defer f.Close()
	var r io.Reader = f
	if filepath.Ext(f.Name()) == ".gz" {
		r, err = gzip.NewReader(f)
		require.NoError(t, err)
	}
	raw, err := io.ReadAll(r)
	require.NoError(t, err)
	return raw
}

// replaceFields returns a tokenizer.json with the variant's fields in it.
func replaceFields(t *testing.T, raw []byte, v variant) []byte {
	t.Helper()
	var fields, model map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(raw, &fields))
	require.NoError(t, json.Unmarshal(fields["model"], &model))
	for name, value := range v.Fields {
		fields[name] = value
	}
	for name, value := range v.Model {
		model[name] = value
	}
	var err error
	fields["model"], err = json.Marshal(model)
	require.NoError(t, err)
	raw, err = json.Marshal(fields)
	require.NoError(t, err)
	return raw
}
