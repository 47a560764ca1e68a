package plugin

import (
	"fmt"
	"reflect"
	"unicode/utf8"

	"trainer/core/abi"
)

// Caller calls a backend's functions with whatever it is given, right or wrong, and tells
// what they answer: for those who ask wrong questions on purpose. Values whose address it
// took stay where they are until Release. Not for concurrent use.
type Caller struct {
	backend *Backend
	pins    *pinned
}

// Caller makes a caller. Release it.
func (b *Backend) Caller() *Caller { return &Caller{b, newPinned()} }

// Release lets go of everything whose address was taken.
func (c *Caller) Release() { c.pins.release() }

// Address pins what a pointer points to, or the elements of a slice, and says where it
// lies; 0 for nil and for an empty slice.
func (c *Caller) Address(v any) uintptr {
	at := reflect.ValueOf(v)
	switch {
	case !at.IsValid():
		return 0
	case at.Kind() == reflect.Slice && at.Len() == 0, at.Kind() == reflect.Pointer && at.IsNil():
		return 0
	case at.Kind() == reflect.Slice:
		at = at.Index(0).Addr()
	}
	c.pins.Pin(at.Interface())
	return at.Pointer()
}

// Answer is what a call gave back.
type Answer struct {
	Status abi.Status
	Error  abi.Error // as the backend left it
	Broken string    // what is wrong with the error struct itself; empty = nothing
}

// Text is the sentence of the answer.
func (a Answer) Text() string { return text(a.Error.Text[:]) }

// Call calls the function that the header's table names so; arguments are integers,
// pointers, slices or nil. The error struct is added behind them.
func (c *Caller) Call(name string, args ...any) Answer {
	given := newGuarded(abi.Error{StructSize: structSize[abi.Error](), RecordIndex: noRecord})
	status := c.CallWith(name, given, args...)
	a := Answer{Status: status, Error: given.value}
	if given.behind != untouched {
		a.Broken = "it writes beyond the end of trainer_error"
	} else if status != abi.StatusOK {
		a.Broken = brokenError(status, &given.value)
	}
	return a
}

// CallWith is Call with an error struct of the caller's own, or nil.
func (c *Caller) CallWith(name string, e any, args ...any) abi.Status {
	words := make([]uintptr, 0, len(args)+1)
	for _, arg := range append(args, e) {
		words = append(words, c.word(arg))
	}
	return invoke(c.entry(name), nil, words...)
}

// Query asks trainer_backend_query_v1 once more.
func (c *Caller) Query(host, reply any) abi.Status {
	return invoke(c.backend.query, nil, c.word(host), c.word(reply))
}

// brokenError says what the error struct of a failed call lacks.
func brokenError(status abi.Status, e *abi.Error) string {
	end := len(e.Text)
	for i, b := range e.Text {
		if b == 0 {
			end = i
			break
		}
	}
	switch {
	case e.StructSize != structSize[abi.Error]():
		return fmt.Sprintf("it changed struct_size of trainer_error to %d", e.StructSize)
	case e.Status != int32(status):
		return fmt.Sprintf("it returned status %d and wrote status %d to trainer_error", status, e.Status)
	case end == len(e.Text):
		return "the text of trainer_error has no end"
	case end == 0:
		return "the text of trainer_error is empty"
	case !utf8.Valid(e.Text[:end]):
		return "the text of trainer_error is not UTF-8"
	}
	return ""
}

// word is an argument as it crosses the border.
func (c *Caller) word(arg any) uintptr {
	v := reflect.ValueOf(arg)
	switch {
	case !v.IsValid():
		return 0
	case v.CanUint():
		return uintptr(v.Uint())
	case v.CanInt():
		return uintptr(v.Int())
	}
	return c.Address(arg)
}

// Has reports whether the table has a function of a name.
func (b *Backend) Has(name string) bool {
	fn, ok := b.lookup(name)
	return ok && fn != 0
}

func (b *Backend) lookup(name string) (fn uintptr, ok bool) {
	v := reflect.ValueOf(&b.table).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Type.Kind() == reflect.Uintptr && snakeCase(f.Name) == name {
			return uintptr(v.Field(i).Uint()), true
		}
	}
	return 0, false
}

func (c *Caller) entry(name string) uintptr {
	fn, ok := c.backend.lookup(name)
	if !ok || fn == 0 {
		panic("the table has no function " + name)
	}
	return fn
}

// HostBytes views n bytes at a pointer that a backend gave for staging memory.
func HostBytes(pointer uintptr, n uint64) []byte { return hostBytes(pointer, n) }

// Watch takes down what a backend must leave alone of this process and thread. What it
// returns names the first thing that has changed since. Only a child process that tries a
// backend may watch: for a moment the umask is another.
func Watch() (changed func(when string) error) { return observe().compare }
