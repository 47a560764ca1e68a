package jsonstrict

import (
	"fmt"

	"trainer/fault"
)

// Fields reads the members of an object by name, type and range. The first thing wrong is
// kept and reported by Err as a *fault.Error of kind Files naming file and field; what is
// read after that is worthless. null counts as absent. It is for one goroutine.
type Fields struct {
	file, prefix string
	object       Value
	err          *error
}

// ParseFields reads the text of a file whose value is an object.
func ParseFields(file string, data []byte, limits Limits) (*Fields, error) {
	v, err := Parse(data, limits)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Files, Where: file, Err: err, Remedy: "correct the file"}
	}
	if v.Kind() != Object {
		return nil, &fault.Error{Kind: fault.Files, Where: file, Found: v.Found(), Want: "an object", Remedy: "correct the file"}
	}
	return &Fields{file: file, object: v, err: new(error)}, nil
}

// Err is the first thing that was wrong.
func (f *Fields) Err() error { return *f.err }

// Value is the whole object.
func (f *Fields) Value() Value { return f.object }

// Refuse reports a field, unless something was reported before.
func (f *Fields) Refuse(name, found, want, remedy string) {
	if *f.err == nil {
		*f.err = &fault.Error{Kind: fault.Files, Where: f.file, Field: "field " + f.prefix + name, Found: found, Want: want, Remedy: remedy}
	}
}

func (f *Fields) refuseValue(name string, v Value, want string) {
	f.Refuse(name, v.Found(), want, "correct the file")
}

// Get finds a member that is not null.
func (f *Fields) Get(name string) (Value, bool) {
	v, ok := f.object.Get(name)
	return v, ok && v.Kind() != Null
}

// Require refuses the file where one of the members is absent.
func (f *Fields) Require(names ...string) {
	for _, name := range names {
		if _, ok := f.Get(name); !ok {
			f.Refuse(name, "nothing", "a value", "add the field")
		}
	}
}

// Int is an integer from low to high, or absent where there is none.
func (f *Fields) Int(name string, absent, low, high int64) int64 {
	v, ok := f.Get(name)
	if !ok {
		return absent
	}
	i, ok := v.AsInt()
	if !ok || i < low || i > high {
		f.refuseValue(name, v, fmt.Sprintf("an integer from %d to %d", low, high))
		return absent
	}
	return i
}

// Float is a number from low to high, or absent where there is none.
func (f *Fields) Float(name string, absent, low, high float64) float64 {
	v, ok := f.Get(name)
	if !ok {
		return absent
	}
	x, ok := v.AsFloat()
	if !ok || x < low || x > high {
		f.refuseValue(name, v, fmt.Sprintf("a number from %g to %g", low, high))
		return absent
	}
	return x
}

// Bool is true or false, or absent where there is neither.
func (f *Fields) Bool(name string, absent bool) bool {
	v, ok := f.Get(name)
	if !ok {
		return absent
	}
	b, ok := v.AsBool()
	if !ok {
		f.refuseValue(name, v, "true or false")
	}
	return b
}

// String is a string, or absent where there is none.
func (f *Fields) String(name, absent string) string {
	v, ok := f.Get(name)
	if !ok {
		return absent
	}
	s, ok := v.AsString()
	if !ok {
		f.refuseValue(name, v, "a string")
	}
	return s
}

// Strings is a list of strings, nil where there is none.
func (f *Fields) Strings(name string) []string {
	var out []string
	v, ok := f.Get(name)
	if !ok {
		return nil
	}
	if v.Kind() != Array {
		f.refuseValue(name, v, "a list of strings")
	}
	for _, m := range v.Members() {
		s, ok := m.Value.AsString()
		if !ok {
			f.refuseValue(name, m.Value, "a list of strings")
		}
		out = append(out, s)
	}
	return out
}

// Object is the fields of a member that is an object, nil where there is none. Its errors
// are reported here too.
func (f *Fields) Object(name string) *Fields {
	v, ok := f.Get(name)
	if !ok {
		return nil
	}
	if v.Kind() != Object {
		f.refuseValue(name, v, "an object")
	}
	return &Fields{f.file, f.prefix + name + ".", v, f.err}
}
