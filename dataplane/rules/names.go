package rules

import (
	"slices"
	"strings"
)

// function is what the parser knows of a function: how many arguments it takes and what becomes of it.
type function struct {
	name             string
	argsMin, argsMax int
	op               operation
	test             textTest
	isTest           bool
	past             pastFunction
}

// argsMany bounds the functions that take any number of arguments.
const argsMany = 16

var functions = []function{
	{name: "abs", argsMin: 1, argsMax: 1, op: opAbs},
	{name: "avg", argsMin: 1, argsMax: 1, past: pastAvg},
	{name: "ceil", argsMin: 1, argsMax: 1, op: opCeil},
	{name: "changed", argsMin: 1, argsMax: 1, past: pastChanged},
	{name: "clamp", argsMin: 3, argsMax: 3},
	{name: "contains", argsMin: 2, argsMax: 2, test: textContains, isTest: true},
	{name: "count", argsMin: 1, argsMax: 1, past: pastCount},
	{name: "delta", argsMin: 1, argsMax: 1, past: pastDelta},
	{name: "ends_with", argsMin: 2, argsMax: 2, test: textEndsWith, isTest: true},
	{name: "ewma", argsMin: 2, argsMax: 2, past: pastEwma},
	{name: "exp", argsMin: 1, argsMax: 1, op: opExp},
	{name: "first", argsMin: 1, argsMax: 1, past: pastFirst},
	{name: "floor", argsMin: 1, argsMax: 1, op: opFloor},
	{name: "followed_by", argsMin: 3, argsMax: 3, past: pastFollowed},
	{name: "has", argsMin: 1, argsMax: 1},
	{name: "last", argsMin: 1, argsMax: 1, past: pastLast},
	{name: "log", argsMin: 1, argsMax: 1, op: opLog},
	{name: "max", argsMin: 2, argsMax: argsMany, op: opMax, past: pastMax},
	{name: "min", argsMin: 2, argsMax: argsMany, op: opMin, past: pastMin},
	{name: "pow", argsMin: 2, argsMax: 2, op: opPow},
	{name: "prev", argsMin: 1, argsMax: 1, past: pastPrev},
	{name: "quantile", argsMin: 2, argsMax: 2, past: pastQuantile},
	{name: "range", argsMin: 1, argsMax: 1, past: pastRange},
	{name: "rate", argsMin: 1, argsMax: 1, past: pastRate},
	{name: "round", argsMin: 1, argsMax: 1, op: opRound},
	{name: "sqrt", argsMin: 1, argsMax: 1, op: opSqrt},
	{name: "starts_with", argsMin: 2, argsMax: 2, test: textStartsWith, isTest: true},
	{name: "stddev", argsMin: 1, argsMax: 1, past: pastStddev},
	{name: "sum", argsMin: 1, argsMax: 1, past: pastSum},
}

func functionNames() []string {
	names := make([]string, 0, len(functions))
	for _, f := range functions {
		names = append(names, f.name)
	}
	return names
}

// otherNames are what other languages call our functions.
var otherNames = map[string]string{
	"average": "avg", "mean": "avg", "stdev": "stddev", "std": "stddev", "percentile": "quantile",
	"median": "quantile(0.5, …)", "previous": "prev", "lag": "prev", "derivative": "rate",
	"difference": "delta",
	"startswith": "starts_with", "endswith": "ends_with", "length": "count", "spread": "range", "ema": "ewma",
}

// meantFunction is a hint at the function that was meant, or empty.
func meantFunction(name string) string {
	if meant, ok := otherNames[strings.ToLower(name)]; ok {
		return "did you mean " + meant + "?"
	}
	return DidYouMean(name, functionNames())
}

// named reads what starts with a name: a literal, a call, a tag, a field.
func (p *parser) named(t token) (*node, *syntaxError) {
	n := &node{kind: nodeName, start: t.start, end: t.end, name: name{kind: nameField, text: t.text}}
	next := p.peek()
	if (t.text == "not" || t.text == "NOT") && (next.kind == tokenName || next.isSymbol("(")) {
		return nil, wrong(t.start, `did you mean "!"?`, "unexpected %q where a value is expected", t.text)
	}
	if next.isSymbol("(") {
		return p.call(t)
	}
	switch t.text {
	case "true", "false":
		n.kind, n.value = nodeConstant, boolConstant(t.text == "true")
	case "measurement":
		n.name = name{kind: nameMeasurement}
	case "time":
		n.name = name{kind: nameTime}
	case "tags", "fields":
		return p.member(n, t)
	case "in":
		return nil, unexpected(t, "a value")
	case "null", "nil", "NULL":
		return nil, wrong(t.start, `has(x) asks whether there is a value; a field of that name is fields["`+
			t.text+`"]`, "there is no %s", t.text)
	default:
		if dot := p.peek(); dot.isSymbol(".") {
			return nil, wrong(t.start, DidYouMean(t.text, []string{"tags", "fields"}),
				"%s has no parts: only tags and fields have", t.text)
		}
	}
	return n, nil
}

