package jinja

import "strings"

// test is what stands behind `is`.
type test func(r *renderer, value any, a *arguments) bool

// takesArgument are the tests whose argument may follow without brackets.
var takesArgument = map[string]bool{
	"divisibleby": true, "eq": true, "equalto": true, "sameas": true, "ne": true, "in": true,
	"lt": true, "le": true, "gt": true, "ge": true, "lessthan": true, "greaterthan": true,
}

// kindTest tests the kind of a value alone.
func kindTest(is func(value any) bool) test {
	return func(_ *renderer, value any, _ *arguments) bool { return is(value) }
}

// comparing tests a value by a comparison with the argument.
func comparing(operator string) test {
	return func(r *renderer, value any, a *arguments) bool {
		other, ok := a.at(0, "other")
		if !ok {
			r.fail("the test needs a value to compare with")
		}
		return r.compare(operator, value, other)
	}
}

// is tells whether a value has a Go type.
func is[T any](value any) bool { _, ok := value.(T); return ok }

func isNumber(value any) bool { return is[int64](value) || is[float64](value) || is[bool](value) }

func isSequence(value any) bool { return is[string](value) || is[[]any](value) || is[*Dict](value) }

var tests map[string]test

func init() {
	tests = map[string]test{
		"defined":   kindTest(func(v any) bool { return !is[undefined](v) }),
		"undefined": kindTest(is[undefined]),
		"none":      kindTest(func(v any) bool { return v == nil }),
		"None":      kindTest(func(v any) bool { return v == nil }),
		"string":    kindTest(is[string]),
		"boolean":   kindTest(is[bool]),
		"number":    kindTest(isNumber),
		"integer":   kindTest(is[int64]),
		"float":     kindTest(is[float64]),
		"mapping":   kindTest(is[*Dict]),
		"sequence":  kindTest(isSequence),
		"iterable":  kindTest(func(v any) bool { return isSequence(v) || is[undefined](v) }),
		"callable":  kindTest(is[function]),
		"true":      kindTest(func(v any) bool { return v == true }),
		"false":     kindTest(func(v any) bool { return v == false }),
		"lower": func(r *renderer, v any, _ *arguments) bool {
			s := r.str(v)
			return s == strings.ToLower(s) && s != strings.ToUpper(s)
		},
		"upper": func(r *renderer, v any, _ *arguments) bool {
			s := r.str(v)
			return s == strings.ToUpper(s) && s != strings.ToLower(s)
		},
		"even": func(r *renderer, v any, _ *arguments) bool {
			return r.equal(r.arithmetic("%", v, int64(2)), int64(0))
		},
		"odd": func(r *renderer, v any, _ *arguments) bool {
			return r.equal(r.arithmetic("%", v, int64(2)), int64(1))
		},
		"divisibleby": func(r *renderer, v any, a *arguments) bool {
			return r.equal(r.arithmetic("%", v, a.whole(r, 0, "num", 0)), int64(0))
		},
		"in": comparing("in"),
		"==": comparing("=="), "eq": comparing("=="), "equalto": comparing("=="), "sameas": comparing("=="),
		"!=": comparing("!="), "ne": comparing("!="),
		"<": comparing("<"), "lt": comparing("<"), "lessthan": comparing("<"),
		"<=": comparing("<="), "le": comparing("<="),
		">": comparing(">"), "gt": comparing(">"), "greaterthan": comparing(">"),
		">=": comparing(">="), "ge": comparing(">="),
	}
}
