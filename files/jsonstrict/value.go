package jsonstrict

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Value is a JSON value in memory; the zero Value is null. Values are not changed after
// they are made and may be shared.
type Value struct {
	kind    Kind
	text    string // String: what it stands for; Number: as written; Bool: true or false
	members []Member
}

// Member is a member of an object, or an element of a list, whose Key is empty.
type Member struct {
	Key   string
	Value Value
}

// Text makes a string of valid UTF-8.
func Text(s string) Value { return Value{kind: String, text: s} }

// Integer makes a number without fraction.
func Integer(i int64) Value { return Value{kind: Number, text: strconv.FormatInt(i, 10)} }

// Float makes a number of a finite float, written as Python writes one.
func Float(f float64) Value { return Value{kind: Number, text: FloatText(f)} }

// Boolean makes true or false.
func Boolean(b bool) Value { return Value{kind: Bool, text: strconv.FormatBool(b)} }

// List makes a list.
func List(elements ...Value) Value {
	v := Value{kind: Array}
	for _, e := range elements {
		v.members = append(v.members, Member{Value: e})
	}
	return v
}

// Map makes an object of members whose keys differ.
func Map(members ...Member) Value { return Value{kind: Object, members: members} }

// Parse reads one JSON text whole. The error is a *SyntaxError.
func Parse(data []byte, limits Limits) (Value, error) {
	d, err := NewDecoder(data, limits)
	if err != nil {
		return Value{}, err
	}
	left := d.limits.Values
	v, err := d.value(&left)
	if err != nil {
		return Value{}, err
	}
	return v, d.End()
}

// value reads a value; left is how many more may be kept.
func (d *Decoder) value(left *int) (v Value, err error) {
	if *left--; *left < 0 {
		return v, d.Errorf("more than %d values", d.limits.Values)
	}
	if v.kind, err = d.Kind(); err != nil {
		return v, err
	}
	keep := func(key string) error {
		element, err := d.value(left)
		v.members = append(v.members, Member{key, element})
		return err
	}
	switch v.kind {
	case Object:
		err = d.Object(keep)
	case Array:
		err = d.Array(func() error { return keep("") })
	case String:
		v.text, err = d.String()
	case Number:
		v.text, err = d.Number()
	case Bool:
		var b bool
		b, err = d.Bool()
		v.text = strconv.FormatBool(b)
	case Null:
		err = d.Null()
	}
	return v, err
}

// Kind is the value's kind.
func (v Value) Kind() Kind { return v.kind }

// Members are the members of an object in file order; elements of a list have no Key.
func (v Value) Members() []Member { return v.members }

// Get finds a member by its exact key.
func (v Value) Get(key string) (Value, bool) {
	for _, m := range v.members {
		if v.kind == Object && m.Key == key {
			return m.Value, true
		}
	}
	return Value{}, false
}

// With is the object with the member set, in its old place or at the end.
func (v Value) With(key string, value Value) Value {
	members := slices.Clone(v.members)
	for i := range members {
		if members[i].Key == key {
			members[i].Value = value
			return Map(members...)
		}
	}
	return Map(append(members, Member{key, value})...)
}

// AsString is the text of a string.
func (v Value) AsString() (string, bool) { return v.text, v.kind == String }

// AsBool is the truth of a boolean.
func (v Value) AsBool() (value, ok bool) { return v.text == "true", v.kind == Bool }

// AsInt is a number written as an integer that fits in 64 bits.
func (v Value) AsInt() (int64, bool) {
	i, err := strconv.ParseInt(v.text, 10, 64)
	return i, v.kind == Number && err == nil && v.text != "-0"
}

// AsFloat is a number that fits in a float64.
func (v Value) AsFloat() (float64, bool) {
	f, err := strconv.ParseFloat(v.text, 64)
	return f, v.kind == Number && err == nil && !math.IsInf(f, 0)
}

// Found describes the value in a sentence: short values as written, others by kind.
func (v Value) Found() string {
	switch v.kind {
	case Number, Bool:
		return clip(v.text)
	case String:
		return strconv.Quote(clip(v.text))
	}
	return v.kind.String()
}

// clip shortens a text to 60 bytes or so.
func clip(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:60], "") + "…"
}

// Marshal writes a value as Python's json.dumps(indent=2, sort_keys=True): ASCII, keys
// sorted, numbers as they were written. It does not end the last line.
func Marshal(v Value) []byte { return v.append(nil, "\n") }

func (v Value) append(out []byte, newline string) []byte {
	switch v.kind {
	case Null:
		return append(out, "null"...)
	case Bool, Number:
		return append(out, v.text...)
	case String:
		return AppendString(out, v.text)
	}
	members, brackets := v.members, "[]"
	if v.kind == Object {
		brackets = "{}"
		members = slices.SortedFunc(slices.Values(members), func(a, b Member) int { return strings.Compare(a.Key, b.Key) })
	}
	if len(members) == 0 {
		return append(out, brackets...)
	}
	out = append(out, brackets[0])
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, newline+"  "...)
		if v.kind == Object {
			out = append(AppendString(out, m.Key), ": "...)
		}
		out = m.Value.append(out, newline+"  ")
	}
	return append(append(out, newline...), brackets[1])
}