// member reads tags.x and tags["x"], and the same of fields.
func (p *parser) member(n *node, of token) (*node, *syntaxError) {
	if of.text == "tags" {
		n.name.kind = nameTag
	}
	t := p.next()
	var member token
	switch {
	case t.isSymbol("."):
		if member = p.next(); member.kind != tokenName {
			return nil, unexpected(member, "the name of one of the "+of.text)
		}
		n.end = member.end
	case t.isSymbol("["):
		if member = p.next(); member.kind != tokenString || member.text == "" {
			return nil, unexpected(member, "a name in quotes")
		}
		end, err := p.expect("]", "behind the name")
		if err != nil {
			return nil, err
		}
		n.end = end.end
	default:
		return nil, wrong(of.start, "write "+of.text+".name or "+of.text+"[\"name\"]",
			"%q alone is no value", of.text)
	}
	n.name.text = member.text
	return n, nil
}

// call reads a function's arguments and makes the node that stands for it.
func (p *parser) call(t token) (*node, *syntaxError) {
	p.next()
	found := slices.IndexFunc(functions, func(f function) bool { return f.name == t.text })
	if found < 0 {
		return nil, wrong(t.start, meantFunction(t.text), "unknown function %s", t.text)
	}
	n := &node{start: t.start, operator: t.start}
	for !p.peek().isSymbol(")") {
		arg, err := p.expression(0)
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
		if !p.peek().isSymbol(",") {
			break
		}
		p.next()
	}
	end, err := p.expect(")", "behind the arguments")
	if err != nil {
		return nil, err
	}
	n.end = end.end
	f := &functions[found]
	if len(n.args) == 1 && n.args[0].kind == nodeWindow && f.past != pastNone {
		return n.becomePast(f)
	}
	if len(n.args) < f.argsMin || len(n.args) > f.argsMax {
		hint := ""
		if f.past.isOfWindow() && len(n.args) == f.argsMax+1 && n.args[f.argsMax].isSpan {
			hint = "a window is written x[10s]"
		}
		return nil, wrong(t.start, hint, "%s takes %s, not %d", f.name, arity(f), len(n.args))
	}
	return n.become(f)
}

func arity(f *function) string {
	switch {
	case f.argsMax == argsMany:
		return "two to sixteen arguments"
	case f.argsMin == 1:
		return "one argument"
	case f.argsMin == 2:
		return "two arguments"
	}
	return "three arguments"
}

// become turns a call into the node that stands for it.
func (n *node) become(f *function) (*node, *syntaxError) {
	switch {
	case f.past != pastNone && f.op == opAdd:
		return n.becomePast(f)
	case f.name == "has":
		arg := n.args[0]
		if arg.kind != nodeName || arg.name.kind == nameMeasurement || arg.name.kind == nameTime {
			return nil, wrong(arg.start, "", "has asks for a field or a tag")
		}
		n.kind, n.name, n.args = nodeHas, arg.name, nil
	case f.name == "clamp":
		low := &node{
			kind: nodeCompute, op: opMax, start: n.start, end: n.end, operator: n.start, args: n.args[:2:2],
		}
		n.kind, n.op, n.args = nodeCompute, opMin, []*node{low, n.args[2]}
	case f.isTest:
		n.kind, n.test = nodeText, f.test
	default:
		n.kind, n.op = nodeCompute, f.op
		if f.argsMax == argsMany {
			// min(a, b, c) is min(min(a, b), c).
			for len(n.args) > 2 {
				first := &node{
					kind: nodeCompute, op: f.op, start: n.start, end: n.end, operator: n.start,
					args: n.args[:2:2],
				}
				n.args = append([]*node{first}, n.args[2:]...)
			}
		}
	}
	return n, nil
}
