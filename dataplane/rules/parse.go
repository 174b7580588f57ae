package rules

import (
	"culvert/dataplane/point"
)

const (
	// nestingMax bounds operands in operands, and with them the parser's stack: a parenthesis to the right of
	// an operator counts for two.
	nestingMax = 200
	// expressionMax bounds an expression's source: a thousand terms take some 20 KiB.
	expressionMax = 128 << 10
)

// The strengths by which binary operators bind.
const (
	bindOr = iota + 1
	bindAnd
	bindCompare
	bindSum
	bindProduct
	bindUnary
)

var comparisons = map[string]relation{
	"<": less, "<=": less | equal, "==": equal, "!=": less | greater, ">=": greater | equal, ">": greater,
}

var arithmetic = map[string]operation{
	"+": opAdd, "-": opSubtract, "*": opMultiply, "/": opDivide, "%": opRemainder,
}

// binding is how strongly a token binds as a binary operator; 0 if it is none.
func binding(t token) int {
	switch t.text {
	case "||":
		return bindOr
	case "&&":
		return bindAnd
	case "==", "!=", "<", "<=", ">", ">=", "=~", "!~":
		return bindCompare
	case "+", "-":
		return bindSum
	case "*", "/", "%":
		return bindProduct
	case "in":
		if t.kind == tokenName {
			return bindCompare
		}
	}
	return 0
}

// parser is a Pratt parser over the tokens of one expression. It stops at the first error.
type parser struct {
	tokens  []token
	at      int
	nesting int
}

// parse reads an expression into a tree.
func parse(source string) (*node, *syntaxError) {
	if len(source) > expressionMax {
		return nil, wrong(0, "", "expression has %d bytes, more than %d", len(source), expressionMax)
	}
	tokens, err := lex(source)
	if err != nil {
		return nil, err
	}
	p := parser{tokens: tokens}
	n, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, unexpected(t, "an operator")
	}
	return n, nil
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

// isSymbol tells a symbol from a string that says the same.
func (t token) isSymbol(text string) bool { return t.kind == tokenSymbol && t.text == text }

func (p *parser) expect(symbol, after string) (token, *syntaxError) {
	t := p.next()
	if !t.isSymbol(symbol) {
		return t, unexpected(t, "\""+symbol+"\" "+after)
	}
	return t, nil
}

// unexpected says what stands where something else was expected.
func unexpected(t token, want string) *syntaxError {
	if t.kind == tokenEnd {
		return wrong(t.start, "", "expression ends where %s is expected", want)
	}
	hint := ""
	if t.kind == tokenName {
		switch t.text {
		case "and", "AND":
			hint = `did you mean "&&"?`
		case "or", "OR":
			hint = `did you mean "||"?`
		case "not", "NOT":
			hint = `did you mean "!"?`
		}
	}
	return wrong(t.start, hint, "unexpected %q where %s is expected", t.text, want)
}

// expression reads operands and operators that bind more strongly than the one to the left.
func (p *parser) expression(left int) (*node, *syntaxError) {
	p.nesting++
	defer func() { p.nesting-- }()
	if p.nesting > nestingMax {
		return nil, wrong(p.peek().start, "", "expression is nested more than %d deep", nestingMax)
	}
	n, err := p.operand()
	if err != nil {
		return nil, err
	}
	compared := false
	for {
		t := p.peek()
		strength := binding(t)
		if t.kind == tokenString || t.kind == tokenEnd || strength <= left {
			return n, nil
		}
		if strength == bindCompare {
			if compared {
				return nil, wrong(t.start, "join two comparisons with &&", "comparisons do not chain")
			}
			compared = true
		} else if strength < bindCompare {
			compared = false
		}
		p.next()
		if n, err = p.binary(n, t, strength); err != nil {
			return nil, err
		}
	}
}

