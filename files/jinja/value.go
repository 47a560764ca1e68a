package jinja

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The values of a template: undefined, nil (none), bool, int64, float64, string, []any
// (lists and tuples), *Dict, and what only templates make: *namespace, *loop, function.

// undefined is what a name stands for that nothing was set to.
type undefined struct{ name string }

// namespace holds variables that inner scopes may set.
type namespace struct{ values map[string]any }

// function can be called.
type function func(r *renderer, a *arguments) any

// Dict is a mapping that keeps the order of its keys.
type Dict struct {
	keys   []string
	values map[string]any
}

// NewDict makes an empty mapping.
func NewDict() *Dict { return &Dict{values: map[string]any{}} }

// Set sets a member; a new one comes last.
func (d *Dict) Set(key string, value any) {
	if _, known := d.values[key]; !known {
		d.keys = append(d.keys, key)
	}
	d.values[key] = value
}

// Get is a member, and whether there is one.
func (d *Dict) Get(key string) (any, bool) {
	value, ok := d.values[key]
	return value, ok
}

// pairs are the members as lists of key and value.
func (d *Dict) pairs() []any {
	var all []any
	for _, key := range d.keys {
		all = append(all, []any{key, d.values[key]})
	}
	return all
}

// importValue turns a value from outside into one of a template's, without sharing.
func (r *renderer) importValue(value any) any {
	r.enter()
	defer r.leave()
	r.step(0)
	switch v := value.(type) {
	case nil, bool, int64, float64, string:
		return v
	case int:
		return int64(v)
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = r.importValue(v[i])
		}
		return out
	case map[string]any:
		var keys []string
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		d := NewDict()
		for _, key := range keys {
			d.Set(key, r.importValue(v[key]))
		}
		return d
	case *Dict:
		d := NewDict()
		for _, key := range v.keys {
			d.Set(key, r.importValue(v.values[key]))
		}
		return d
	}
	r.fail("a variable has a type that templates do not know")
	return nil
}

// truth is Python's: empty, zero, none and undefined are false.
func truth(value any) bool {
	switch v := value.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

// typeName names a value's type for a sentence.
func typeName(value any) string {
	switch v := value.(type) {
	case undefined:
		return "the undefined " + v.name
	case nil:
		return "none"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "a text"
	case []any:
		return "a list"
	case *Dict:
		return "a mapping"
	}
	return "a function"
}

// whole is the value of an integer or boolean.
func whole(value any) (int64, bool) {
	switch v := value.(type) {
	case int64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// number64 is the value of a number or boolean.
func number64(value any) (float64, bool) {
	if f, ok := value.(float64); ok {
		return f, true
	}
	i, ok := whole(value)
	return float64(i), ok
}

// iterate gives the elements that a loop over value sees.
func (r *renderer) iterate(value any) []any {
	switch v := value.(type) {
	case undefined:
		return nil
	case []any:
		return v
	case *Dict:
		items := make([]any, len(v.keys))
		for i, key := range v.keys {
			items[i] = key
		}
		return items
	case string:
		r.step(16 * len(v))
		var items []any
		for _, letter := range v {
			items = append(items, string(letter))
		}
		return r.list(items)
	}
	r.fail("%s has no elements", typeName(value))
	return nil
}

// compare is one step of a comparison.
func (r *renderer) compare(operator string, left, right any) bool {
	switch operator {
	case "==":
		return r.equal(left, right)
	case "!=":
		return !r.equal(left, right)
	case "in":
		return r.contains(right, left)
	case "not in":
		return !r.contains(right, left)
	}
	order := r.order(left, right)
	switch operator {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

func (r *renderer) equal(left, right any) bool {
	r.enter()
	defer r.leave()
	r.step(0)
	if a, ok := whole(left); ok {
		if b, ok := whole(right); ok {
			return a == b
		}
	}
	if a, ok := number64(left); ok {
		b, ok := number64(right)
		return ok && a == b
	}
	switch a := left.(type) {
	case undefined:
		_, ok := right.(undefined)
		return ok
	case nil:
		return right == nil
	case string:
		b, ok := right.(string)
		return ok && a == b
	case []any:
		b, ok := right.([]any)
		return ok && slices.EqualFunc(a, b, r.equal)
	case *Dict:
		b, ok := right.(*Dict)
		if !ok || len(a.keys) != len(b.keys) {
			return false
		}
		for _, key := range a.keys {
			other, ok := b.values[key]
			if !ok || !r.equal(a.values[key], other) {
				return false
			}
		}
		return true
	}
	return false
}

// order is negative where left comes first; only numbers, texts and lists have an order.
func (r *renderer) order(left, right any) int {
	r.step(0)
	if a, ok := number64(left); ok {
		if b, ok := number64(right); ok {
			switch {
			case a < b:
				return -1
			case a > b:
				return 1
			}
			return 0
		}
	}
	a, okA := left.(string)
	b, okB := right.(string)
	if okA && okB {
		return strings.Compare(a, b)
	}
	x, okX := left.([]any)
	y, okY := right.([]any)
	if okX && okY {
		r.enter()
		defer r.leave()
		return slices.CompareFunc(x, y, r.order)
	}
	r.fail("%s and %s cannot be compared", typeName(left), typeName(right))
	return 0
}

func (r *renderer) contains(whole, part any) bool {
	switch v := whole.(type) {
	case string:
		needle, ok := part.(string)
		if !ok {
			r.fail("%s cannot be in a text", typeName(part))
		}
		r.step(len(v))
		return strings.Contains(v, needle)
	case *Dict:
		key, ok := part.(string)
		_, known := v.values[key]
		return ok && known
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return r.equal(item, part) })
	case undefined:
		return false
	}
	r.fail("%s has no elements", typeName(whole))
	return false
}

// str is the text of a value as Python's str writes it.
func (r *renderer) str(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case undefined:
		return ""
	}
	var b strings.Builder
	r.repr(&b, value)
	return b.String()
}

// repr writes a value as Python's repr does.
func (r *renderer) repr(b *strings.Builder, value any) {
	r.enter()
	defer r.leave()
	r.step(0)
	switch v := value.(type) {
	case nil:
		b.WriteString("None")
	case undefined:
		b.WriteString("Undefined")
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[v])
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		b.WriteString(floatText(v))
	case string:
		r.step(len(v))
		b.WriteString(quoted(v))
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			r.repr(b, item)
		}
		b.WriteByte(']')
	case *Dict:
		b.WriteByte('{')
		for i, key := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(quoted(key) + ": ")
			r.repr(b, v.values[key])
		}
		b.WriteByte('}')
	default:
		r.fail("%s has no text", typeName(value))
	}
	if b.Len() > maxText {
		r.fail("a text is longer than %d bytes", maxText)
	}
}

// floatText is a float as Python writes it.
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if size := math.Abs(f); f != 0 && (size < 1e-4 || size >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quoted is a text between quotes as Python writes it.
func quoted(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, "\"") {
		quote = "\""
	}
	s = strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\t", "\\t", "\r", "\\r", quote, "\\"+quote).Replace(s)
	return quote + s + quote
}
