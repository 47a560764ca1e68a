package jinja

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// plainEscapes are Python's escapes of one character.
var plainEscapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '\n': ""}

// unescape reads the inside of a string literal as Python does.
func unescape(line int, s string) string {
	if !strings.Contains(s, "\\") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if plain, ok := plainEscapes[s[i]]; ok {
			b.WriteString(plain)
			continue
		}
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]
		if digits == 0 {
			b.WriteByte('\\')
			b.WriteByte(s[i])
			continue
		}
		if i+digits >= len(s) {
			fail(line, "the escape \\%c needs %d digits", s[i], digits)
		}
		code, err := strconv.ParseUint(s[i+1:i+1+digits], 16, 32)
		if err != nil || !utf8.ValidRune(rune(code)) {
			fail(line, "the escape \\%c%s is no character", s[i], s[i+1:i+1+digits])
		}
		b.WriteRune(rune(code))
		i += digits
	}
	return b.String()
}
