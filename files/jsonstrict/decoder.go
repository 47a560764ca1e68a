package jsonstrict

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Kind is what a JSON value is.
type Kind uint8

// The kinds of values. The zero Value is null.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// String names the kind with its article, for sentences.
func (k Kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "an object"}[k]
}

// Limits bound what is read; 0 means the default.
type Limits struct {
	Bytes  int // largest text, default 64 MiB
	Depth  int // deepest nesting of lists and objects, default 100
	Values int // most values Parse keeps, default 2^18; a Decoder keeps none
}

func (l Limits) orDefault() Limits {
	pick := func(v, standard int) int {
		if v == 0 {
			return standard
		}
		return v
	}
	return Limits{pick(l.Bytes, 64<<20), pick(l.Depth, 100), pick(l.Values, 1<<18)}
}

// SyntaxError says where a text stops being acceptable. Line and Column count from 1,
// Column in characters.
type SyntaxError struct {
	Line, Column int
	Message      string
}

// Error renders "line 3, column 14: duplicate key "a"".
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Decoder reads one JSON text value by value, in order, and keeps nothing: memory is what
// its caller keeps, plus the keys of open objects. Every method that reads a value either
// consumes exactly one or returns a *SyntaxError. It is for one goroutine.
type Decoder struct {
	data   []byte
	pos    int
	depth  int
	limits Limits
}

// NewDecoder starts at the beginning of data, which the caller leaves unchanged.
func NewDecoder(data []byte, limits Limits) (*Decoder, error) {
	d := &Decoder{data: data, limits: limits.orDefault()}
	if len(data) > d.limits.Bytes {
		return nil, d.Errorf("the text has %d bytes, the limit is %d", len(data), d.limits.Bytes)
	}
	return d, nil
}

// Errorf is a *SyntaxError at the place reached.
func (d *Decoder) Errorf(format string, args ...any) error {
	return d.errorAt(d.pos, format, args...)
}

func (d *Decoder) errorAt(pos int, format string, args ...any) error {
	line, start := 1, 0
	for i, c := range d.data[:pos] {
		if c == '\n' {
			line, start = line+1, i+1
		}
	}
	return &SyntaxError{line, utf8.RuneCount(d.data[start:pos]) + 1, fmt.Sprintf(format, args...)}
}

// unexpected describes what stands at the place reached.
func (d *Decoder) unexpected(want string) error {
	if d.pos >= len(d.data) {
		return d.Errorf("the text ends, expected %s", want)
	}
	r, size := utf8.DecodeRune(d.data[d.pos:])
	if r == utf8.RuneError && size == 1 {
		return d.Errorf("byte 0x%02x is not UTF-8, expected %s", d.data[d.pos], want)
	}
	return d.Errorf("found %q, expected %s", r, want)
}

// peek skips white space and returns the byte there, 0 at the end.
func (d *Decoder) peek() byte {
	for ; d.pos < len(d.data); d.pos++ {
		switch d.data[d.pos] {
		case ' ', '\t', '\n', '\r':
		default:
			return d.data[d.pos]
		}
	}
	return 0
}

// Kind is the kind of the next value, by its first byte.
func (d *Decoder) Kind() (Kind, error) {
	switch c := d.peek(); {
	case c == '{':
		return Object, nil
	case c == '[':
		return Array, nil
	case c == '"':
		return String, nil
	case c == 't' || c == 'f':
		return Bool, nil
	case c == 'n':
		return Null, nil
	case c == '-' || isDigit(c):
		return Number, nil
	}
	return Null, d.unexpected("a value")
}

// End refuses anything but white space after the value.
func (d *Decoder) End() error {
	if d.peek(); d.pos < len(d.data) {
		return d.unexpected("the end of the text")
	}
	return nil
}

// Object reads an object and calls member after each key; member reads the value. An error
// of member's is returned as it is.
func (d *Decoder) Object(member func(key string) error) error {
	var seen keySet
	return d.nested('{', '}', "an object", func() error {
		d.peek()
		at := d.pos
		key, err := d.String()
		if err != nil {
			return err
		}
		if !seen.add(key) {
			return d.errorAt(at, "duplicate key %.80q", key)
		}
		if d.peek() != ':' {
			return d.unexpected("':'")
		}
		d.pos++
		return member(key)
	})
}

