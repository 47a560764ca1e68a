package jinja

import (
	"math"
	"strings"
)

// expr is a piece of a template that has a value. eval is called through renderer.eval.
type expr interface {
	eval(r *renderer, s *scope) any
}

// eval gives the value of an expression and pays for it.
func (r *renderer) eval(e expr, s *scope) any {
	r.enter()
	defer r.leave()
	r.step(0)
	return e.eval(r, s)
}

type constant struct{ value any }

func (n constant) eval(*renderer, *scope) any { return n.value }

type nameNode struct {
	line int
	name string
}

func (n nameNode) eval(_ *renderer, s *scope) any { return s.get(n.name) }

// captured is the text of a block that filters work on.
type captured struct{}

// capturedName is no name that a template can write.
const capturedName = "\x00captured"

func (captured) eval(_ *renderer, s *scope) any { return s.get(capturedName) }

// evalCaptured evaluates filters on the text of their block.
func evalCaptured(e expr, written string, r *renderer, s *scope) any {
	inner := s.inner()
	inner.values[capturedName] = written
	return r.eval(e, inner)
}

type listNode struct {
	line  int
	items []expr
}

func (n listNode) eval(r *renderer, s *scope) any {
	items := make([]any, len(n.items))
	for i, e := range n.items {
		items[i] = r.eval(e, s)
	}
	return items
}

type dictNode struct {
	line         int
	keys, values []expr
}

func (n dictNode) eval(r *renderer, s *scope) any {
	d := NewDict()
	for i, key := range n.keys {
		name, ok := r.eval(key, s).(string)
		if !ok {
			r.line = n.line
			r.fail("the key of a mapping is no string")
		}
		d.Set(name, r.eval(n.values[i], s))
	}
	return d
}

type choiceNode struct {
	line                       int
	then, condition, otherwise expr
}

func (n choiceNode) eval(r *renderer, s *scope) any {
	switch {
	case truth(r.eval(n.condition, s)):
		return r.eval(n.then, s)
	case n.otherwise == nil:
		return undefined{"an if without else"}
	}
	return r.eval(n.otherwise, s)
}

// logicNode is `or` and `and`, which give one of their operands.
type logicNode struct {
	line        int
	left, right expr
	or          bool
}

func (n logicNode) eval(r *renderer, s *scope) any {
	left := r.eval(n.left, s)
	if truth(left) == n.or {
		return left
	}
	return r.eval(n.right, s)
}

type notNode struct {
	line int
	of   expr
}

func (n notNode) eval(r *renderer, s *scope) any { return !truth(r.eval(n.of, s)) }

type compareNode struct {
	line      int
	first     expr
	operators []string
	rest      []expr
}

func (n compareNode) eval(r *renderer, s *scope) any {
	left := r.eval(n.first, s)
	for i, e := range n.rest {
		right := r.eval(e, s)
		r.line = n.line
		if !r.compare(n.operators[i], left, right) {
			return false
		}
		left = right
	}
	return true
}

type signNode struct {
	line     int
	negative bool
	of       expr
}

func (n signNode) eval(r *renderer, s *scope) any {
	value := r.eval(n.of, s)
	r.line = n.line
	if n.negative {
		return r.arithmetic("-", int64(0), value)
	}
	return r.arithmetic("+", int64(0), value)
}

type binaryNode struct {
	line        int
	operator    string
	left, right expr
}

func (n binaryNode) eval(r *renderer, s *scope) any {
	left, right := r.eval(n.left, s), r.eval(n.right, s)
	r.line = n.line
	if n.operator == "~" {
		return r.text(r.str(left) + r.str(right))
	}
	switch left := left.(type) {
	case string:
		right, ok := right.(string)
		if n.operator == "+" && ok {
			return r.text(left + right)
		}
	case []any:
		right, ok := right.([]any)
		if n.operator == "+" && ok {
			return r.list(append(append(make([]any, 0, len(left)+len(right)), left...), right...))
		}
	}
	if n.operator == "*" {
		if repeated, ok := r.repeat(left, right); ok {
			return repeated
		}
	}
	return r.arithmetic(n.operator, left, right)
}

