package tokenizer

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"trainer/fault"
)

// Bounds of what is read; the largest known tokenizer.json has about 35 MB.
const (
	maxFile       = 128 << 20 // bytes of a tokenizer.json, uncompressed
	maxConfig     = 16 << 20  // bytes of a tokenizer_config.json
	maxID         = 1 << 24
	maxAddedToken = 1024    // bytes of one added token, normalised if it is to be
	maxAddedTotal = 4 << 20 // bytes of all of them
	maxPrepend    = 1024    // bytes put before every text
)

// Load reads tokenizer.json of a model folder, and bos_token, eos_token and
// pad_token of its tokenizer_config.json if it has one. Which tokens Encode adds
// is the post-processor's matter alone: add_bos_token and the like are not read.
// Every error is a *fault.Error of kind Files.
func Load(dir string) (*Tokenizer, error) {
	t, err := LoadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "tokenizer_config.json")
	raw, err := readFile(name, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	return t, t.readConfig(parser{name}, raw)
}

// LoadFile reads a tokenizer.json, or a tokenizer.json.gz, alone; BOS, EOS and
// PAD are then unknown. Every error is a *fault.Error of kind Files.
func LoadFile(path string) (*Tokenizer, error) {
	raw, err := readFile(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fault.Error{Kind: fault.Files, Where: path, Want: "a Hugging Face tokenizer.json", Err: fs.ErrNotExist,
			Remedy: "save the model's tokenizer there (AutoTokenizer.from_pretrained(...).save_pretrained(folder) writes it)"}
	}
	if err != nil {
		return nil, err
	}
	return Parse(path, raw)
}

// readFile reads a file of at most limit bytes, and uncompresses a .gz.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Files, Where: path, Err: err}
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, &fault.Error{Kind: fault.Files, Where: path, Err: err, Remedy: "fetch the file again"}
		}
	}
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, &fault.Error{Kind: fault.Files, Where: path, Err: err, Remedy: "fetch the file again"}
	}
	if int64(len(raw)) > limit {
		return nil, parser{path}.bad("", fmt.Sprintf("more than %d bytes", limit), "a smaller file", "check that it is the right file")
	}
	return raw, nil
}

// readConfig takes the special tokens from a tokenizer_config.json.
func (t *Tokenizer) readConfig(p parser, raw []byte) error {
	var config struct {
		BOS json.RawMessage `json:"bos_token"`
		EOS json.RawMessage `json:"eos_token"`
		PAD json.RawMessage `json:"pad_token"`
	}
	if err := p.decode("", raw, &config); err != nil {
		return err
	}
	for _, field := range []struct {
		name string
		raw  json.RawMessage
		id   *int32
	}{{"bos_token", config.BOS, &t.bos}, {"eos_token", config.EOS, &t.eos}, {"pad_token", config.PAD, &t.pad}} {
		token, err := p.specialToken(field.name, field.raw)
		if err != nil {
			return err
		}
		if token == "" {
			continue
		}
		id, ok := t.ID(token)
		if !ok {
			return p.bad(field.name, fmt.Sprintf("%q", token), "a token of tokenizer.json",
				"add it to added_tokens there, or set the field to null")
		}
		*field.id = id
	}
	return nil
}

// specialToken reads a token written as a string or as an object with content;
// "" if there is none.
func (p parser) specialToken(field string, raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '{' {
		var token string
		return token, p.decode(field, raw, &token)
	}
	var object struct {
		Content string `json:"content"`
	}
	err := p.decode(field, raw, &object)
	return object.Content, err
}
