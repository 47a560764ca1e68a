package tokenizer

import "strings"

// Tokenizer is a loaded tokenizer.json. It does not change after loading (apart
// from an internal bounded cache), so every method may be called from several
// goroutines at once.
type Tokenizer struct {
	added      addedTokens
	normalizer normalizer
	splitter   preTokenizer
	model      *bpe
	post       []template
	decoder    decoder

	pieces        map[int32]string
	vocabSize     int
	bos, eos, pad int32 // -1 = none
}

// Encode returns the token ids of text; addSpecial adds what the file's
// post-processor adds, usually the beginning-of-sequence token.
//
// As in Hugging Face's library, added tokens are recognised wherever they are
// written in text: a text that contains "</s>" yields the id of that token, so
// text from strangers can name special tokens. Characters that the vocabulary
// cannot express at all (no byte fallback, no unknown token) yield nothing. A
// byte that is not valid UTF-8 is read as U+FFFD.
func (t *Tokenizer) Encode(text string, addSpecial bool) []int32 {
	text = validUTF8(text)
	ids := make([]int32, 0, len(text)/3+8)
	for _, raw := range t.added.raw.split(text) {
		if raw.isToken {
			ids = append(ids, raw.id)
			continue
		}
		ids = t.encodeSegment(ids, raw.text, raw.start)
	}
	for _, tmpl := range t.post {
		ids = tmpl.apply(ids, addSpecial)
	}
	return ids
}

// encodeSegment appends the ids of a stretch of text that holds no raw added
// token; start says that it begins the whole text.
func (t *Tokenizer) encodeSegment(ids []int32, text string, start bool) []int32 {
	for _, seg := range t.added.normalized.split(t.normalizer.normalize(text)) {
		if seg.isToken {
			ids = append(ids, seg.id)
			continue
		}
		words := []word{{text: seg.text, start: start && seg.start}}
		for _, w := range t.splitter.split(words) {
			ids = t.model.encode(ids, w.text)
		}
	}
	return ids
}

// Decode returns the text of ids through the file's decoder. Ids outside the
// vocabulary are left out, and so are special tokens if skipSpecial. Bytes that
// do not form UTF-8 become U+FFFD.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		piece, known := t.pieces[id]
		if !known || skipSpecial && t.added.special[piece] {
			continue
		}
		if written, ok := t.added.decoded[id]; ok {
			piece = written
		}
		tokens = append(tokens, piece)
	}
	return strings.Join(t.decoder.decode(tokens), "")
}

// VocabSize is the highest id plus one, added tokens included.
func (t *Tokenizer) VocabSize() int { return t.vocabSize }

// BOS returns the id of bos_token of tokenizer_config.json, if it names one.
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.bos >= 0 }

// EOS returns the id of eos_token of tokenizer_config.json, if it names one.
func (t *Tokenizer) EOS() (int32, bool) { return t.eos, t.eos >= 0 }

// PAD returns the id of pad_token of tokenizer_config.json, if it names one.
func (t *Tokenizer) PAD() (int32, bool) { return t.pad, t.pad >= 0 }

// TokenString returns the raw piece of an id as the file writes it ("▁the",
// "Ġthe", "<0x0A>"), and "" for an id outside the vocabulary.
func (t *Tokenizer) TokenString(id int32) string { return t.pieces[id] }

// ID returns the id of a raw piece or added token.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.added.ids[token]; ok {
		return id, true
	}
	id, ok := t.model.vocab[token]
	return id, ok
}