// repeat multiplies a text or list by a number, on either side.
func (r *renderer) repeat(left, right any) (any, bool) {
	times, ok := left.(int64)
	if ok {
		left = right
	} else if times, ok = right.(int64); !ok {
		return nil, false
	}
	times = max(0, min(times, maxText+1))
	switch value := left.(type) {
	case string:
		if int64(len(value))*times > maxText {
			r.fail("a text is longer than %d bytes", maxText)
		}
		return r.text(strings.Repeat(value, int(times))), true
	case []any:
		if int64(len(value))*times > maxItems {
			r.fail("a list is longer than %d elements", maxItems)
		}
		var all []any
		for range times {
			all = append(all, value...)
		}
		return r.list(all), true
	}
	return nil, false
}

// arithmetic computes with numbers as Python does; whole numbers that leave 64 bits are an
// error.
func (r *renderer) arithmetic(operator string, left, right any) any {
	a, leftWhole := whole(left)
	b, rightWhole := whole(right)
	if leftWhole && rightWhole && operator != "/" && (operator != "**" || b >= 0) {
		return r.wholeArithmetic(operator, a, b)
	}
	x, okX := number64(left)
	y, okY := number64(right)
	if !okX || !okY {
		r.fail("%s %s %s cannot be computed", typeName(left), operator, typeName(right))
	}
	switch operator {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "**":
		return math.Pow(x, y)
	}
	if y == 0 {
		r.fail("division by zero")
	}
	switch operator {
	case "/":
		return x / y
	case "//":
		return math.Floor(x / y)
	}
	return x - y*math.Floor(x/y)
}

func (r *renderer) wholeArithmetic(operator string, a, b int64) any {
	exact := func(value int64, fits bool) any {
		if !fits {
			r.fail("a number leaves 64 bits")
		}
		return value
	}
	switch operator {
	case "+":
		return exact(a+b, (a+b > a) == (b > 0))
	case "-":
		return exact(a-b, (a-b < a) == (b > 0))
	case "*":
		product := a * b
		return exact(product, a == 0 || product/a == b && !(a == -1 && b == math.MinInt64))
	case "**":
		power := math.Pow(float64(a), float64(b))
		if math.Abs(power) >= 1<<53 {
			r.fail("a number leaves 53 bits")
		}
		return int64(power)
	}
	if b == 0 {
		r.fail("division by zero")
	}
	quotient, rest := a/b, a%b
	if rest != 0 && (rest < 0) != (b < 0) {
		quotient, rest = quotient-1, rest+b
	}
	if operator == "//" {
		return quotient
	}
	return rest
}

type attributeNode struct {
	line int
	of   expr
	name string
}

func (n attributeNode) eval(r *renderer, s *scope) any {
	value := r.eval(n.of, s)
	r.line = n.line
	return r.attribute(value, n.name)
}

// attribute is value.name: a member of a mapping, or a method. A method wins over a member
// of its name, as in Jinja.
func (r *renderer) attribute(value any, name string) any {
	switch v := value.(type) {
	case undefined:
		r.fail("%s is not defined, so it has no %s", v.name, name)
	case *loop:
		return v.attribute(r, name)
	case *namespace:
		if member, ok := v.values[name]; ok {
			return member
		}
	case *Dict:
		if method := dictMethods[name]; method != nil {
			return function(func(r *renderer, a *arguments) any { return method(r, v, a) })
		}
		if member, ok := v.Get(name); ok {
			return member
		}
	case string:
		if method := stringMethods[name]; method != nil {
			return function(func(r *renderer, a *arguments) any { return method(r, v, a) })
		}
	case []any:
		if method := listMethods[name]; method != nil {
			return function(func(r *renderer, a *arguments) any { return method(r, v, a) })
		}
	}
	return undefined{name}
}

type indexNode struct {
	line  int
	of    expr
	index expr
}

func (n indexNode) eval(r *renderer, s *scope) any {
	value, index := r.eval(n.of, s), r.eval(n.index, s)
	r.line = n.line
	return r.index(value, index)
}

