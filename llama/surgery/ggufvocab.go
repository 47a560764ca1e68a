package surgery

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"trainer/fault"
	"trainer/files/gguf"
	"trainer/files/jsonstrict"
	"trainer/files/modeldir"
	"trainer/llama/tokenizer"
)

// ggufKinds are the numbers of tokenizer.ggml.token_type.
var ggufKinds = map[tokenizer.Kind]int32{tokenizer.Normal: 1, tokenizer.Unknown: 2, tokenizer.Control: 3, tokenizer.Added: 4, tokenizer.Unused: 5, tokenizer.Byte: 6}

// ggufCuts are the names under which llama.cpp knows how texts are cut into words, by the
// patterns, one in a line.
var ggufCuts = map[string]string{
	tokenizer.Qwen2Cut: "qwen2",
	tokenizer.GPT2Cut:  "gpt-2",
	tokenizer.DigitsCut + "\n" + tokenizer.GPT2Cut: "smollm",
	tokenizer.Llama3Cut:                            "dbrx",
}

// ggufVocabulary is the metadata of a model's tokenizer, as llama.cpp reads it.
func ggufVocabulary(base *Base) ([]gguf.Pair, error) {
	tok, err := tokenizer.Load(base.Dir)
	if err != nil {
		return nil, err
	}
	v, err := tokenizer.ReadVocabulary(base.Dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(base.Dir, "tokenizer.json")
	if len(v.Pieces) > base.Config.VocabSize {
		return nil, &fault.Error{Kind: fault.Files, Where: path, Found: fmt.Sprintf("%d tokens", len(v.Pieces)), Want: fmt.Sprintf("at most %d, as config.json says", base.Config.VocabSize)}
	}
	pairs, err := ggufWords(path, v, base.Config.VocabSize)
	if err != nil {
		return nil, err
	}
	set := func(key string, value any) { pairs = append(pairs, tokenizerPair(key, value)) }
	texts, kinds := pieces(v, base.Config.VocabSize)
	set("ggml.tokens", texts)
	set("ggml.token_type", kinds)
	set("ggml.add_space_prefix", v.SpacePrefix)
	for _, p := range specialTokens(base, v, tok) {
		set(p.Key, p.Value)
	}
	template, err := chatTemplate(base.Dir)
	if err != nil {
		return nil, err
	}
	if template != "" {
		set("chat_template", template)
	}
	return pairs, nil
}

func tokenizerPair(key string, value any) gguf.Pair {
	return gguf.Pair{Key: "tokenizer." + key, Value: value}
}

// ggufWords says how words become tokens: by merges, or by scores with bytes for what has none.
// The embedding has so many rows.
func ggufWords(path string, v *tokenizer.Vocabulary, rows int) ([]gguf.Pair, error) {
	if !v.ByteLevel {
		if !v.ByteFallback || len(v.Cuts) > 0 || len(v.Forms) > 0 {
			return nil, unsupportedTokenizer(path, fmt.Sprintf("byte fallback %v, cuts %.80q, normalisers %v", v.ByteFallback, v.Cuts, v.Forms))
		}
		return []gguf.Pair{tokenizerPair("ggml.model", "llama"), tokenizerPair("ggml.pre", "default"), tokenizerPair("ggml.scores", scores(v, rows))}, nil
	}
	cut, err := cutName(path, v)
	var merges []string
	for _, m := range v.Merges {
		merges = append(merges, m[0]+" "+m[1])
	}
	return []gguf.Pair{tokenizerPair("ggml.model", "gpt2"), tokenizerPair("ggml.pre", cut), tokenizerPair("ggml.merges", merges)}, err
}

// cutName is llama.cpp's name of how a byte-level tokenizer cuts words.
func cutName(path string, v *tokenizer.Vocabulary) (string, error) {
	cuts := strings.Join(v.Cuts, "\n")
	name := ggufCuts[cuts]
	if v.IgnoreMerges && cuts == tokenizer.Llama3Cut {
		return "llama-bpe", nil
	}
	forms := slices.DeleteFunc(slices.Clone(v.Forms), func(form string) bool { return form == "NFC" }) // as good as always nothing
	if name == "" || v.IgnoreMerges || v.SpacePrefix || len(forms) > 0 {
		return "", unsupportedTokenizer(path, fmt.Sprintf("cuts %.160q, ignore_merges %v, a space in front %v, normalisers %v", v.Cuts, v.IgnoreMerges, v.SpacePrefix, v.Forms))
	}
	return name, nil
}

func unsupportedTokenizer(path, found string) error {
	return &fault.Error{Kind: fault.Files, Where: path, Found: found, Want: "a tokenizer as Llama's, Qwen's, SmolLM's or GPT-2's",
		Remedy: "GGUF's programs know how to cut texts by name only, and none is known for this one"}
}

// pieces are texts and kinds of all rows of the embedding.
func pieces(v *tokenizer.Vocabulary, rows int) (texts []string, kinds []int32) {
	for id := range rows {
		p := tokenizer.Piece{}
		if id < len(v.Pieces) {
			p = v.Pieces[id]
		}
		if p.Kind == tokenizer.Unused {
			p.Text = fmt.Sprintf("[PAD%d]", id)
		}
		texts, kinds = append(texts, p.Text), append(kinds, ggufKinds[p.Kind])
	}
	return texts, kinds
}

// noScore is that of pieces that no merge makes, below all others.
const noScore = -1e6

// scores order merges as SentencePiece does, by what they make: the first has the highest.
func scores(v *tokenizer.Vocabulary, rows int) []float32 {
	ids := map[string]int{}
	for id, p := range v.Pieces {
		ids[p.Text] = id
	}
	scores := slices.Repeat([]float32{noScore}, rows)
	for i, m := range v.Merges {
		if id, ok := ids[m[0]+m[1]]; ok && scores[id] == noScore {
			scores[id] = float32(-i)
		}
	}
	return scores
}

// specialTokens are the tokens that begin, end and fill texts, and which are put to a text.
func specialTokens(base *Base, v *tokenizer.Vocabulary, tok *tokenizer.Tokenizer) []gguf.Pair {
	var pairs []gguf.Pair
	c := base.Config
	configured := func(ids ...int) (int32, bool) {
		if len(ids) == 0 {
			return -1, false
		}
		return int32(ids[0]), ids[0] >= 0
	}
	id := func(key string, find func() (int32, bool), ids ...int) int32 {
		found, ok := find()
		if !ok {
			found, ok = configured(ids...)
		}
		if ok {
			pairs = append(pairs, gguf.Pair{Key: "ggml." + key, Value: uint32(found)})
			return found
		}
		return -1
	}
	bos, eos := id("bos_token_id", tok.BOS, c.BOS), id("eos_token_id", tok.EOS, c.EOS...)
	id("padding_token_id", tok.PAD, c.PAD)
	id("unknown_token_id", func() (int32, bool) {
		i := slices.IndexFunc(v.Pieces, func(p tokenizer.Piece) bool { return p.Kind == tokenizer.Unknown })
		return int32(i), i >= 0
	})
	ids := tok.Encode("a", true)
	return append(pairs,
		gguf.Pair{Key: "ggml.add_bos_token", Value: len(ids) > 0 && ids[0] == bos},
		gguf.Pair{Key: "ggml.add_eos_token", Value: len(ids) > 0 && ids[len(ids)-1] == eos})
}

// maxTemplate bounds the files that hold a chat template.
const maxTemplate = 16 << 20

// chatTemplate is a model's chat template as text; "" where it has none.
func chatTemplate(dir string) (string, error) {
	d, err := modeldir.Open(dir)
	if err != nil {
		return "", err
	}
	defer d.Close()
	text, err := d.ReadFile("chat_template.jinja", maxTemplate)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return string(text), err
	}
	const config = "tokenizer_config.json"
	if text, err = d.ReadFile(config, maxTemplate); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	f, err := jsonstrict.ParseFields(d.Path(config), text, jsonstrict.Limits{Bytes: maxTemplate})
	if err != nil {
		return "", err
	}
	field, _ := f.Get("chat_template")
	if field.Kind() != jsonstrict.Array {
		template, _ := field.AsString()
		return template, nil
	}
	for _, m := range field.Members() { // named templates
		name, _ := m.Value.Get("name")
		template, _ := m.Value.Get("template")
		if called, _ := name.AsString(); called == "default" {
			text, _ := template.AsString()
			return text, nil
		}
	}
	return "", nil
}
