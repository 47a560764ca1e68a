package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"

	"trainer/fault"
)

// parser reads the parts of a file and names that file in its errors.
type parser struct{ name string }

// bad is the error of a file that says something it must not.
func (p parser) bad(field, found, want, remedy string) error {
	const longest = 200 // of a value shown to a person
	if len(found) > longest {
		found = validUTF8(found[:longest]) + "…"
	}
	return &fault.Error{Kind: fault.Files, Where: p.name, Field: field, Found: found, Want: want, Remedy: remedy}
}

const refetch = "fetch the file again, or save it anew with Hugging Face tokenizers"

// decode reads JSON into a value; missing and null leave it as it is.
func (p parser) decode(field string, raw []byte, into any) error {
	if len(raw) == 0 {
		return nil
	}
	err := json.Unmarshal(raw, into)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		line := 1 + bytes.Count(raw[:min(int(syntax.Offset), len(raw))], []byte("\n"))
		return &fault.Error{Kind: fault.Files, Where: p.name, Field: fmt.Sprintf("line %d, byte %d", line, syntax.Offset),
			Want: "valid JSON", Err: err, Remedy: refetch}
	case errors.As(err, &kind):
		return p.bad(join(field, kind.Field), kind.Value, describe(kind.Type), refetch)
	}
	return &fault.Error{Kind: fault.Files, Where: p.name, Field: field, Err: err, Remedy: refetch}
}

func join(field, inner string) string {
	if field == "" || inner == "" {
		return field + inner
	}
	return field + "." + inner
}

// describe says in words what JSON a Go type is read from.
func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// file is the content of a tokenizer.json.
type file struct {
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	Model         json.RawMessage `json:"model"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
}

// Parse reads the content of a tokenizer.json; name is what errors call it. The
// fields truncation and padding are not read. Every error is a *fault.Error of
// kind Files.
func Parse(name string, raw []byte) (*Tokenizer, error) {
	p := parser{name}
	if !utf8.Valid(raw) {
		return nil, p.bad("", "bytes that are not UTF-8", "a JSON text", refetch)
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, p.bad("", "an empty file", "a JSON text", refetch)
	}
	var f file
	if err := p.decode("", raw, &f); err != nil {
		return nil, err
	}
	t := &Tokenizer{bos: -1, eos: -1, pad: -1}
	steps := []func(*Tokenizer, file) error{p.readModel, p.readAdded, p.readWay}
	for _, step := range steps {
		if err := step(t, f); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// readAdded checks added_tokens against the vocabulary and enters them.
func (p parser) readAdded(t *Tokenizer, f file) error {
	n, err := p.normalizer("normalizer", f.Normalizer)
	if err != nil {
		return err
	}
	t.normalizer = n
	seen := map[string]int32{}
	total := 0
	for i, tok := range f.AddedTokens {
		field := fmt.Sprintf("added_tokens[%d]", i)
		if err := p.checkAdded(t, field, tok); err != nil {
			return err
		}
		if id, twice := seen[tok.Content]; twice && id != tok.ID {
			return p.bad(field+".content", fmt.Sprintf("%q again, with id %d and id %d", tok.Content, id, tok.ID), "one id for each token", refetch)
		}
		if total += len(tok.Content); total > maxAddedTotal {
			return p.bad("added_tokens", fmt.Sprintf("%d bytes of content", total), fmt.Sprintf("at most %d", maxAddedTotal), "remove tokens")
		}
		seen[tok.Content] = tok.ID
		t.enter(tok.Content, tok.ID)
	}
	t.added = newAddedTokens(f.AddedTokens, n)
	return nil
}

func (p parser) checkAdded(t *Tokenizer, field string, tok addedToken) error {
	if tok.ID < 0 || tok.ID > maxID {
		return p.badID(field+".id", strconv.Itoa(int(tok.ID)))
	}
	length := len(tok.Content)
	if tok.Normalized && length <= maxAddedToken {
		length = len(t.normalizer.normalize(tok.Content))
	}
	if length > maxAddedToken {
		return p.bad(field+".content", fmt.Sprintf("%q", tok.Content), fmt.Sprintf("at most %d bytes", maxAddedToken), "shorten or remove the token")
	}
	if piece, taken := t.pieces[tok.ID]; taken && piece != tok.Content {
		return p.bad(field+".id", fmt.Sprintf("%d for %q, the id of %q", tok.ID, tok.Content, piece), "an id of its own", refetch)
	}
	if id, known := t.model.vocab[tok.Content]; known && id != tok.ID {
		return p.bad(field+".id", fmt.Sprintf("%d for %q", tok.ID, tok.Content),
			fmt.Sprintf("its id %d in model.vocab", id), refetch)
	}
	return nil
}

func (p parser) badID(field, found string) error {
	return p.bad(field, found, fmt.Sprintf("a whole number from 0 to %d", maxID), refetch)
}

// enter records the piece of an id.
func (t *Tokenizer) enter(piece string, id int32) {
	t.pieces[id] = piece
	t.vocabSize = max(t.vocabSize, int(id)+1)
}

// readWay reads the steps before and after the model.
func (p parser) readWay(t *Tokenizer, f file) (err error) {
	if t.splitter, err = p.preTokenizer(f.PreTokenizer); err != nil {
		return err
	}
	if t.post, err = p.postProcessor(t, f.PostProcessor); err != nil {
		return err
	}
	t.decoder, err = p.decoder(f.Decoder)
	return err
}
