package jinja

import "strconv"

// tuple parses an expression, or several with commas as a list.
func (p *parser) tuple() expr {
	line := p.peek().line
	first := p.expression()
	if !p.peek().is(",") {
		return first
	}
	items := []expr{first}
	for p.accept(",") {
		if k := p.peek(); k.kind == blockEnd || k.kind == printEnd || k.is(")") {
			break
		}
		items = append(items, p.expression())
	}
	return listNode{line, items}
}

// expression parses `a if b else c` and everything that binds closer.
func (p *parser) expression() expr {
	p.enter()
	defer p.leave()
	e := p.or()
	for p.peek().is("if") {
		line := p.next().line
		n := choiceNode{line: line, then: e, condition: p.or()}
		if p.accept("else") {
			n.otherwise = p.expression()
		}
		e = n
	}
	return e
}

func (p *parser) or() expr {
	e := p.and()
	for p.peek().is("or") {
		line := p.next().line
		e = logicNode{line, e, p.and(), true}
	}
	return e
}

func (p *parser) and() expr {
	e := p.not()
	for p.peek().is("and") {
		line := p.next().line
		e = logicNode{line, e, p.not(), false}
	}
	return e
}

func (p *parser) not() expr {
	if !p.peek().is("not") {
		return p.comparison()
	}
	p.enter()
	defer p.leave()
	line := p.next().line
	return notNode{line, p.not()}
}

// comparison parses chains such as a < b <= c.
func (p *parser) comparison() expr {
	first := p.sum()
	n := compareNode{first: first}
	for {
		t := p.peek()
		operator := t.text
		switch {
		case t.is("==") || t.is("!=") || t.is("<") || t.is("<=") || t.is(">") || t.is(">=") || t.is("in"):
			p.next()
		case t.is("not") && p.tokens[p.at+1].is("in"):
			p.next()
			p.next()
			operator = "not in"
		default:
			if len(n.operators) == 0 {
				return first
			}
			return n
		}
		n.line = t.line
		n.operators = append(n.operators, operator)
		n.rest = append(n.rest, p.sum())
	}
}

// binary parses a level of left-associative operators.
func (p *parser) binary(operand func() expr, operators ...string) expr {
	e := operand()
	for {
		t := p.peek()
		found := false
		for _, o := range operators {
			found = found || t.kind == symbol && t.text == o
		}
		if !found {
			return e
		}
		p.next()
		e = binaryNode{t.line, t.text, e, operand()}
	}
}

func (p *parser) sum() expr     { return p.binary(p.concat, "+", "-") }
func (p *parser) concat() expr  { return p.binary(p.product, "~") }
func (p *parser) product() expr { return p.binary(p.unary, "*", "/", "//", "%") }

// unary parses signs, which bind looser than a power, and filters and tests behind them.
func (p *parser) unary() expr { return p.tests(p.filters(p.signed())) }

func (p *parser) signed() expr {
	t := p.peek()
	if t.kind != symbol || t.text != "-" && t.text != "+" {
		return p.power()
	}
	p.enter()
	defer p.leave()
	p.next()
	return signNode{t.line, t.text == "-", p.signed()}
}

func (p *parser) power() expr {
	e := p.postfix(p.primary())
	for p.peek().is("**") {
		line := p.next().line
		p.enter()
		e = binaryNode{line, "**", e, p.signed()}
		p.leave()
	}
	return e
}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case literal:
		value := t.text
		for p.peek().kind == literal {
			value += p.next().text
		}
		return constant{value}
	case number:
		return p.number(t)
	case name:
		switch t.text {
		case "true", "True":
			return constant{true}
		case "false", "False":
			return constant{false}
		case "none", "None":
			return constant{nil}
		}
		return nameNode{t.line, t.text}
	case symbol:
		switch t.text {
		case "(":
			if p.accept(")") {
				return listNode{t.line, nil}
			}
			e := p.tuple()
			p.expect(")")
			return e
		case "[":
			return listNode{t.line, p.items("]")}
		case "{":
			return p.dict(t)
		}
	}
	p.fail(t, "found %s, expected a value", describe(t))
	return nil
}

