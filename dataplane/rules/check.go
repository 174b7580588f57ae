package rules

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"

	"culvert/dataplane/point"
)

// checker finds what is wrong with the types of an expression and folds its constants. It goes on after an
// error, so that one reading of a file shows them all.
type checker struct {
	errs []*syntaxError
}

func (c *checker) fail(offset int, hint, format string, args ...any) {
	c.errs = append(c.errs, wrong(offset, hint, format, args...))
}

// condition checks the tree of an alert's expr, or of another of its keys.
func (c *checker) condition(n *node, key string) *node {
	n = c.check(n)
	if t := n.valueType(); t != typeBool && t != typeAny {
		c.fail(n.start, "compare it with something", "%s is %s, an alert needs a condition", key, t)
	}
	return n
}

// check checks a tree and returns it with its constants folded.
func (c *checker) check(n *node) *node {
	for i, arg := range n.args {
		n.args[i] = c.check(arg)
	}
	switch n.kind {
	case nodeWindow:
		c.fail(n.operator, "such as avg(x[10s])", "a window stands in a function")
	case nodePast:
		return c.past(n)
	case nodeNot:
		return c.not(n)
	case nodeAnd, nodeOr:
		return c.junction(n)
	case nodeCompare:
		return c.compare(n)
	case nodeCompute:
		return c.compute(n)
	case nodeText:
		for _, arg := range n.args {
			if t := arg.valueType(); t != typeString && t != typeAny {
				c.fail(arg.start, "", "a string is expected here, not %s", t)
			}
		}
	case nodeIn:
		c.in(n)
	case nodeMatch:
		c.match(n)
	}
	return n
}

func (c *checker) wantCondition(n *node) {
	if t := n.valueType(); t != typeBool && t != typeAny {
		c.fail(n.start, "compare it with something", "a condition is expected here, not %s", t)
	}
}

func (c *checker) not(n *node) *node {
	arg := n.args[0]
	c.wantCondition(arg)
	if arg.kind == nodeConstant && arg.value.kind == point.Bool {
		return n.folded(boolConstant(arg.value.number == 0))
	}
	return n
}

// junction checks && and ||. A constant side decides, or drops out where the other is a bool for certain: a
// bare field is not, since it counts as a bool only between the two operators.
func (c *checker) junction(n *node) *node {
	for _, arg := range n.args {
		c.wantCondition(arg)
	}
	for i, arg := range n.args {
		if arg.kind != nodeConstant || arg.value.kind != point.Bool {
			continue
		}
		other := n.args[1-i]
		if decides := n.kind == nodeOr; (arg.value.number != 0) == decides {
			return n.folded(boolConstant(decides))
		}
		if other.valueType() == typeBool {
			return other
		}
	}
	return n
}

func (n *node) folded(v constant) *node {
	return &node{kind: nodeConstant, start: n.start, end: n.end, value: v}
}

func (c *checker) compare(n *node) *node {
	a, b := n.args[0], n.args[1]
	x, y := a.valueType(), b.valueType()
	if x != typeAny && y != typeAny && x != y {
		c.fail(n.operator, "", "%s is compared with %s", x, y)
		return n
	}
	if (x == typeBool || y == typeBool) && n.mask != equal && n.mask != less|greater {
		c.fail(n.operator, "use == or !=", "bools have no order")
		return n
	}
	if a.kind == nodeConstant && b.kind == nodeConstant {
		return n.folded(boolConstant(relateConstants(a.value, b.value)&n.mask != 0))
	}
	return n
}

// relateConstants compares two literals of one type.
func relateConstants(a, b constant) relation {
	switch a.kind {
	case point.String:
		return relateInts(int64(strings.Compare(a.text, b.text)), 0)
	case point.Bool:
		return relateUints(a.number, b.number)
	}
	return relateNumbers(a.value(), b.value())
}

func (c *checker) compute(n *node) *node {
	constants := true
	for _, arg := range n.args {
		if t := arg.valueType(); t != typeNumber && t != typeAny {
			hint := ""
			if n.op == opSubtract && isTag(arg) && n.args[len(n.args)-1].find(nodePast) == nil {
				hint = `a name with - in it is written tags["name"]`
			}
			c.fail(arg.start, hint, "a number is expected here, not %s", t)
			return n
		}
		constants = constants && arg.kind == nodeConstant
	}
	if n.op == opDivide || n.op == opRemainder {
		by := n.args[1]
		if f, ok := by.value.value().float(); by.kind == nodeConstant && ok && f == 0 {
			c.fail(n.operator, "", "division by zero")
			return n
		}
	}
	if !constants {
		return n
	}
	var b value
	if len(n.args) > 1 {
		b = n.args[1].value.value()
	}
	v := compute(n.op, n.args[0].value.value(), b)
	if v.kind == point.Missing {
		c.fail(n.start, "write one of the numbers as a float",
			"the result does not fit an integer of 64 bits")
		return n
	}
	return n.folded(constant{kind: v.kind, number: v.bits})
}

func (c *checker) in(n *node) {
	want := n.args[0].valueType()
	for i, literal := range n.list {
		t := kindType(literal.kind)
		if want == typeAny {
			want = t
		}
		if t != want {
			c.fail(n.listAt[i], "", "%s is in a list for %s", t, want)
		}
	}
}

func (c *checker) match(n *node) {
	if t := n.args[0].valueType(); t != typeString && t != typeAny {
		c.fail(n.args[0].start, "", "a string is expected here, not %s", t)
	}
	if _, err := regexp.Compile(n.value.text); err != nil {
		why := err.Error()
		if e := (*syntax.Error)(nil); errors.As(err, &e) {
			why = e.Code.String() + ": " + e.Expr
		}
		c.fail(n.listAt[0], "", "bad regular expression: %s", why)
	}
}
