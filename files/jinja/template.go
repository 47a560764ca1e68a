package jinja

import (
	"fmt"
	"strings"
)

// Limits of a template and of one rendering.
const (
	maxSource = 1 << 20  // bytes of a template
	maxDepth  = 1000     // nested blocks, brackets, calls
	maxSteps  = 2e6      // nodes evaluated, and KiB of text handled
	maxText   = 16 << 20 // bytes of the output, and of any text on the way
	maxItems  = 1 << 20  // elements of a list
)

// Error is what is wrong with a template or its variables.
type Error struct {
	Line    int    // of the template
	Message string // what happened
	Raised  bool   // the template itself called raise_exception with Message
}

// Error is "line 3: …", or the message of raise_exception.
func (e *Error) Error() string {
	if e.Raised {
		return e.Message
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Message)
}

// fail ends parsing or rendering; the package's functions recover it.
func fail(line int, message string, args ...any) {
	panic(&Error{Line: line, Message: fmt.Sprintf(message, args...)})
}

// caught turns what fail threw into an error.
func caught(err *error) {
	if thrown := recover(); thrown != nil {
		e, ok := thrown.(*Error)
		if !ok {
			panic(thrown)
		}
		*err = e
	}
}

// Template is a parsed template. It does not change and may be rendered by several
// goroutines at once.
type Template struct{ body []node }

// Parse reads a template. The error is an *Error.
func Parse(source string) (t *Template, err error) {
	defer caught(&err)
	if len(source) > maxSource {
		fail(1, "the template has %d bytes, more than %d", len(source), maxSource)
	}
	p := &parser{tokens: lex(source)}
	body, _ := p.block()
	return &Template{body}, nil
}

// Span is a range of bytes of the output.
type Span struct{ From, To int }

// Output is what a template wrote.
type Output struct {
	Text      string
	Generated []Span // inside generation blocks, ascending
}

// Render runs the template. Variables are nil, bool, int, int64, float64, json.Number,
// string, []any, map[string]any (whose keys are seen in order of their bytes) or *Dict,
// and are not changed. The error is an *Error.
func (t *Template) Render(variables map[string]any) (out Output, err error) {
	defer caught(&err)
	r := &renderer{generations: true, out: new(strings.Builder)}
	global := &scope{values: map[string]any{}}
	for name, f := range builtins {
		global.values[name] = f
	}
	for name, value := range variables {
		global.values[name] = r.importValue(value)
	}
	r.global = &scope{values: map[string]any{}, outer: global}
	if signal := r.run(t.body, r.global); signal != normal {
		fail(1, "break or continue outside of a loop")
	}
	return Output{r.out.String(), r.spans}, nil
}

// renderer is one rendering.
type renderer struct {
	out         *strings.Builder
	generations bool // out is the output itself, not a text on the way
	spans       []Span
	global      *scope
	steps       float64
	depth       int
	line        int
}

// scope holds variables; what is set in an inner scope ends with it.
type scope struct {
	values map[string]any
	outer  *scope
}

func (s *scope) inner() *scope { return &scope{values: map[string]any{}, outer: s} }

func (s *scope) get(name string) any {
	for ; s != nil; s = s.outer {
		if v, ok := s.values[name]; ok {
			return v
		}
	}
	return undefined{name}
}

func (r *renderer) fail(message string, args ...any) { fail(r.line, message, args...) }

// step pays for one node on a line, and for text of n bytes that it handles.
func (r *renderer) step(n int) {
	if r.steps += 1 + float64(n)/1024; r.steps > maxSteps {
		r.fail("the template takes too many steps")
	}
}

// enter pays for one more level, which the caller leaves by leave.
func (r *renderer) enter() {
	if r.depth++; r.depth > maxDepth {
		r.fail("the template nests deeper than %d levels", maxDepth)
	}
}

func (r *renderer) leave() { r.depth-- }

// text checks a text made on the way.
func (r *renderer) text(s string) string {
	r.step(len(s))
	if len(s) > maxText {
		r.fail("a text is longer than %d bytes", maxText)
	}
	return s
}

// list checks a list made on the way.
func (r *renderer) list(items []any) []any {
	r.step(16 * len(items))
	if len(items) > maxItems {
		r.fail("a list is longer than %d elements", maxItems)
	}
	return items
}

// write appends to the output.
func (r *renderer) write(s string) {
	r.step(len(s))
	if r.out.Len()+len(s) > maxText {
		r.fail("the output is longer than %d bytes", maxText)
	}
	r.out.WriteString(s)
}

// capture gives what f writes instead of writing it.
func (r *renderer) capture(f func()) string {
	out, generations := r.out, r.generations
	r.out, r.generations = new(strings.Builder), false
	f()
	written := r.out.String()
	r.out, r.generations = out, generations
	return written
}