// index is value[index]: a member of a mapping first, then an attribute.
func (r *renderer) index(value, index any) any {
	if i, ok := whole(index); ok {
		switch v := value.(type) {
		case []any:
			if i < 0 {
				i += int64(len(v))
			}
			if i >= 0 && i < int64(len(v)) {
				return v[i]
			}
			return undefined{"an element past the end of a list"}
		case string:
			letters := []rune(r.text(v))
			if i < 0 {
				i += int64(len(letters))
			}
			if i >= 0 && i < int64(len(letters)) {
				return string(letters[i])
			}
			return undefined{"a character past the end of a text"}
		}
	}
	name, ok := index.(string)
	if d, isDict := value.(*Dict); isDict && ok {
		if member, found := d.Get(name); found {
			return member
		}
	}
	if u, not := value.(undefined); not {
		r.fail("%s is not defined, so it has no element", u.name)
	}
	if ok {
		return r.attribute(value, name)
	}
	return undefined{"an element"}
}

type sliceNode struct {
	line  int
	of    expr
	parts [3]expr
}

func (n sliceNode) eval(r *renderer, s *scope) any {
	value := r.eval(n.of, s)
	var parts [3]any
	for i, e := range n.parts {
		if e != nil {
			parts[i] = r.eval(e, s)
		}
	}
	r.line = n.line
	switch v := value.(type) {
	case string:
		letters := []rune(r.text(v))
		return string(sliced(r, letters, parts))
	case []any:
		return r.list(sliced(r, v, parts))
	}
	r.fail("%s cannot be sliced", typeName(value))
	return nil
}

// sliced is Python's items[from:to:step].
func sliced[T any](r *renderer, items []T, parts [3]any) []T {
	n := int64(len(items))
	part := func(i int, absent int64) int64 {
		if parts[i] == nil {
			return absent
		}
		at, ok := whole(parts[i])
		if !ok {
			r.fail("%s is no place in a list", typeName(parts[i]))
		}
		return at
	}
	step := part(2, 1)
	if step == 0 {
		r.fail("the step of a slice is zero")
	}
	low, high := int64(0), n
	if step < 0 {
		low, high = -1, n-1
	}
	bound := func(i int, absent int64) int64 {
		at := part(i, absent)
		if parts[i] != nil && at < 0 {
			at += n
		}
		return max(low, min(high, at))
	}
	first, last := bound(0, low), bound(1, high)
	if step < 0 {
		first, last = bound(0, high), bound(1, low)
	}
	step = max(-n-1, min(n+1, step))
	var out []T
	for at := first; step > 0 && at < last || step < 0 && at > last; at += step {
		out = append(out, items[at])
	}
	return out
}

type callNode struct {
	line      int
	of        expr
	arguments []expr
	named     []parameter
}

func (n callNode) eval(r *renderer, s *scope) any {
	callee := r.eval(n.of, s)
	a := n.values(r, s)
	r.line = n.line
	switch f := callee.(type) {
	case function:
		result := f(r, a)
		return result
	case undefined:
		r.fail("%s is not defined, so it cannot be called", f.name)
	}
	r.fail("%s cannot be called", typeName(callee))
	return nil
}

// values evaluates the arguments.
func (n callNode) values(r *renderer, s *scope) *arguments {
	a := &arguments{}
	for _, e := range n.arguments {
		a.list = append(a.list, r.eval(e, s))
	}
	for _, p := range n.named {
		a.named = append(a.named, namedValue{p.name, r.eval(p.value, s)})
	}
	return a
}

type filterNode struct {
	line int
	name string
	of   expr
	call callNode
}

func (n filterNode) eval(r *renderer, s *scope) any {
	value := r.eval(n.of, s)
	a := n.call.values(r, s)
	r.line = n.line
	return filters[n.name](r, value, a)
}

type testNode struct {
	line    int
	name    string
	of      expr
	call    callNode
	negated bool
}

func (n testNode) eval(r *renderer, s *scope) any {
	value := r.eval(n.of, s)
	a := n.call.values(r, s)
	r.line = n.line
	return tests[n.name](r, value, a) != n.negated
}
