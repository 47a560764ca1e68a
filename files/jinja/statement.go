package jinja

// node is a piece of a template that writes.
type node interface {
	run(r *renderer, s *scope) signal
}

// signal says how a node ended.
type signal int

const (
	normal signal = iota
	broken
	continued
)

// run runs nodes one after the other.
func (r *renderer) run(nodes []node, s *scope) signal {
	r.enter()
	defer r.leave()
	for _, n := range nodes {
		if signal := n.run(r, s); signal != normal {
			return signal
		}
	}
	return normal
}

type textNode struct{ text string }

func (n textNode) run(r *renderer, _ *scope) signal {
	r.write(n.text)
	return normal
}

type printNode struct {
	line  int
	value expr
}

func (n printNode) run(r *renderer, s *scope) signal {
	r.line = n.line
	r.write(r.str(r.eval(n.value, s)))
	return normal
}

// printBlock is a filter block.
type printBlock struct {
	line  int
	value expr // filters on a captured text
	body  []node
}

func (n printBlock) run(r *renderer, s *scope) signal {
	written := r.capture(func() { r.run(n.body, s.inner()) })
	r.line = n.line
	r.write(r.str(evalCaptured(n.value, written, r, s)))
	return normal
}

type doNode struct {
	line  int
	value expr
}

func (n doNode) run(r *renderer, s *scope) signal {
	r.line = n.line
	r.eval(n.value, s)
	return normal
}

type jumpNode signal

func (n jumpNode) run(*renderer, *scope) signal { return signal(n) }

// generationNode marks what the model is to write.
type generationNode struct{ body []node }

func (n generationNode) run(r *renderer, s *scope) signal {
	from := r.out.Len()
	signal := r.run(n.body, s)
	if r.generations && r.out.Len() > from {
		r.spans = append(r.spans, Span{from, r.out.Len()})
	}
	return signal
}

type ifNode struct {
	line            int
	condition       expr
	then, otherwise []node
}

func (n ifNode) run(r *renderer, s *scope) signal {
	r.line = n.line
	if truth(r.eval(n.condition, s)) {
		return r.run(n.then, s)
	}
	return r.run(n.otherwise, s)
}

type setNode struct {
	line      int
	targets   []string
	attribute string // of a namespace
	value     expr
	body      []node // of a set block, whose text value filters
}

func (n setNode) run(r *renderer, s *scope) signal {
	r.line = n.line
	var value any
	if n.body == nil {
		value = r.eval(n.value, s)
	} else {
		written := r.capture(func() { r.run(n.body, s.inner()) })
		value = evalCaptured(n.value, written, r, s)
	}
	if n.attribute == "" {
		r.assign(n.targets, value, s)
		return normal
	}
	space, ok := s.get(n.targets[0]).(*namespace)
	if !ok {
		r.fail("%s is no namespace", n.targets[0])
	}
	space.values[n.attribute] = value
	return normal
}

// assign sets names, several to the elements of a list.
func (r *renderer) assign(names []string, value any, s *scope) {
	if len(names) == 1 {
		s.values[names[0]] = value
		return
	}
	items := r.iterate(value)
	if len(items) != len(names) {
		r.fail("%d values for %d names", len(items), len(names))
	}
	for i, name := range names {
		s.values[name] = items[i]
	}
}

// roundCost is what a round of a loop costs beside what is in it, as bytes of text.
const roundCost = 2048

type forNode struct {
	line            int
	targets         []string
	over, filter    expr
	body, otherwise []node
}

func (n forNode) run(r *renderer, s *scope) signal {
	r.line = n.line
	items := r.iterate(r.eval(n.over, s))
	if n.filter != nil {
		items = n.filtered(items, r, s)
	}
	if len(items) == 0 {
		return r.run(n.otherwise, s)
	}
	l := &loop{items: items}
	for l.at = range items {
		inner := s.inner()
		r.line = n.line
		r.step(roundCost)
		r.assign(n.targets, items[l.at], inner)
		inner.values["loop"] = l
		if r.run(n.body, inner) == broken {
			break
		}
	}
	return normal
}

func (n forNode) filtered(items []any, r *renderer, s *scope) []any {
	var kept []any
	for _, item := range items {
		inner := s.inner()
		r.assign(n.targets, item, inner)
		if truth(r.eval(n.filter, inner)) {
			kept = append(kept, item)
		}
	}
	return kept
}

// loop is the variable of that name.
type loop struct {
	items []any
	at    int
}

func (l *loop) attribute(r *renderer, name string) any {
	near := func(i int) any {
		if i < 0 || i >= len(l.items) {
			return undefined{"loop." + name}
		}
		return l.items[i]
	}
	switch name {
	case "index":
		return int64(l.at + 1)
	case "index0":
		return int64(l.at)
	case "revindex":
		return int64(len(l.items) - l.at)
	case "revindex0":
		return int64(len(l.items) - l.at - 1)
	case "first":
		return l.at == 0
	case "last":
		return l.at == len(l.items)-1
	case "length":
		return int64(len(l.items))
	case "previtem":
		return near(l.at - 1)
	case "nextitem":
		return near(l.at + 1)
	case "cycle":
		return function(func(r *renderer, a *arguments) any {
			if len(a.list) == 0 {
				r.fail("loop.cycle needs values")
			}
			return a.list[l.at%len(a.list)]
		})
	}
	return undefined{"loop." + name}
}

type parameter struct {
	name  string
	value expr // of a parameter its default, of an argument its value
}

type macroNode struct {
	line       int
	name       string
	parameters []parameter
	body       []node
}

func (n macroNode) run(r *renderer, s *scope) signal {
	s.values[n.name] = n.function(s, nil)
	return normal
}

// function is the macro as a value; it sees the variables of the scope it stands in.
func (n macroNode) function(s *scope, caller any) function {
	return func(r *renderer, a *arguments) any {
		inner := s.inner()
		if caller != nil {
			inner.values["caller"] = caller
		}
		if caller, ok := a.take("caller"); ok {
			inner.values["caller"] = caller
		}
		for i, p := range n.parameters {
			value, ok := a.at(i, p.name)
			if !ok {
				value = undefined{p.name}
				if p.value != nil {
					value = r.eval(p.value, inner)
				}
			}
			inner.values[p.name] = value
		}
		a.done(r, n.name, len(n.parameters))
		return r.capture(func() { r.run(n.body, inner) })
	}
}

// callBlock calls a macro, which may call the block as caller().
type callBlock struct {
	line   int
	call   callNode
	caller macroNode
}

func (n callBlock) run(r *renderer, s *scope) signal {
	call := n.call
	call.named = append(append([]parameter(nil), call.named...), parameter{"caller", constant{n.caller.function(s, nil)}})
	r.line = n.line
	r.write(r.str(r.eval(call, s)))
	return normal
}
