package jsonstrict

import (
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// String reads a string and returns what it stands for: valid UTF-8, which may hold NUL.
func (d *Decoder) String() (string, error) {
	if d.peek() != '"' {
		return "", d.unexpected("a string")
	}
	d.pos++
	start, plain := d.pos, true
	var out []byte
	for d.pos < len(d.data) {
		c := d.data[d.pos]
		switch {
		case c == '"':
			text := string(d.data[start:d.pos])
			if !plain {
				text = string(append(out, d.data[start:d.pos]...))
			}
			d.pos++
			return text, nil
		case c == '\\':
			out, plain = append(out, d.data[start:d.pos]...), false
			r, err := d.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
			start = d.pos
		case c < 0x20:
			return "", d.Errorf("control character 0x%02x in a string", c)
		case c < utf8.RuneSelf:
			d.pos++
		default:
			r, size := utf8.DecodeRune(d.data[d.pos:])
			if r == utf8.RuneError && size == 1 {
				return "", d.Errorf("byte 0x%02x is not UTF-8", c)
			}
			d.pos += size
		}
	}
	return "", d.unexpected("the end of the string")
}

// escape reads one escape, or the two of a surrogate pair.
func (d *Decoder) escape() (rune, error) {
	at := d.pos
	if d.pos+1 >= len(d.data) {
		d.pos = len(d.data)
		return 0, d.unexpected("an escape")
	}
	c := d.data[d.pos+1]
	if c != 'u' {
		d.pos += 2
		switch c {
		case '"', '\\', '/':
			return rune(c), nil
		case 'b':
			return '\b', nil
		case 'f':
			return '\f', nil
		case 'n':
			return '\n', nil
		case 'r':
			return '\r', nil
		case 't':
			return '\t', nil
		}
		return 0, d.errorAt(at, "unknown escape \\%c", c)
	}
	r, ok := d.hex4()
	if ok && utf16.IsSurrogate(r) {
		var low rune
		low, ok = d.hex4()
		r = utf16.DecodeRune(r, low)
		ok = ok && r != utf8.RuneError
		if !ok {
			return 0, d.errorAt(at, "surrogate without its other half")
		}
	}
	if !ok {
		return 0, d.errorAt(at, "\\u needs four hexadecimal digits")
	}
	return r, nil
}

// hex4 reads \uXXXX.
func (d *Decoder) hex4() (rune, bool) {
	if d.pos+6 > len(d.data) || d.data[d.pos] != '\\' || d.data[d.pos+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range d.data[d.pos+2 : d.pos+6] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	d.pos += 6
	return r, true
}

// AppendString appends s as a JSON string in ASCII, as Python writes it. s is valid UTF-8.
func AppendString(out []byte, s string) []byte {
	out = append(out, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r == '\n':
			out = append(out, `\n`...)
		case r == '\r':
			out = append(out, `\r`...)
		case r == '\t':
			out = append(out, `\t`...)
		case r == '\b':
			out = append(out, `\b`...)
		case r == '\f':
			out = append(out, `\f`...)
		case r >= 0x20 && r < 0x7f || r == 0x7f:
			out = append(out, byte(r))
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return append(out, '"')
}

// FloatText is a finite float as Python's repr: shortest digits, always with a point or an
// exponent, which appears below 1e-4 and from 1e16 on.
func FloatText(f float64) string {
	scientific := strconv.FormatFloat(f, 'e', -1, 64)
	for i := range scientific {
		if scientific[i] == 'e' {
			if exponent, _ := strconv.Atoi(scientific[i+1:]); exponent < -4 || exponent >= 16 {
				return scientific
			}
		}
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	for _, c := range text {
		if c == '.' {
			return text
		}
	}
	return text + ".0"
}
