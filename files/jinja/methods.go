package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// pythonSpace is what str.strip and str.split take for space.
func pythonSpace(letter rune) bool {
	return unicode.IsSpace(letter) || letter >= 0x1C && letter <= 0x1F
}

// stripped cuts letters off one or both ends; none given means space.
func stripped(left, right bool) func(r *renderer, s string, a *arguments) any {
	return func(r *renderer, s string, a *arguments) any {
		cut := pythonSpace
		if set, ok := a.at(0, "chars"); ok && set != nil {
			letters, ok := set.(string)
			if !ok {
				r.fail("the letters to strip are %s, expected a text", typeName(set))
			}
			cut = func(letter rune) bool { return strings.ContainsRune(letters, letter) }
		}
		a.done(r, "strip", 1)
		if left {
			s = strings.TrimLeftFunc(s, cut)
		}
		if right {
			s = strings.TrimRightFunc(s, cut)
		}
		return s
	}
}

// fixed tells whether a text has one of the given ends.
func fixed(has func(s, part string) bool) func(r *renderer, s string, a *arguments) any {
	return func(r *renderer, s string, a *arguments) any {
		value, _ := a.at(0, "prefix")
		a.done(r, "startswith", 1)
		parts, many := value.([]any)
		if !many {
			parts = []any{value}
		}
		for _, part := range parts {
			text, ok := part.(string)
			if !ok {
				r.fail("%s is no part of a text", typeName(part))
			}
			if has(s, text) {
				return true
			}
		}
		return false
	}
}

func split(r *renderer, s string, a *arguments) any {
	separator, _ := a.at(0, "sep")
	most := a.whole(r, 1, "maxsplit", -1)
	a.done(r, "split", 2)
	r.step(16 * len(s))
	var parts []string
	switch mark := separator.(type) {
	case nil:
		if most >= 0 {
			r.fail("split at spaces takes no maxsplit")
		}
		parts = strings.FieldsFunc(s, pythonSpace)
	case string:
		if mark == "" {
			r.fail("the separator is empty")
		}
		n := -1
		if most >= 0 {
			n = int(min(most, maxItems)) + 1
		}
		parts = strings.SplitN(s, mark, n)
	default:
		r.fail("the separator is %s, expected a text", typeName(separator))
	}
	items := make([]any, len(parts))
	for i, part := range parts {
		items[i] = part
	}
	return r.list(items)
}

// replaced is s with one text replaced by another, at most `most` times if that is not
// negative.
func (r *renderer) replaced(s, old, by string, most int64) string {
	count := strings.Count(s, old)
	if most >= 0 {
		count = min(count, int(min(most, maxText)))
	}
	if len(s)+count*(len(by)-len(old)) > maxText || count*len(by) > 2*maxText {
		r.fail("a text is longer than %d bytes", maxText)
	}
	return r.text(strings.Replace(s, old, by, count))
}

func title(s string) string {
	var b strings.Builder
	inside := false
	for _, letter := range s {
		if inside {
			b.WriteRune(unicode.ToLower(letter))
		} else {
			b.WriteRune(unicode.ToTitle(letter))
		}
		inside = unicode.IsLetter(letter)
	}
	return b.String()
}

func capitalize(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToTitle(first)) + strings.ToLower(s[n:])
}

// plain makes a method of a function of the text alone.
func plain(f func(string) string) func(r *renderer, s string, a *arguments) any {
	return func(r *renderer, s string, a *arguments) any {
		a.done(r, "the method", 0)
		return r.text(f(r.text(s)))
	}
}

// every tells whether a text has letters and all of them are of a kind.
func every(is func(rune) bool) func(r *renderer, s string, a *arguments) any {
	return func(_ *renderer, s string, _ *arguments) any {
		return s != "" && strings.IndexFunc(s, func(letter rune) bool { return !is(letter) }) < 0
	}
}

// stringMethods are the methods of texts.
var stringMethods = map[string]func(r *renderer, s string, a *arguments) any{
	"strip": stripped(true, true), "lstrip": stripped(true, false), "rstrip": stripped(false, true),
	"startswith": fixed(strings.HasPrefix), "endswith": fixed(strings.HasSuffix),
	"upper": plain(strings.ToUpper), "lower": plain(strings.ToLower), "title": plain(title), "capitalize": plain(capitalize),
	"isdigit": every(unicode.IsDigit), "isalpha": every(unicode.IsLetter), "isspace": every(pythonSpace),
	"split": split,
	"splitlines": func(r *renderer, s string, a *arguments) any {
		a.done(r, "splitlines", 0)
		r.step(16 * len(s))
		var items []any
		for line := range strings.Lines(s) {
			items = append(items, strings.TrimRight(line, "\r\n"))
		}
		return r.list(items)
	},
	"replace": func(r *renderer, s string, a *arguments) any {
		old, by, most := a.text(r, 0, "old", ""), a.text(r, 1, "new", ""), a.whole(r, 2, "count", -1)
		a.done(r, "replace", 3)
		return r.replaced(s, old, by, most)
	},
	"find": func(r *renderer, s string, a *arguments) any {
		at := strings.Index(s, a.text(r, 0, "sub", ""))
		a.done(r, "find", 1)
		if at > 0 {
			at = utf8.RuneCountInString(s[:at])
		}
		return int64(at)
	},
	"count": func(r *renderer, s string, a *arguments) any {
		return int64(strings.Count(s, a.text(r, 0, "sub", "")))
	},
	"join": func(r *renderer, s string, a *arguments) any {
		items, _ := a.at(0, "items")
		return r.join(r.iterate(items), s)
	},
	"removeprefix": func(r *renderer, s string, a *arguments) any {
		return strings.TrimPrefix(s, a.text(r, 0, "prefix", ""))
	},
	"removesuffix": func(r *renderer, s string, a *arguments) any {
		return strings.TrimSuffix(s, a.text(r, 0, "suffix", ""))
	},
}

func (r *renderer) join(items []any, between string) string {
	var b strings.Builder
	for i, item := range items {
		if i > 0 {
			b.WriteString(between)
		}
		b.WriteString(r.str(item))
		if b.Len() > maxText {
			r.fail("a text is longer than %d bytes", maxText)
		}
	}
	return r.text(b.String())
}

// dictMethods are the methods of mappings.
var dictMethods = map[string]func(r *renderer, d *Dict, a *arguments) any{
	"items": func(r *renderer, d *Dict, _ *arguments) any { return r.list(d.pairs()) },
	"keys":  func(r *renderer, d *Dict, _ *arguments) any { return r.list(r.iterate(d)) },
	"values": func(r *renderer, d *Dict, _ *arguments) any {
		var values []any
		for _, key := range d.keys {
			values = append(values, d.values[key])
		}
		return r.list(values)
	},
	"get": func(r *renderer, d *Dict, a *arguments) any {
		key, _ := a.at(0, "key")
		absent, _ := a.at(1, "default")
		if name, ok := key.(string); ok {
			if value, known := d.Get(name); known {
				return value
			}
		}
		return absent
	},
}

// listMethods are the methods of lists that change nothing.
var listMethods = map[string]func(r *renderer, items []any, a *arguments) any{
	"count": func(r *renderer, items []any, a *arguments) any {
		value, _ := a.at(0, "value")
		n := int64(0)
		for _, item := range items {
			if r.equal(item, value) {
				n++
			}
		}
		return n
	},
	"index": func(r *renderer, items []any, a *arguments) any {
		value, _ := a.at(0, "value")
		for i, item := range items {
			if r.equal(item, value) {
				return int64(i)
			}
		}
		r.fail("the value is not in the list")
		return nil
	},
}
