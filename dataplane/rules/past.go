package rules

import (
	"math"
	"strings"

	"culvert/dataplane/point"
)

// pastFunction is a function that looks at the past of a point's key.
type pastFunction uint8

const (
	pastNone pastFunction = iota
	pastPrev
	pastDelta // parsed only: x - prev(x) is what is compiled
	pastChanged
	pastEwma
	pastFollowed
	pastCount // from here on of a window
	pastSum
	pastAvg
	pastMin
	pastMax
	pastRange
	pastStddev
	pastFirst
	pastLast
	pastRate
	pastQuantile
)

var pastNames = [...]string{
	"", "prev", "delta", "changed", "ewma", "followed_by", "count", "sum", "avg", "min", "max", "range",
	"stddev", "first", "last", "rate", "quantile",
}

func (f pastFunction) String() string { return pastNames[f] }

func (f pastFunction) isOfWindow() bool { return f >= pastCount }

// needs is the part of a pane that a function reads, beside the count.
func (f pastFunction) needs() part {
	switch f {
	case pastMin, pastMax, pastRange:
		return partExtremes
	case pastStddev:
		return partMoments
	case pastFirst, pastLast:
		return partEnds
	case pastRate:
		return partCounter
	case pastQuantile:
		return partSketch
	}
	return partSum
}

// durationMax bounds windows and the other durations of expressions, so that no sum of times overflows.
const durationMax = int64(366 * 24 * 3600e9)

// window reads [10s] or [10s:5s] behind an operand.
func (p *parser) window(n *node) (*node, *syntaxError) {
	w := &node{kind: nodeWindow, start: n.start, operator: p.next().start, args: []*node{n}}
	var err *syntaxError
	if w.length, err = p.span("a window"); err != nil {
		return nil, err
	}
	if p.peek().isSymbol(":") {
		p.next()
		at := p.peek()
		if w.slide, err = p.span("a slide"); err != nil {
			return nil, err
		}
		switch {
		case w.slide > w.length:
			return nil, wrong(at.start, "", "the slide is longer than the window")
		case w.length%w.slide != 0:
			return nil, wrong(at.start, "", "the window is no multiple of its slide")
		case w.length/w.slide > panesMax:
			return nil, wrong(at.start, "", "the window has %d slides, more than %d", w.length/w.slide,
				panesMax)
		}
	}
	end, err := p.expect("]", "at the end of the window")
	w.end = end.end
	return w, err
}

// span reads a duration of more than nothing.
func (p *parser) span(what string) (int64, *syntaxError) {
	t := p.next()
	if t.kind != tokenNumber {
		return 0, unexpected(t, "a duration such as 10s")
	}
	if !t.isSpan() {
		return 0, wrong(t.start, "did you mean "+t.text+"s?", "%s takes a duration, not %s", what, t.text)
	}
	d := int64(t.value.number)
	if d <= 0 || d > durationMax {
		return 0, wrong(t.start, "", "%s lasts more than nothing and at most 366 days", what)
	}
	return d, nil
}

// isSpan tells a duration from other numbers.
func (t token) isSpan() bool { return strings.ContainsAny(t.text, "nuµmsh") }

// becomePast turns a call into a node that looks at the past.
func (n *node) becomePast(f *function) (*node, *syntaxError) {
	n.kind, n.past = nodePast, f.past
	switch f.past {
	case pastQuantile:
		q, ok := n.args[0].value.value().float()
		if n.args[0].kind != nodeConstant || !ok || q < 0 || q > 1 {
			return nil, wrong(n.args[0].start, "such as 0.99", "a quantile is a number from 0 to 1")
		}
		n.value = constant{kind: point.Float, number: math.Float64bits(q)}
		n.args = n.args[1:]
	case pastEwma, pastFollowed:
		last := n.args[len(n.args)-1]
		n.length = int64(last.value.number)
		if !last.isSpan || n.length <= 0 || n.length > durationMax {
			return nil, wrong(last.start, "such as 10s", "the last argument of %s is a duration", f.name)
		}
		n.args = n.args[:len(n.args)-1]
	case pastDelta:
		before := &node{kind: nodePast, past: pastPrev, start: n.start, end: n.end, operator: n.start,
			args: n.args}
		n.kind, n.op, n.past, n.args = nodeCompute, opSubtract, pastNone, []*node{n.args[0], before}
		return n, nil
	}
	if !f.past.isOfWindow() {
		return n, nil
	}
	w := n.args[0]
	if w.kind != nodeWindow {
		return nil, wrong(w.start, "such as x[10s]", "%s takes a window", f.name)
	}
	n.length, n.slide, n.args = w.length, w.slide, w.args
	return n, nil
}

// past checks a function of the past.
func (c *checker) past(n *node) *node {
	for _, arg := range n.args {
		if at := arg.find(nodePast); at != nil {
			c.fail(at.start, "", "%s looks at points one by one: no function of the past can stand in it",
				n.past)
			return n
		}
	}
	arg := n.args[0]
	t := arg.valueType()
	switch {
	case n.past == pastFollowed:
		c.wantCondition(arg)
		c.wantCondition(n.args[1])
	case n.past == pastChanged:
	case n.past == pastPrev && t != typeString, t == typeAny, t == typeNumber:
	case n.past.isOfWindow():
		c.fail(arg.start, "", "a window holds numbers, not %s", t)
	default:
		c.fail(arg.start, "", "a number is expected here, not %s", t)
	}
	if arg.kind == nodeConstant && n.past != pastFollowed {
		c.fail(arg.start, "", "a constant has no past")
	}
	return n
}

// find is the first node of a kind in a tree, or nil.
func (n *node) find(kind nodeKind) *node {
	if n.kind == kind {
		return n
	}
	for _, arg := range n.args {
		if found := arg.find(kind); found != nil {
			return found
		}
	}
	return nil
}
