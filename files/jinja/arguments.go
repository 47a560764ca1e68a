package jinja

// arguments are those of one call. Whoever takes one marks it as taken, so that done can
// refuse what is left.
type arguments struct {
	list  []any
	named []namedValue
	taken int // named ones
}

type namedValue struct {
	name  string
	value any
}

// take is the argument of a name.
func (a *arguments) take(name string) (any, bool) {
	for i := range a.named {
		if a.named[i].name == name {
			value := a.named[i].value
			a.named[i].name = ""
			a.taken++
			return value, true
		}
	}
	return nil, false
}

// at is the argument at a place, or of a name.
func (a *arguments) at(i int, name string) (any, bool) {
	if i < len(a.list) {
		return a.list[i], true
	}
	return a.take(name)
}

// done refuses arguments beyond the first n and names that nobody took.
func (a *arguments) done(r *renderer, callee string, n int) {
	if len(a.list) > n {
		r.fail("%s takes at most %d arguments", callee, n)
	}
	if a.taken < len(a.named) {
		for _, left := range a.named {
			if left.name != "" {
				r.fail("%s takes no argument %q", callee, left.name)
			}
		}
	}
}

// text is an argument that must be a text.
func (a *arguments) text(r *renderer, i int, name, absent string) string {
	value, ok := a.at(i, name)
	if !ok {
		return absent
	}
	s, ok := value.(string)
	if !ok {
		r.fail("the argument %s is %s, expected a text", name, typeName(value))
	}
	return s
}

// whole is an argument that must be a whole number.
func (a *arguments) whole(r *renderer, i int, name string, absent int64) int64 {
	value, ok := a.at(i, name)
	if !ok || value == nil {
		return absent
	}
	n, ok := whole(value)
	if !ok {
		r.fail("the argument %s is %s, expected a whole number", name, typeName(value))
	}
	return n
}

// flag is an argument that counts as true or false.
func (a *arguments) flag(i int, name string) bool {
	value, _ := a.at(i, name)
	return truth(value)
}
