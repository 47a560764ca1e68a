package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// modelFile is the field model.
type modelFile struct {
	Type         string          `json:"type"`
	Dropout      float64         `json:"dropout"`
	Unknown      *string         `json:"unk_token"`
	WordPrefix   string          `json:"continuing_subword_prefix"`
	WordSuffix   string          `json:"end_of_word_suffix"`
	FuseUnknown  bool            `json:"fuse_unk"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
	Vocab        json.RawMessage `json:"vocab"`
	Merges       json.RawMessage `json:"merges"`
}

// readModel fills t.model and the pieces of its vocabulary.
func (p parser) readModel(t *Tokenizer, f file) error {
	var raw modelFile
	if err := p.decode("model", f.Model, &raw); err != nil {
		return err
	}
	if err := p.checkModel(raw); err != nil {
		return err
	}
	t.model = &bpe{vocab: map[string]int32{}, unknown: -1, fuseUnknown: raw.FuseUnknown, ignoreMerges: raw.IgnoreMerges, cache: newWordCache()}
	t.pieces = map[int32]string{}
	if err := p.readVocab(t, raw.Vocab); err != nil {
		return err
	}
	if raw.Unknown != nil {
		id, ok := t.model.vocab[*raw.Unknown]
		if !ok {
			return p.bad("model.unk_token", fmt.Sprintf("%q", *raw.Unknown), "a piece of model.vocab", refetch)
		}
		t.model.unknown = id
	}
	if raw.ByteFallback {
		t.model.bytes = bytePieces(t.model.vocab)
	}
	return p.readMerges(t.model, raw.Merges)
}

// checkModel refuses what this package does not do.
func (p parser) checkModel(raw modelFile) error {
	const remedy = "use a model of the Llama, Mistral or Qwen family, whose tokenizers are byte-pair encodings"
	switch {
	case raw.Vocab == nil:
		return p.bad("model.vocab", "nothing", "an object of pieces and ids", refetch)
	case raw.Type != "BPE" && raw.Type != "":
		return p.bad("model.type", fmt.Sprintf("%q", raw.Type), `"BPE"`, remedy)
	case raw.Dropout != 0:
		return p.bad("model.dropout", fmt.Sprint(raw.Dropout), "null", "set it to null")
	case raw.WordPrefix != "":
		return p.bad("model.continuing_subword_prefix", fmt.Sprintf("%q", raw.WordPrefix), "null", remedy)
	case raw.WordSuffix != "":
		return p.bad("model.end_of_word_suffix", fmt.Sprintf("%q", raw.WordSuffix), "null", remedy)
	}
	return nil
}

// readVocab reads the pieces one by one, because a JSON object read at once hides
// that a piece is there twice.
func (p parser) readVocab(t *Tokenizer, raw json.RawMessage) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return p.bad("model.vocab", "something else", "an object of pieces and ids", refetch)
	}
	for dec.More() {
		key, _ := dec.Token() // the syntax was checked with the whole file
		value, _ := dec.Token()
		if err := p.readPiece(t, fmt.Sprint(key), value); err != nil {
			return err
		}
	}
	return nil
}

// readPiece enters one piece and its id.
func (p parser) readPiece(t *Tokenizer, piece string, value json.Token) error {
	field := func() string { return fmt.Sprintf("model.vocab[%q]", piece) }
	number, ok := value.(json.Number)
	if !ok {
		return p.badID(field(), fmt.Sprintf("%q", fmt.Sprint(value)))
	}
	id, err := strconv.ParseInt(number.String(), 10, 32)
	if err != nil || id < 0 || id > maxID {
		return p.badID(field(), number.String())
	}
	if _, twice := t.model.vocab[piece]; twice {
		return p.bad(field(), "the piece twice", "every piece once", refetch)
	}
	if first, twice := t.pieces[int32(id)]; twice {
		return p.bad(field(), fmt.Sprintf("%d, the id of %q", id, first), "an id of its own", refetch)
	}
	t.model.vocab[piece] = int32(id)
	t.enter(piece, int32(id))
	return nil
}

// bytePieces finds the ids of <0x00> to <0xFF>; -1 where the vocabulary has none.
func bytePieces(vocab map[string]int32) *[256]int32 {
	var ids [256]int32
	for b := range ids {
		id, ok := vocab[fmt.Sprintf("<0x%02X>", b)]
		if !ok {
			id = -1
		}
		ids[b] = id
	}
	return &ids
}

// readMerges fills the merge ranks: the order in the file, the last of equals.
func (p parser) readMerges(m *bpe, raw json.RawMessage) error {
	merges, err := p.mergePairs(raw)
	if err != nil {
		return err
	}
	m.ranks = make(map[pair]uint32, len(merges))
	m.merged = make([]int32, len(merges))
	for i, merge := range merges {
		left, okLeft := m.vocab[merge[0]]
		right, okRight := m.vocab[merge[1]]
		joined, okJoined := m.vocab[merge[0]+merge[1]]
		if !okLeft || !okRight || !okJoined {
			return p.bad(fmt.Sprintf("model.merges[%d]", i), fmt.Sprintf("%q", merge),
				"two pieces of model.vocab whose join is a piece too", refetch)
		}
		m.ranks[pair{left, right}] = uint32(i)
		m.merged[i] = joined
	}
	m.cutAtSpace = !m.ignoreMerges && m.complete() && canCutAtSpace(m.vocab, merges)
	return nil
}

// mergePairs reads merges written as "a b" or as ["a", "b"].
func (p parser) mergePairs(raw json.RawMessage) ([][2]string, error) {
	bad := func(i int, found any) error {
		return p.bad(fmt.Sprintf("model.merges[%d]", i), fmt.Sprintf("%q", found), `two pieces, as "a b" or ["a", "b"]`, refetch)
	}
	var pairs [][2]string
	var lines []string
	if json.Unmarshal(raw, &lines) == nil {
		for i, line := range lines {
			left, right, _ := strings.Cut(line, " ")
			switch {
			case strings.HasPrefix(line, "#version"):
			case left == "" || right == "" || strings.Contains(right, " "):
				return nil, bad(i, line)
			default:
				pairs = append(pairs, [2]string{left, right})
			}
		}
		return pairs, nil
	}
	var lists [][]string
	if err := p.decode("model.merges", raw, &lists); err != nil {
		return nil, err
	}
	for i, list := range lists {
		if len(list) != 2 {
			return nil, bad(i, list)
		}
		pairs = append(pairs, [2]string(list))
	}
	return pairs, nil
}