func (p *parser) number(t token) expr {
	if i, err := strconv.ParseInt(t.text, 10, 64); err == nil {
		return constant{i}
	}
	f, err := strconv.ParseFloat(t.text, 64)
	if err != nil {
		p.fail(t, "the number %.40s is out of range", t.text)
	}
	return constant{f}
}

// items parses expressions with commas up to a closing bracket.
func (p *parser) items(closing string) []expr {
	var items []expr
	for !p.accept(closing) {
		items = append(items, p.expression())
		if !p.peek().is(closing) {
			p.expect(",")
		}
	}
	return items
}

func (p *parser) dict(t token) expr {
	n := dictNode{line: t.line}
	for !p.accept("}") {
		n.keys = append(n.keys, p.expression())
		p.expect(":")
		n.values = append(n.values, p.expression())
		if !p.peek().is("}") {
			p.expect(",")
		}
	}
	return n
}

// postfix parses attributes, subscripts and calls behind a value.
func (p *parser) postfix(e expr) expr {
	for {
		t := p.peek()
		switch {
		case t.is("."):
			p.next()
			member := p.next()
			switch member.kind {
			case name:
				e = attributeNode{t.line, e, member.text}
			case number:
				e = indexNode{t.line, e, p.number(member)}
			default:
				p.fail(member, "found %s, expected a name", describe(member))
			}
		case t.is("["):
			p.next()
			e = p.subscript(t, e)
		case t.is("("):
			p.next()
			e = p.arguments(t, e)
		default:
			return e
		}
	}
}

func (p *parser) subscript(t token, of expr) expr {
	var parts [3]expr
	n, colons := 0, 0
	for !p.accept("]") {
		if p.accept(":") {
			if colons++; colons > 2 {
				p.fail(t, "a slice has at most three parts")
			}
			n = colons
			continue
		}
		if parts[n] != nil {
			p.fail(p.peek(), "found %s, expected \"]\"", describe(p.peek()))
		}
		parts[n] = p.expression()
	}
	if colons > 0 {
		return sliceNode{t.line, of, parts}
	}
	if parts[0] == nil {
		p.fail(t, "a subscript is empty")
	}
	return indexNode{t.line, of, parts[0]}
}

// arguments parses those of a call behind its opening bracket.
func (p *parser) arguments(t token, of expr) callNode {
	n := callNode{line: t.line, of: of}
	for !p.accept(")") {
		if key := p.peek(); key.kind == name && p.tokens[p.at+1].is("=") {
			p.next()
			p.next()
			n.named = append(n.named, parameter{key.text, p.expression()})
		} else {
			n.arguments = append(n.arguments, p.expression())
		}
		if !p.peek().is(")") {
			p.expect(",")
		}
	}
	return n
}

// filters parses |name or |name(arguments), any number of times. Behind a captured text
// the first name may come without its bar.
func (p *parser) filters(e expr) expr {
	_, block := e.(captured)
	for first := true; p.accept("|") || first && block && p.peek().kind == name; first = false {
		t := p.expectKind(name, "the name of a filter")
		if filters[t.text] == nil {
			p.fail(t, "the filter %q is not supported", t.text)
		}
		n := callNode{line: t.line}
		if p.accept("(") {
			n = p.arguments(t, nil)
		}
		e = filterNode{t.line, t.text, e, n}
	}
	return e
}

// tests parses `is name`, `is not name`, with or without arguments.
func (p *parser) tests(e expr) expr {
	for p.peek().is("is") {
		line := p.next().line
		negated := p.accept("not")
		t := p.next()
		if t.kind != name && t.kind != symbol || tests[t.text] == nil {
			p.fail(t, "the test %s is not supported", describe(t))
		}
		n := callNode{line: t.line}
		switch k := p.peek(); {
		case k.is("("):
			p.next()
			n = p.arguments(t, nil)
		case takesArgument[t.text] && (k.kind == literal || k.kind == number || k.kind == name || k.is("[")):
			n.arguments = []expr{p.postfix(p.primary())}
		}
		e = testNode{line, t.text, e, n, negated}
	}
	return e
}