// Array reads a list and calls element before each element; element reads it.
func (d *Decoder) Array(element func() error) error {
	return d.nested('[', ']', "a list", element)
}

// nested reads open, items between commas, and end.
func (d *Decoder) nested(open, end byte, name string, item func() error) error {
	if d.peek() != open {
		return d.unexpected(name)
	}
	if d.depth++; d.depth > d.limits.Depth {
		return d.Errorf("lists and objects are nested deeper than %d", d.limits.Depth)
	}
	d.pos++
	for first := true; ; first = false {
		switch c := d.peek(); {
		case c == end && d.pos < len(d.data) && d.data[d.pos] == end:
			d.pos++
			d.depth--
			return nil
		case first:
		case c == ',':
			d.pos++
			if d.peek() == end {
				return d.unexpected("another item after ','")
			}
		default:
			return d.unexpected(fmt.Sprintf("',' or %q", end))
		}
		if err := item(); err != nil {
			return err
		}
	}
}

// Bool reads true or false.
func (d *Decoder) Bool() (bool, error) {
	if d.peek() == 't' {
		return true, d.literal("true")
	}
	return false, d.literal("false")
}

// Null reads null.
func (d *Decoder) Null() error { return d.literal("null") }

func (d *Decoder) literal(word string) error {
	d.peek()
	if rest := d.data[d.pos:]; len(rest) < len(word) || string(rest[:len(word)]) != word {
		return d.unexpected(word)
	}
	d.pos += len(word)
	return nil
}

// Int reads a number written as an integer that fits in 64 bits: no fraction, no exponent,
// no "-0".
func (d *Decoder) Int() (int64, error) {
	d.peek()
	at := d.pos
	text, err := d.Number()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || text == "-0" {
		return 0, d.errorAt(at, "found %.40s, expected an integer below 2^63", text)
	}
	return v, nil
}

// Number reads a number and returns it as it is written.
func (d *Decoder) Number() (string, error) {
	d.peek()
	start := d.pos
	d.accept('-')
	if !d.accept('0') && !d.digits() {
		return "", d.unexpected("a number")
	}
	if d.accept('.') && !d.digits() {
		return "", d.unexpected("a digit after '.'")
	}
	if d.accept('e') || d.accept('E') {
		if !d.accept('+') {
			d.accept('-')
		}
		if !d.digits() {
			return "", d.unexpected("a digit of the exponent")
		}
	}
	return string(d.data[start:d.pos]), nil
}

func (d *Decoder) accept(c byte) bool {
	if d.pos < len(d.data) && d.data[d.pos] == c {
		d.pos++
		return true
	}
	return false
}

func (d *Decoder) digits() bool {
	start := d.pos
	for d.pos < len(d.data) && isDigit(d.data[d.pos]) {
		d.pos++
	}
	return d.pos > start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// Skip reads a value and forgets it.
func (d *Decoder) Skip() error {
	kind, err := d.Kind()
	if err != nil {
		return err
	}
	switch kind {
	case Object:
		return d.Object(func(string) error { return d.Skip() })
	case Array:
		return d.Array(d.Skip)
	case String:
		_, err = d.String()
	case Number:
		_, err = d.Number()
	case Bool:
		_, err = d.Bool()
	default:
		err = d.Null()
	}
	return err
}

// keySet is the keys of one object: a list while it is short.
type keySet struct {
	few  []string
	many map[string]struct{}
}

// add says whether key is new.
func (s *keySet) add(key string) bool {
	if s.many == nil && len(s.few) < 8 {
		for _, k := range s.few {
			if k == key {
				return false
			}
		}
		if s.few == nil {
			s.few = make([]string, 0, 4)
		}
		s.few = append(s.few, key)
		return true
	}
	if s.many == nil {
		s.many = map[string]struct{}{}
		for _, k := range s.few {
			s.many[k] = struct{}{}
		}
	}
	_, old := s.many[key]
	s.many[key] = struct{}{}
	return !old
}
