package jinja

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonWriter writes values as Python's json.dumps does with ensure_ascii=False.
type jsonWriter struct {
	r            *renderer
	b            strings.Builder
	indent       int // blanks a level; less than 0 = one line
	item, member string
	sorted       bool
}

// toJSON is the filter tojson of Hugging Face.
func toJSON(r *renderer, value any, a *arguments) any {
	w := &jsonWriter{r: r, indent: -1, item: ", ", member: ": "}
	ascii := a.flag(0, "ensure_ascii")
	if indent := a.whole(r, 1, "indent", -1); indent >= 0 {
		w.indent, w.item = int(min(indent, 64)), ","
	}
	if separators, ok := a.at(2, "separators"); ok && separators != nil {
		pair := r.iterate(separators)
		if len(pair) != 2 {
			r.fail("separators are two texts")
		}
		w.item, w.member = r.str(pair[0]), r.str(pair[1])
	}
	w.sorted = a.flag(3, "sort_keys")
	a.done(r, "tojson", 4)
	w.value(value, 0)
	text := r.text(w.b.String())
	if ascii {
		text = escapeNonASCII(text)
	}
	return text
}

func (w *jsonWriter) value(value any, level int) {
	w.r.enter()
	defer w.r.leave()
	w.r.step(0)
	if w.b.Len() > maxText {
		w.r.fail("a text is longer than %d bytes", maxText)
	}
	switch v := value.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		w.b.WriteString(strconv.FormatBool(v))
	case int64:
		w.b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		w.b.WriteString(floatText(v))
	case string:
		w.text(v)
	case []any:
		w.sequence('[', ']', len(v), level, func(i int) { w.value(v[i], level+1) })
	case *Dict:
		keys := slices.Clone(v.keys)
		if w.sorted {
			slices.Sort(keys)
		}
		w.sequence('{', '}', len(keys), level, func(i int) {
			w.text(keys[i])
			w.b.WriteString(w.member)
			w.value(v.values[keys[i]], level+1)
		})
	default:
		w.r.fail("%s cannot be written as JSON", typeName(value))
	}
}

// sequence writes n elements between brackets.
func (w *jsonWriter) sequence(open, closing byte, n, level int, element func(i int)) {
	newline := func(level int) {
		if w.indent >= 0 {
			w.r.step(level * w.indent)
			w.b.WriteString("\n" + strings.Repeat(" ", level*w.indent))
		}
	}
	w.b.WriteByte(open)
	for i := range n {
		if i > 0 {
			w.b.WriteString(w.item)
		}
		newline(level + 1)
		element(i)
	}
	if n > 0 {
		newline(level)
	}
	w.b.WriteByte(closing)
}

var jsonEscapes = strings.NewReplacer(jsonEscapePairs()...)

// jsonEscapePairs are the characters that JSON must escape and how Python does it.
func jsonEscapePairs() []string {
	pairs := []string{`"`, `\"`, `\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\f", `\f`, "\b", `\b`}
	for c := range 0x20 {
		if !strings.ContainsRune("\n\r\t\f\b", rune(c)) {
			pairs = append(pairs, string(rune(c)), fmt.Sprintf(`\u%04x`, c))
		}
	}
	return pairs
}

func (w *jsonWriter) text(s string) {
	w.r.step(len(s))
	w.b.WriteByte('"')
	w.b.WriteString(jsonEscapes.Replace(s))
	w.b.WriteByte('"')
}

func escapeNonASCII(s string) string {
	var b strings.Builder
	for _, letter := range s {
		switch {
		case letter < utf8.RuneSelf:
			b.WriteRune(letter)
		case letter > 0xFFFF:
			letter -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+letter>>10, 0xDC00+letter&0x3FF)
		default:
			fmt.Fprintf(&b, `\u%04x`, letter)
		}
	}
	return b.String()
}
