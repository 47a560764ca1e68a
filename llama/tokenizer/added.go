package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// addedToken is one entry of added_tokens.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// addedTokens are the tokens beside the model's vocabulary. Those with
// normalized=false are searched in the text as written, the others, themselves
// normalised, in the normalised text between them.
type addedTokens struct {
	raw, normalized finder
	ids             map[string]int32
	special         map[string]bool
	decoded         map[int32]string // what the decoder reads for a normalised token
}

func newAddedTokens(tokens []addedToken, n normalizer) addedTokens {
	a := addedTokens{ids: map[string]int32{}, special: map[string]bool{}, decoded: map[int32]string{}}
	for _, t := range tokens {
		if t.Content == "" {
			continue
		}
		a.ids[t.Content] = t.ID
		if t.Special {
			a.special[t.Content] = true
		}
		if t.Normalized {
			a.decoded[t.ID] = n.normalize(t.Content)
			a.normalized.insert(a.decoded[t.ID], t)
		} else {
			a.raw.insert(t.Content, t)
		}
	}
	return a
}

// finder finds added tokens in a text: the leftmost, and of those that begin at
// the same place the longest. It is a trie over bytes.
type finder struct {
	next   map[edge]int32 // node 0 is the root
	tokens map[int32]addedToken
	first  [256]bool // bytes that begin a token
}

type edge struct {
	node int32
	char byte
}

// insert adds a token under the bytes to search for; the first of equals stays.
func (f *finder) insert(text string, t addedToken) {
	if text == "" {
		return
	}
	if f.next == nil {
		f.next, f.tokens = map[edge]int32{}, map[int32]addedToken{}
	}
	f.first[text[0]] = true
	node := int32(0)
	for i := 0; i < len(text); i++ {
		to, ok := f.next[edge{node, text[i]}]
		if !ok {
			to = int32(len(f.next)) + 1
			f.next[edge{node, text[i]}] = to
		}
		node = to
	}
	if _, taken := f.tokens[node]; !taken {
		f.tokens[node] = t
	}
}

// longest returns the longest token that text begins with, and its length; 0 if
// none.
func (f *finder) longest(text string) (found addedToken, length int) {
	node, ok := int32(0), false
	for i := 0; i < len(text); i++ {
		if node, ok = f.next[edge{node, text[i]}]; !ok {
			break
		}
		if t, end := f.tokens[node]; end {
			found, length = t, i+1
		}
	}
	return found, length
}

// segment is a stretch of text, or an added token.
type segment struct {
	text    string
	start   bool // it begins the text
	isToken bool
	id      int32
}

// split cuts text into added tokens and what lies between; no segment is empty.
func (f *finder) split(text string) []segment {
	var out []segment
	done := 0 // everything before is in out
	for i := 0; i < len(text) && f.next != nil; {
		if !f.first[text[i]] {
			i++
			continue
		}
		t, length := f.longest(text[i:])
		if length == 0 {
			i++
			continue
		}
		begin, end := i, i+length
		i = end // a match that is then discarded still hides those inside it
		if t.SingleWord && (endsWithWord(text[:begin]) || startsWithWord(text[end:])) {
			continue
		}
		begin, end = t.strip(text, begin, end, done)
		if done < begin {
			out = append(out, segment{text: text[done:begin], start: done == 0})
		}
		out = append(out, segment{isToken: true, id: t.ID})
		done = end
		i = max(i, end)
	}
	if done < len(text) {
		out = append(out, segment{text: text[done:], start: done == 0})
	}
	return out
}

// strip widens a match over the spaces that the token takes with it, to the left
// no further than done.
func (t addedToken) strip(text string, begin, end, done int) (int, int) {
	for t.LStrip && begin > done {
		r, size := utf8.DecodeLastRuneInString(text[done:begin])
		if !unicode.IsSpace(r) {
			break
		}
		begin -= size
	}
	for t.RStrip && end < len(text) {
		r, size := utf8.DecodeRuneInString(text[end:])
		if !unicode.IsSpace(r) {
			break
		}
		end += size
	}
	return begin, end
}

func endsWithWord(text string) bool {
	r, size := utf8.DecodeLastRuneInString(text)
	return size > 0 && isWord(r)
}

func startsWithWord(text string) bool {
	r, size := utf8.DecodeRuneInString(text)
	return size > 0 && isWord(r)
}

// isWord is \w of Unicode regular expressions (UTS 18, annex C).
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) ||
		unicode.In(r, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}
