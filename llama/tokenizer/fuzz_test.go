package tokenizer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// FuzzParse reads hostile files: no panic, every error of kind Files, and a
// tokenizer that is accepted works and yields only ids of its vocabulary.
func FuzzParse(f *testing.F) {
	f.Add([]byte(smallFile("", "", "", "")))
	f.Add([]byte(smallFile("", `"byte_fallback":true,"unk_token":"a","fuse_unk":true,`, `,"<0x41>":9,"▁":10`, "")))
	raw, err := os.ReadFile(filepath.Join("testdata", "variants.json"))
	require.NoError(f, err)
	var variants []struct{ Fields map[string]json.RawMessage }
	require.NoError(f, json.Unmarshal(raw, &variants))
	for _, v := range variants {
		v.Fields["model"] = json.RawMessage(`{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}`)
		seed, err := json.Marshal(v.Fields)
		require.NoError(f, err)
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		tok, err := Parse("fuzz", raw)
		if err != nil {
			var e *fault.Error
			if !errors.As(err, &e) || e.Kind != fault.Files {
				t.Fatalf("not a fault of kind Files: %v", err)
			}
			return
		}
		ids := tok.Encode("ab Abba 12  \n'S <s> ▁é\u0301\xff", true)
		for _, id := range ids {
			if id < 0 || int(id) >= tok.VocabSize() {
				t.Fatalf("id %d of %d", id, tok.VocabSize())
			}
		}
		tok.Decode(ids, true)
	})
}

// FuzzEncodeDecode encodes any text with every real tokenizer. Byte-level ones
// give the text back; Qwen2's normalises it first, Llama 2's spells spaces "▁".
func FuzzEncodeDecode(f *testing.F) {
	for _, text := range roundTrips {
		f.Add(text)
	}
	f.Add("<|im_start|>user\n</s><s> \xff\xc3")
	f.Add("e\u0301\u0323\u0301\u0323\u0301\u0323\u0301\u0323\u0301\u0323\u0301\u0323x")
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range fixtures {
			tok := fixture(t, name)
			ids := tok.Encode(text, false)
			for _, id := range ids {
				if tok.TokenString(id) == "" {
					t.Fatalf("%s: %q: unknown id %d", name, text, id)
				}
			}
			back := tok.Decode(ids, false)
			if !utf8.ValidString(back) {
				t.Fatalf("%s: %q: decoded to invalid UTF-8 %q", name, text, back)
			}
			exact := name == "llama3" || name == "demo-2m"
			if exact && back != validUTF8(text) {
				t.Fatalf("%s: %q came back as %q", name, text, back)
			}
		}
	})
}
