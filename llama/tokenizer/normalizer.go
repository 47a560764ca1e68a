package tokenizer

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer rewrites text before it is cut into words.
type normalizer interface {
	normalize(text string) string
}

// normalizers runs several in order; none leaves text as it is.
type normalizers []normalizer

func (n normalizers) normalize(text string) string {
	for _, step := range n {
		text = step.normalize(text)
	}
	return text
}

type prependNormalizer string

func (n prependNormalizer) normalize(text string) string {
	if text == "" {
		return ""
	}
	return string(n) + text
}

type replaceNormalizer struct{ old, new string }

func (n replaceNormalizer) normalize(text string) string {
	if n.old == "" {
		return text
	}
	return strings.ReplaceAll(text, n.old, n.new)
}

type lowercaseNormalizer struct{}

// normalize lowers every character by itself. U+0130 is the one character whose
// lower case is two (Unicode SpecialCasing.txt).
func (lowercaseNormalizer) normalize(text string) string {
	return strings.ToLower(strings.ReplaceAll(text, "\u0130", "i\u0307"))
}

type stripNormalizer struct{ left, right bool }

func (n stripNormalizer) normalize(text string) string {
	if n.left {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
	}
	if n.right {
		text = strings.TrimRightFunc(text, unicode.IsSpace)
	}
	return text
}

// formNormalizer brings text to a Unicode normal form (UAX 15), by Unicode 15.0.
// Hugging Face's library has the tables of Unicode 9.0: the two differ where
// several combining marks stand on one character, out of canonical order, and one
// of them is newer than 2016, and for NFKC and NFKD of such new characters.
type formNormalizer norm.Form

func (n formNormalizer) normalize(text string) string {
	if hasLongMarks(text) {
		return normalizeLong(norm.Form(n), text)
	}
	return norm.Form(n).String(text)
}
