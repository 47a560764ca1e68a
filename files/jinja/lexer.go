package jinja

import (
	"strings"
	"unicode/utf8"
)

// kind of a token.
type kind int

const (
	end        kind = iota
	text            // template text as it stands
	blockBegin      // {%
	blockEnd        // %}
	printBegin      // {{
	printEnd        // }}
	name
	number  // as written
	literal // a string, unescaped
	symbol  // an operator or bracket
)

type token struct {
	kind kind
	text string
	line int
}

// is says that the token is this symbol or name.
func (t token) is(text string) bool {
	return (t.kind == symbol || t.kind == name) && t.text == text
}

// lexer cuts a template into tokens.
type lexer struct {
	source string
	at     int
	line   int
	tokens []token
}

// lex cuts source into tokens; line ends are \n.
func lex(source string) []token {
	source = strings.ReplaceAll(strings.ReplaceAll(source, "\r\n", "\n"), "\r", "\n")
	source = strings.TrimSuffix(source, "\n")
	l := &lexer{source: source, line: 1}
	for l.at < len(l.source) {
		l.outside()
	}
	l.emit(end, "")
	return l.tokens
}

func (l *lexer) emit(k kind, text string) {
	l.tokens = append(l.tokens, token{k, text, l.line})
}

func (l *lexer) rest() string { return l.source[l.at:] }

// skip passes over n bytes and counts their lines.
func (l *lexer) skip(n int) {
	l.line += strings.Count(l.source[l.at:l.at+n], "\n")
	l.at += n
}

func (l *lexer) skipSpace() {
	l.skip(len(l.rest()) - len(strings.TrimLeft(l.rest(), " \t\n\v\f")))
}

// outside reads template text up to the next tag, and the tag.
func (l *lexer) outside() {
	start, n := l.at, strings.Index(l.rest(), "{")
	for n >= 0 && !strings.HasPrefix(l.rest()[n:], "{%") && !strings.HasPrefix(l.rest()[n:], "{{") && !strings.HasPrefix(l.rest()[n:], "{#") {
		next := strings.Index(l.rest()[n+1:], "{")
		if next < 0 {
			n = -1
			break
		}
		n += 1 + next
	}
	if n < 0 {
		l.emit(text, l.rest())
		l.skip(len(l.rest()))
		return
	}
	before, tag := l.source[start:start+n], l.source[start+n:start+n+2]
	mark := byte(0)
	if start+n+2 < len(l.source) {
		mark = l.source[start+n+2]
	}
	switch {
	case mark == '-':
		before = strings.TrimRight(before, " \t\n\v\f")
	case tag != "{{" && mark != '+':
		before = l.stripIndent(before, start)
	}
	if before != "" {
		l.emit(text, before)
	}
	l.skip(n + 2)
	if mark == '-' || mark == '+' {
		l.skip(1)
	}
	switch tag {
	case "{#":
		l.comment()
	case "{{":
		l.emit(printBegin, "")
		l.inside("}}", printEnd)
	default:
		if !l.raw() {
			l.emit(blockBegin, "")
			l.inside("%}", blockEnd)
		}
	}
}

// stripIndent drops blanks between the start of a line and a tag (lstrip_blocks).
func (l *lexer) stripIndent(before string, start int) string {
	trimmed := strings.TrimRight(before, " \t\v\f")
	if strings.HasSuffix(trimmed, "\n") || trimmed == "" && (start == 0 || l.source[start-1] == '\n') {
		return trimmed
	}
	return before
}

// closeTag passes over the rest of a tag's end and the space it takes with it: all after a
// minus, a line end after a block or comment (trim_blocks).
func (l *lexer) closeTag(mark byte, trims bool) {
	l.skip(2)
	switch {
	case mark == '-':
		l.skipSpace()
	case mark != '+' && trims && strings.HasPrefix(l.rest(), "\n"):
		l.skip(1)
	}
}

func (l *lexer) comment() {
	n := strings.Index(l.rest(), "#}")
	if n < 0 {
		fail(l.line, "a comment is not closed")
	}
	mark := byte(0)
	if n > 0 {
		mark = l.rest()[n-1]
	}
	l.skip(n)
	l.closeTag(mark, true)
}

