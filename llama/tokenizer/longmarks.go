package tokenizer

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Package norm breaks runs of more than 30 combining marks with U+034F, as the
// stream-safe format of UAX 15 has it; tokenizers do not. Text with long runs
// therefore goes through the plain algorithm of UAX 15 here.

// marksSafe is a number of marks in a row that cannot reach 30 even if each, and
// the character before them, decomposes to the longest decomposition.
const marksSafe = 8

func hasLongMarks(text string) bool {
	run := 0
	for i := 0; i < len(text); {
		if text[i] < utf8.RuneSelf {
			run = 0
			i++
			continue
		}
		p := norm.NFKD.PropertiesString(text[i:])
		if p.LeadCCC() == 0 {
			run = 0
		} else if run++; run > marksSafe {
			return true
		}
		i += max(p.Size(), 1)
	}
	return false
}

// mark is a character with its canonical combining class, 0 for a starter.
type mark struct {
	char  rune
	class uint8
}

// normalizeLong is UAX 15 section 1.3: decompose, order the marks, compose.
func normalizeLong(form norm.Form, text string) string {
	compose := form == norm.NFC || form == norm.NFKC
	full := norm.NFD
	if form == norm.NFKC || form == norm.NFKD {
		full = norm.NFKD
	}
	chars := make([]mark, 0, len(text))
	for _, r := range text {
		for _, d := range full.String(string(r)) {
			chars = append(chars, mark{d, norm.NFD.PropertiesString(string(d)).CCC()})
		}
	}
	orderMarks(chars)
	if compose {
		chars = composeMarks(chars)
	}
	out := make([]byte, 0, len(text))
	for _, c := range chars {
		out = utf8.AppendRune(out, c.char)
	}
	return string(out)
}

// orderMarks sorts every run of marks by class, keeping the order of equals.
func orderMarks(chars []mark) {
	for i := 0; i < len(chars); {
		end := i
		for end < len(chars) && chars[end].class != 0 {
			end++
		}
		slices.SortStableFunc(chars[i:end], func(a, b mark) int { return int(a.class) - int(b.class) })
		i = end + 1
	}
}

// composeMarks joins each mark that is not blocked with its starter, in place.
func composeMarks(chars []mark) []mark {
	out := chars[:0]
	starter := -1
	for _, c := range chars {
		if starter >= 0 {
			adjacent := starter == len(out)-1
			if adjacent || out[len(out)-1].class < c.class {
				if joined, ok := composePair(out[starter].char, c.char); ok {
					out[starter].char = joined
					continue
				}
			}
		}
		if c.class == 0 {
			starter = len(out)
		}
		out = append(out, c)
	}
	return out
}

// composePair returns the primary composite of two characters, if there is one.
func composePair(a, b rune) (rune, bool) {
	joined := norm.NFC.String(string(a) + string(b))
	r, size := utf8.DecodeRuneInString(joined)
	return r, size == len(joined)
}
