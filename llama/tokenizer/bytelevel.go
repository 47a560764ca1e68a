package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Byte-level tokenizers write every byte as one printable character (Radford et
// al. 2019, GPT-2): the printable bytes of Latin-1 as themselves, the others as
// U+0100 onwards in order.

var byteToRune, runeToByte = byteAlphabet()

func byteAlphabet() (runes [256]rune, bytes map[rune]byte) {
	bytes = make(map[rune]byte, 256)
	next := rune(0x100)
	for b := range runes {
		r := rune(b)
		printable := '!' <= r && r <= '~' || 0xA1 <= r && r <= 0xAC || 0xAE <= r
		if !printable {
			r = next
			next++
		}
		runes[b], bytes[r] = r, byte(b)
	}
	return runes, bytes
}

// byteLevel is the ByteLevel pre-tokenizer: it cuts by GPT-2's pattern, or not at
// all, and writes the bytes as characters.
type byteLevel struct {
	addSpace bool // put a space before every word that has none
	pattern  pattern
}

func (p byteLevel) split(words []word) []word {
	var out []word
	for _, w := range words {
		if p.addSpace && !strings.HasPrefix(w.text, " ") {
			w.text = " " + w.text
		}
		spans := []span{{0, len(w.text), false}}
		if p.pattern != nil {
			spans = p.pattern.spans(w.text)
		}
		first := len(out)
		out = appendSpans(out, w, spans)
		writeBytes(out[first:])
	}
	return out
}

// writeBytes replaces the text of each word by its byte characters, which all
// share one string.
func writeBytes(words []word) {
	total := 0
	for _, w := range words {
		total += 2 * len(w.text) // every byte character takes one or two bytes
	}
	all := make([]byte, 0, total)
	ends := make([]int, len(words))
	for i, w := range words {
		for j := 0; j < len(w.text); j++ {
			all = utf8.AppendRune(all, byteToRune[w.text[j]])
		}
		ends[i] = len(all)
	}
	text, begin := string(all), 0
	for i, end := range ends {
		words[i].text, begin = text[begin:end], end
	}
}

// appendPieceBytes appends the bytes that a byte-level piece stands for, or those
// of the piece itself if it is not written in byte characters.
func appendPieceBytes(out []byte, piece string) []byte {
	first := len(out)
	for _, r := range piece {
		b, ok := runeToByte[r]
		if !ok {
			return append(out[:first], piece...)
		}
		out = append(out, b)
	}
	return out
}

// validUTF8 replaces every byte of text that is not part of valid UTF-8 by U+FFFD.
func validUTF8(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return string([]rune(text))
}

// lossyUTF8 reads bytes as UTF-8, with one U+FFFD for each maximal part of an
// ill-formed sequence (Unicode 3.9, "U+FFFD Substitution of Maximal Subparts").
func lossyUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			size = illFormed(b)
		}
		out.WriteRune(r)
		b = b[size:]
	}
	return out.String()
}

// illFormed returns the length of the maximal subpart that b, which does not
// begin with valid UTF-8, begins with: at least 1.
func illFormed(b []byte) int {
	// The longest beginning that some continuation completes.
	for n := min(3, len(b)); n > 1; n-- {
		if !utf8.FullRune(b[:n]) {
			return n
		}
	}
	return 1
}
