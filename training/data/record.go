package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"trainer/fault"
)

// Limits of one record. They bound what a hostile file can make trainer hold.
const (
	maxRecordBytes = 64 << 20
	maxDepth       = 100
)

// Position is a place in a file; both count from 1, Column in bytes. Where a file has
// rows instead of lines, Line is the row and Column 0.
type Position struct{ Line, Column int }

// String is "line 3, column 14", or "row 3".
func (p Position) String() string {
	if p.Column == 0 {
		return fmt.Sprintf("row %d", p.Line)
	}
	return fmt.Sprintf("line %d, column %d", p.Line, p.Column)
}

// after is the position behind text that starts at p.
func (p Position) after(text []byte) Position {
	newlines := bytes.Count(text, []byte{'\n'})
	if newlines == 0 {
		return Position{p.Line, p.Column + len(text)}
	}
	return Position{p.Line + newlines, len(text) - bytes.LastIndexByte(text, '\n')}
}

// Record is one object of a data set.
type Record struct {
	File   string
	At     Position       // of its first byte
	Row    int            // number in the data set, from 0
	Fields map[string]any // nil, bool, json.Number, string, []any or map[string]any
}

// size is about how many bytes of text a record holds.
func (r Record) size() int { return sizeOf(r.Fields) }

func sizeOf(value any) int {
	n := 16
	switch v := value.(type) {
	case string:
		n += len(v)
	case []any:
		for _, element := range v {
			n += sizeOf(element)
		}
	case map[string]any:
		for key, member := range v {
			n += len(key) + sizeOf(member)
		}
	}
	return n
}

// syntaxError is what is wrong with JSON text, and at which byte of it.
type syntaxError struct {
	offset int
	found  string
	want   string
}

func (e *syntaxError) Error() string { return e.found }

// at turns e into the sentence for text that starts at `start` of a file.
func (e *syntaxError) at(file string, start Position, text []byte) error {
	return &fault.Error{Kind: fault.Files, Where: file, Field: start.after(text[:e.offset]).String(),
		Found: e.found, Want: e.want, Remedy: "correct the file there"}
}

// parseObject reads text as one JSON object and refuses everything RFC 8259
// leaves open: bad UTF-8, halves of surrogate pairs, a key given twice, and more
// than maxDepth levels.
func parseObject(text []byte) (map[string]any, *syntaxError) {
	for _, check := range []func([]byte) *syntaxError{checkUTF8, checkDepth, checkGrammar, checkSurrogates} {
		if err := check(text); err != nil {
			return nil, err
		}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	value, err := parseValue(d)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &syntaxError{0, kindOf(value), "an object"}
	}
	return object, nil
}

func checkUTF8(text []byte) *syntaxError {
	if utf8.Valid(text) {
		return nil
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return &syntaxError{i, fmt.Sprintf("the byte 0x%02X", text[i]), "UTF-8"}
		}
		i += n
	}
	return nil
}

func checkDepth(text []byte) *syntaxError {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return &syntaxError{i, "more", fmt.Sprintf("at most %d nested levels", maxDepth)}
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

func checkGrammar(text []byte) *syntaxError {
	var whole json.RawMessage
	err := json.Unmarshal(text, &whole)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return nil
	}
	offset := int(syntax.Offset)
	if offset >= len(text) && err.Error() == "unexpected end of JSON input" {
		return &syntaxError{len(text), "the end", "the rest of the JSON object"}
	}
	return &syntaxError{max(0, offset-1), "broken JSON: " + err.Error(), ""}
}

// checkSurrogates looks for \u escapes that are half a pair; text is valid JSON.
func checkSurrogates(text []byte) *syntaxError {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		switch unit := escapedUnit(text[i:]); {
		case unit < 0xD800 || unit > 0xDFFF: // a plain escape; at least two bytes long
			i++
		case unit <= 0xDBFF && escapedUnit(text[i+6:])>>10 == 0xDC00>>10:
			i += 11
		default:
			return &syntaxError{i, string(text[i : i+6]), "a whole surrogate pair"}
		}
	}
	return nil
}

// escapedUnit is the UTF-16 unit of the \uXXXX that text starts with, else -1.
func escapedUnit(text []byte) int {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int(unit)
}

// parseValue reads the next value of grammatically valid text.
func parseValue(d *json.Decoder) (any, *syntaxError) {
	token, err := d.Token()
	if err != nil {
		return nil, &syntaxError{int(d.InputOffset()), err.Error(), "valid JSON"}
	}
	switch token {
	case json.Delim('['):
		return parseArray(d)
	case json.Delim('{'):
		return parseMembers(d)
	}
	return token, nil
}

func parseArray(d *json.Decoder) (any, *syntaxError) {
	values := []any{}
	for d.More() {
		v, err := parseValue(d)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	_, err := d.Token() // the closing bracket
	return values, orNil(err, d)
}

func parseMembers(d *json.Decoder) (any, *syntaxError) {
	object := map[string]any{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, orNil(err, d)
		}
		name, _ := key.(string)
		if _, twice := object[name]; twice {
			return nil, &syntaxError{int(d.InputOffset()), fmt.Sprintf("the key %q a second time", name), "every key once"}
		}
		value, syntax := parseValue(d)
		if syntax != nil {
			return nil, syntax
		}
		object[name] = value
	}
	_, err := d.Token() // the closing brace
	return object, orNil(err, d)
}

func orNil(err error, d *json.Decoder) *syntaxError {
	if err == nil {
		return nil
	}
	return &syntaxError{int(d.InputOffset()), err.Error(), "valid JSON"}
}