// binary reads what stands to the right of an operator.
func (p *parser) binary(left *node, operator token, strength int) (*node, *syntaxError) {
	n := &node{start: left.start, operator: operator.start, args: []*node{left}}
	switch operator.text {
	case "in":
		return p.list(n)
	case "=~", "!~":
		return p.pattern(n, operator.text == "!~")
	}
	right, err := p.expression(strength)
	if err != nil {
		return nil, err
	}
	n.end = right.end
	n.args = append(n.args, right)
	switch strength {
	case bindOr:
		n.kind = nodeOr
	case bindAnd:
		n.kind = nodeAnd
	case bindCompare:
		n.kind, n.mask = nodeCompare, comparisons[operator.text]
	default:
		n.kind, n.op = nodeCompute, arithmetic[operator.text]
	}
	return n, nil
}

// list reads the literals of x in [a, b].
func (p *parser) list(n *node) (*node, *syntaxError) {
	n.kind = nodeIn
	if t := p.next(); !t.isSymbol("[") {
		return nil, unexpected(t, "a list such as [1, 2]")
	}
	for {
		t := p.peek()
		if t.isSymbol("]") && len(n.list) > 0 {
			break
		}
		c, err := p.literal()
		if err != nil {
			return nil, err
		}
		n.list, n.listAt = append(n.list, c), append(n.listAt, t.start)
		if !p.peek().isSymbol(",") {
			break
		}
		p.next()
	}
	t, err := p.expect("]", "at the end of the list")
	n.end = t.end
	return n, err
}

// literal reads a constant of a list.
func (p *parser) literal() (constant, *syntaxError) {
	t := p.next()
	switch {
	case t.kind == tokenString:
		return constant{kind: point.String, text: t.text}, nil
	case t.kind == tokenNumber:
		return t.value, nil
	case t.kind == tokenName && (t.text == "true" || t.text == "false"):
		return boolConstant(t.text == "true"), nil
	case t.isSymbol("-") && p.peek().kind == tokenNumber:
		if v := computeOne(opNegate, p.peek().value.value()); v.kind != point.Missing {
			p.next()
			return constant{kind: v.kind, number: v.bits}, nil
		}
	}
	return constant{}, unexpected(t, "a literal")
}

// pattern reads the regular expression of x =~ "…".
func (p *parser) pattern(n *node, negate bool) (*node, *syntaxError) {
	t := p.next()
	if t.kind != tokenString {
		return nil, unexpected(t, "a regular expression in quotes")
	}
	n.kind, n.negate, n.end = nodeMatch, negate, t.end
	n.value = constant{kind: point.String, text: t.text}
	n.listAt = []int{t.start}
	return n, nil
}

// operand reads a literal, a name, a call, a parenthesis, each with a window behind it or none, or one of
// these behind ! or -.
func (p *parser) operand() (*node, *syntaxError) {
	n, err := p.plainOperand()
	if err != nil || !p.peek().isSymbol("[") {
		return n, err
	}
	return p.window(n)
}

func (p *parser) plainOperand() (*node, *syntaxError) {
	t := p.next()
	switch t.kind {
	case tokenNumber:
		return &node{
			kind: nodeConstant, start: t.start, end: t.end, value: t.value, isSpan: t.isSpan(),
		}, nil
	case tokenString:
		return &node{
			kind: nodeConstant, start: t.start, end: t.end,
			value: constant{kind: point.String, text: t.text},
		}, nil
	case tokenName:
		return p.named(t)
	case tokenSymbol:
		switch t.text {
		case "(":
			n, err := p.expression(0)
			if err != nil {
				return nil, err
			}
			end, err := p.expect(")", "to close the parenthesis")
			n.start, n.end = t.start, end.end
			return n, err
		case "!", "-":
			arg, err := p.expression(bindUnary)
			if err != nil {
				return nil, err
			}
			n := &node{kind: nodeNot, start: t.start, end: arg.end, args: []*node{arg}}
			if t.text == "-" {
				n.kind, n.op = nodeCompute, opNegate
			}
			return n, nil
		}
	}
	return nil, unexpected(t, "a value")
}
