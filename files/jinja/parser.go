package jinja

import "slices"

// parser turns tokens into nodes.
type parser struct {
	tokens []token
	at     int
	depth  int
	loops  int // for blocks around the tag
}

func (p *parser) peek() token { return p.tokens[p.at] }

// next takes a token; behind the last there is always the end.
func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != end {
		p.at++
	}
	return t
}

func (p *parser) fail(t token, message string, args ...any) { fail(t.line, message, args...) }

// accept takes the token if it is this symbol or name.
func (p *parser) accept(text string) bool {
	if p.peek().is(text) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expect(text string) token {
	t := p.next()
	if !t.is(text) {
		p.fail(t, "found %s, expected %q", describe(t), text)
	}
	return t
}

func (p *parser) expectKind(k kind, what string) token {
	t := p.next()
	if t.kind != k {
		p.fail(t, "found %s, expected %s", describe(t), what)
	}
	return t
}

// describe names a token for a sentence.
func describe(t token) string {
	switch t.kind {
	case end:
		return "the end of the template"
	case blockEnd, printEnd:
		return "the end of the tag"
	case literal:
		return "a string"
	}
	return "\"" + t.text + "\""
}

// enter bounds recursion; the caller leaves by leave.
func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.peek(), "the template nests deeper than %d levels", maxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

// block parses up to a tag whose name is one of `until`, and past that name. Without any,
// it parses to the end of the template.
func (p *parser) block(until ...string) ([]node, string) {
	p.enter()
	defer p.leave()
	var body []node
	for {
		switch t := p.next(); t.kind {
		case end:
			if len(until) > 0 {
				p.fail(t, "found the end of the template, expected %s", until[len(until)-1])
			}
			return body, ""
		case text:
			body = append(body, textNode{t.text})
		case printBegin:
			body = append(body, printNode{t.line, p.tuple()})
			p.expectKind(printEnd, "the end of the tag")
		case blockBegin:
			tag := p.expectKind(name, "a tag")
			if slices.Contains(until, tag.text) {
				return body, tag.text
			}
			body = append(body, p.statement(tag))
		default:
			p.fail(t, "found %s in the text", describe(t))
		}
	}
}

// endTag closes a tag.
func (p *parser) endTag() { p.expectKind(blockEnd, "the end of the tag") }

// body parses a block up to its end tag.
func (p *parser) body(endName string) []node {
	p.endTag()
	body, _ := p.block(endName)
	p.endTag()
	return body
}

func (p *parser) statement(tag token) node {
	switch tag.text {
	case "if":
		return p.ifBlock(tag)
	case "for":
		return p.forBlock(tag)
	case "set":
		return p.set(tag)
	case "macro":
		return p.macro(tag)
	case "call":
		return p.call(tag)
	case "filter":
		chain := p.filters(captured{})
		return printBlock{tag.line, chain, p.body("endfilter")}
	case "generation":
		return generationNode{p.body("endgeneration")}
	case "break", "continue":
		if p.loops == 0 {
			p.fail(tag, "%s outside of a loop", tag.text)
		}
		p.endTag()
		return map[string]node{"break": jumpNode(broken), "continue": jumpNode(continued)}[tag.text]
	case "do":
		e := p.tuple()
		p.endTag()
		return doNode{tag.line, e}
	}
	p.fail(tag, "the tag %q is not supported", tag.text)
	return nil
}

func (p *parser) ifBlock(tag token) node {
	n := ifNode{line: tag.line, condition: p.tuple()}
	p.endTag()
	var ended string
	n.then, ended = p.block("elif", "else", "endif")
	switch ended {
	case "elif":
		p.enter()
		n.otherwise = []node{p.ifBlock(tag)}
		p.leave()
		return n
	case "else":
		p.endTag()
		n.otherwise, _ = p.block("endif")
	}
	p.endTag()
	return n
}

func (p *parser) forBlock(tag token) node {
	n := forNode{line: tag.line, targets: p.targets()}
	p.expect("in")
	n.over = p.or()
	if p.accept("if") {
		n.filter = p.expression()
	}
	if p.accept("recursive") {
		p.fail(tag, "a recursive loop is not supported")
	}
	p.endTag()
	p.loops++
	var ended string
	n.body, ended = p.block("else", "endfor")
	p.loops--
	if ended == "else" {
		p.endTag()
		n.otherwise, _ = p.block("endfor")
	}
	p.endTag()
	return n
}

// targets are the names that a loop or an assignment sets.
func (p *parser) targets() []string {
	bracket := p.accept("(")
	names := []string{p.expectKind(name, "a name").text}
	for p.accept(",") {
		names = append(names, p.expectKind(name, "a name").text)
	}
	if bracket {
		p.expect(")")
	}
	return names
}

func (p *parser) set(tag token) node {
	n := setNode{line: tag.line, targets: p.targets()}
	if len(n.targets) == 1 && p.accept(".") {
		n.attribute = p.expectKind(name, "a name").text
	}
	if p.accept("=") {
		n.value = p.tuple()
		p.endTag()
		return n
	}
	if len(n.targets) > 1 || n.attribute != "" {
		p.fail(p.peek(), "found %s, expected \"=\"", describe(p.peek()))
	}
	n.value = p.filters(captured{})
	n.body = p.body("endset")
	return n
}

func (p *parser) macro(tag token) node {
	n := macroNode{line: tag.line, name: p.expectKind(name, "a name").text}
	n.parameters = p.parameters()
	loops := p.loops
	p.loops = 0
	n.body = p.body("endmacro")
	p.loops = loops
	return n
}

func (p *parser) parameters() []parameter {
	var all []parameter
	p.expect("(")
	for !p.accept(")") {
		one := parameter{name: p.expectKind(name, "a name").text}
		if p.accept("=") {
			one.value = p.expression()
		}
		all = append(all, one)
		if !p.peek().is(")") {
			p.expect(",")
		}
	}
	return all
}

// call parses a call block: a macro called with the block as caller().
func (p *parser) call(tag token) node {
	var parameters []parameter
	if p.peek().is("(") {
		parameters = p.parameters()
	}
	e, ok := p.expression().(callNode)
	if !ok {
		p.fail(tag, "expected a call")
	}
	loops := p.loops
	p.loops = 0
	body := p.body("endcall")
	p.loops = loops
	return callBlock{tag.line, e, macroNode{line: tag.line, name: "caller", parameters: parameters, body: body}}
}