// raw reads a raw block, if there is one, behind its {%.
func (l *lexer) raw() bool {
	rest := strings.TrimLeft(l.rest(), " \t\n")
	if !strings.HasPrefix(rest, "raw") {
		return false
	}
	rest = strings.TrimLeft(rest[3:], " \t\n")
	mark := byte(0)
	if strings.HasPrefix(rest, "-") {
		mark, rest = '-', rest[1:]
	}
	if !strings.HasPrefix(rest, "%}") {
		return false
	}
	l.skip(len(l.rest()) - len(rest))
	l.closeTag(mark, true)
	for n := 0; ; n += 2 {
		next := strings.Index(l.rest()[n:], "{%")
		if next < 0 {
			fail(l.line, "a raw block is not closed")
		}
		n += next
		inner := strings.TrimLeft(strings.TrimPrefix(l.rest()[n+2:], "-"), " \t\n")
		if !strings.HasPrefix(inner, "endraw") {
			continue
		}
		body := l.rest()[:n]
		if strings.HasPrefix(l.rest()[n+2:], "-") {
			body = strings.TrimRight(body, " \t\n\v\f")
		}
		l.emit(text, body)
		l.skip(len(l.rest()) - len(inner) + len("endraw"))
		l.skipSpace()
		mark := byte(0)
		if strings.HasPrefix(l.rest(), "-") {
			mark = '-'
			l.skip(1)
		}
		if !strings.HasPrefix(l.rest(), "%}") {
			fail(l.line, "endraw is not closed")
		}
		l.closeTag(mark, true)
		return true
	}
}

// symbols, longest first.
var symbols = []string{"==", "!=", "<=", ">=", "//", "**", "<", ">", "=", "+", "-", "*", "/", "%", "~", "|", ".", ",", ":", "(", ")", "[", "]", "{", "}"}

// inside reads tokens up to the end of a tag.
func (l *lexer) inside(closing string, k kind) {
	depth := 0
	for {
		l.skipSpace()
		rest := l.rest()
		if rest == "" {
			fail(l.line, "a tag is not closed by %s", closing)
		}
		if depth == 0 {
			for _, mark := range []string{"", "-", "+"} {
				if strings.HasPrefix(rest, mark+closing) {
					l.emit(k, "")
					l.skip(len(mark))
					l.closeTag((mark + "\x00")[0], k == blockEnd)
					return
				}
			}
		}
		switch c := rest[0]; {
		case c == '"' || c == '\'':
			l.quoted()
		case isDigit(c):
			l.number()
		case isNameStart(rest):
			l.name()
		default:
			depth = max(0, depth+l.symbol())
		}
	}
}

// symbol reads an operator or bracket, and gives by how much it nests.
func (l *lexer) symbol() int {
	for _, s := range symbols {
		if !strings.HasPrefix(l.rest(), s) {
			continue
		}
		l.emit(symbol, s)
		l.skip(len(s))
		switch s {
		case "(", "[", "{":
			return 1
		case ")", "]", "}":
			return -1
		}
		return 0
	}
	r, _ := utf8.DecodeRuneInString(l.rest())
	fail(l.line, "the character %q has no meaning here", r)
	return 0
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c)
}

func isNameStart(s string) bool { return isNameByte(s[0]) && !isDigit(s[0]) }

func (l *lexer) name() {
	n := 0
	for n < len(l.rest()) && isNameByte(l.rest()[n]) {
		n++
	}
	l.emit(name, l.rest()[:n])
	l.skip(n)
}

func (l *lexer) number() {
	rest, n := l.rest(), 0
	digits := func() {
		for n < len(rest) && (isDigit(rest[n]) || rest[n] == '_') {
			n++
		}
	}
	digits()
	if n+1 < len(rest) && rest[n] == '.' && isDigit(rest[n+1]) {
		n++
		digits()
	}
	if n+1 < len(rest) && (rest[n] == 'e' || rest[n] == 'E') {
		exponent := n
		n++
		if rest[n] == '+' || rest[n] == '-' {
			n++
		}
		if n < len(rest) && isDigit(rest[n]) {
			digits()
		} else {
			n = exponent
		}
	}
	l.emit(number, strings.ReplaceAll(rest[:n], "_", ""))
	l.skip(n)
}

// quoted reads a string literal.
func (l *lexer) quoted() {
	quote := l.rest()[0]
	for n := 1; n < len(l.rest()); n++ {
		switch l.rest()[n] {
		case '\\':
			n++
		case quote:
			value := unescape(l.line, l.rest()[1:n])
			l.emit(literal, value)
			l.skip(n + 1)
			return
		}
	}
	fail(l.line, "a string is not closed")
}
