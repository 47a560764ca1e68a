package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The patterns that known tokenizers split by need look-ahead, which Go's
// regular expressions do not have, so they are scanned by hand here, in one pass.

// The split patterns of GPT-2; of Qwen2; and of Llama 3, cl100k and others.
const (
	gpt2Pattern   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	qwen2Pattern  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// scanners are the known patterns; their matches follow each other without gaps.
var scanners = map[string]scanner{
	gpt2Pattern:   scanGPT2,
	qwen2Pattern:  func(text string) int { return scanLlama3(text, 1) },
	llama3Pattern: func(text string) int { return scanLlama3(text, 3) },
}

// scanner returns the length of the match that a non-empty text begins with.
type scanner func(text string) int

func (next scanner) spans(text string) []span {
	out := make([]span, 0, len(text)/4+1)
	for lo := 0; lo < len(text); {
		hi := lo + next(text[lo:])
		out = append(out, span{lo, hi, true})
		lo = hi
	}
	return out
}

// class is what the patterns tell characters apart by.
type class uint8

const (
	other  class = iota
	letter       // \p{L}
	number       // \p{N}
	space        // \s
	none         // the end of the text
)

func classOf(r rune) class {
	switch {
	case unicode.IsLetter(r) || unicode.Is(newLetters, r):
		return letter
	case unicode.IsNumber(r) || unicode.Is(newNumbers, r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// first returns the class and length of the character that text begins with.
func first(text string) (class, int) {
	if text == "" {
		return none, 0
	}
	r, size := utf8.DecodeRuneInString(text)
	return classOf(r), size
}

// run returns the length of the leading run of a class, at most limit characters.
func run(text string, want class, limit int) int {
	n := 0
	for ; limit > 0; limit-- {
		got, size := first(text[n:])
		if got != want {
			break
		}
		n += size
	}
	return n
}

func scanGPT2(text string) int {
	if n := contraction(text, false); n > 0 {
		return n
	}
	prefix := 0
	if text[0] == ' ' {
		prefix = 1
	}
	if c, _ := first(text[prefix:]); c != space && c != none {
		return prefix + run(text[prefix:], c, len(text))
	}
	return spaces(text[:run(text, space, len(text))], text)
}

func scanLlama3(text string, maxDigits int) int {
	if n := contraction(text, true); n > 0 {
		return n
	}
	c, size := first(text)
	switch c {
	case letter:
		return run(text, letter, len(text))
	case number:
		return run(text, number, maxDigits)
	}
	if text[0] != '\r' && text[0] != '\n' {
		if n := run(text[size:], letter, len(text)); n > 0 {
			return size + n
		}
	}
	if next, _ := first(text[1:]); c == other || text[0] == ' ' && next == other {
		n := size
		n += run(text[n:], other, len(text))
		return n + len(text[n:]) - len(strings.TrimLeft(text[n:], "\r\n"))
	}
	blank := text[:run(text, space, len(text))]
	if n := strings.LastIndexAny(blank, "\r\n"); n >= 0 {
		return n + 1
	}
	return spaces(blank, text)
}

// spaces is \s+(?!\S)|\s+ at the start of text, which begins with the run of
// spaces blank: all of it at the end of the text, else all but its last
// character, which goes to the word behind, unless it is the only one.
func spaces(blank, text string) int {
	_, last := utf8.DecodeLastRuneInString(blank)
	if len(blank) == len(text) || len(blank) == last {
		return len(blank)
	}
	return len(blank) - last
}

// contraction is 's|'t|'re|'ve|'m|'ll|'d: its length, 0 if text begins with none.
func contraction(text string, ignoreCase bool) int {
	if text[0] != '\'' {
		return 0
	}
	for _, c := range [...]string{"s", "t", "re", "ve", "m", "ll", "d"} {
		n := 1
		for i := 0; i < len(c) && n > 0; i++ {
			r, size := utf8.DecodeRuneInString(text[n:])
			if r == rune(c[i]) || ignoreCase && foldsTo(r, rune(c[i])) {
				n += size
			} else {
				n = 0
			}
		}
		if n > 0 {
			return n
		}
	}
	return 0
}

// foldsTo says whether r is lower, a small ASCII letter, by simple case folding;
// the long s (U+017F) is an s.
func foldsTo(r, lower rune) bool {
	return unicode.ToLower(r) == lower || r == 'ſ' && lower == 's'
}
