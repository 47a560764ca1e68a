package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// word is a stretch of text on its way to the model; start says that it begins
// the whole text.
type word struct {
	text  string
	start bool
}

// preTokenizer cuts words further, or rewrites them. No word it returns is empty.
type preTokenizer interface {
	split(words []word) []word
}

// preTokenizers runs several in order; none leaves the words as they are.
type preTokenizers []preTokenizer

func (p preTokenizers) split(words []word) []word {
	for _, step := range p {
		words = step.split(words)
	}
	return words
}

// span is a part of a text: what a pattern matched, or what lies between.
type span struct {
	lo, hi int
	match  bool
}

// appendSpans appends the non-empty parts of w.
func appendSpans(out []word, w word, spans []span) []word {
	for _, s := range spans {
		if s.lo < s.hi {
			out = append(out, word{text: w.text[s.lo:s.hi], start: w.start && s.lo == 0})
		}
	}
	return out
}

// pattern finds matches; its spans cover the text in order.
type pattern interface {
	spans(text string) []span
}

// splitPreTokenizer is Split: it cuts at the matches of a pattern.
type splitPreTokenizer struct {
	pattern   pattern
	behaviour string
	invert    bool
}

func (p splitPreTokenizer) split(words []word) []word {
	var out []word
	for _, w := range words {
		spans := p.pattern.spans(w.text)
		if p.invert {
			for i := range spans {
				spans[i].match = !spans[i].match
			}
		}
		out = appendSpans(out, w, arrange(spans, p.behaviour))
	}
	return out
}

// The behaviours of Split, by their names in the file.
const (
	removed            = "Removed"
	isolated           = "Isolated"
	mergedWithPrevious = "MergedWithPrevious"
	mergedWithNext     = "MergedWithNext"
	contiguous         = "Contiguous"
)

// arrange drops or joins spans as the behaviour says. A match joins one
// neighbour only if that is not a match itself.
func arrange(spans []span, behaviour string) []span {
	if behaviour == isolated {
		return spans
	}
	var out []span
	for i, s := range spans {
		joins := false
		switch behaviour {
		case removed:
			if s.match {
				continue
			}
		case contiguous:
			joins = i > 0 && spans[i-1].match == s.match
		case mergedWithPrevious:
			joins = i > 0 && s.match && !spans[i-1].match
		case mergedWithNext:
			joins = i > 0 && spans[i-1].match && !s.match
		}
		if joins {
			out[len(out)-1].hi = s.hi
		} else {
			out = append(out, s)
		}
	}
	return out
}

// literal is a pattern that matches a fixed, non-empty string.
type literal string

func (l literal) spans(text string) []span {
	var out []span
	lo := 0
	for {
		at := strings.Index(text[lo:], string(l))
		if at < 0 {
			return append(out, span{lo, len(text), false})
		}
		mid := lo + at
		if lo < mid {
			out = append(out, span{lo, mid, false})
		}
		lo = mid + len(l)
		out = append(out, span{mid, lo, true})
	}
}

// digits is a pattern that matches one numeric character.
type digits struct{}

func (digits) spans(text string) []span {
	var out []span
	lo := 0
	for i, r := range text {
		if !unicode.IsNumber(r) {
			continue
		}
		if lo < i {
			out = append(out, span{lo, i, false})
		}
		lo = i + utf8.RuneLen(r)
		out = append(out, span{i, lo, true})
	}
	return append(out, span{lo, len(text), false})
}

// metaspace makes spaces visible, puts one before a text, and cuts before each.
type metaspace struct {
	mark    string // one character
	scheme  string // where a mark is put before a word: prependAlways, …
	cutting bool
}

// The prepend schemes of Metaspace, by their names in the file.
const (
	prependAlways = "always"
	prependFirst  = "first"
	prependNever  = "never"
)

func (p metaspace) split(words []word) []word {
	var out []word
	for _, w := range words {
		w.text = strings.ReplaceAll(w.text, " ", p.mark)
		wanted := p.scheme == prependAlways || p.scheme == prependFirst && w.start
		if wanted && !strings.HasPrefix(w.text, p.mark) {
			w.text = p.mark + w.text
		}
		if !p.cutting {
			out = append(out, w)
			continue
		}
		out = appendSpans(out, w, arrange(literal(p.mark).spans(w.text), mergedWithNext))
	}
	return out
}
