package rules

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"culvert/dataplane/point"
)

// cohort is the rules of one group, for the same measurements and with the same keys, that look at the past.
// They share what is remembered of a key: one look-up and one memo of each kind serve all of them.
type cohort struct {
	group     string
	on        []string
	shape     uint16
	memos     []memo
	slots     []uint16 // what members ask of a point, for the hand-over to a key's owner
	alerts    []uint32
	records   []uint32
	recordsAt int      // where their words begin
	time      int      // its group's number
	absent    []uint32 // of the alerts: those for keys without points
	plan      plan     // of the alerts that have a condition
	words     int      // of all memos
	// values says that absent alerts show values: the last point's are kept with the key.
	values   bool
	identity uint64 // of group, measurements and keys, the same in every run
}

const (
	// cohortsMax bounds the cohorts of a Set, memosMax the memos of one.
	cohortsMax = 1 << 12
	memosMax   = 1 << 10
	// keyWordsMax bounds what is remembered of one key: 256 KiB.
	keyWordsMax = 32 << 10
)

// cohortOf is the number of a rule's cohort, made at its first use.
func (s *Set) cohortOf(group string, on []string, shape uint16) uint16 {
	for i := range s.cohorts {
		if c := &s.cohorts[i]; c.group == group && c.shape == shape && slices.Equal(c.on, on) {
			return uint16(i)
		}
	}
	s.cohorts = append(s.cohorts, cohort{group: group, on: on, shape: shape, time: len(s.groups) - 1})
	return uint16(min(len(s.cohorts)-1, cohortsMax))
}

// memo is the number of the memo of a function of the past in the emitter's cohort, made at its first use.
func (e *emitter) memo(n *node) uint16 {
	c := &e.set.cohorts[e.cohort]
	m := memo{length: n.length}
	arg := n.args[0].canonical()
	switch {
	case n.past.isOfWindow():
		m.kind = memoWindow
		m.window = window{length: n.length, slide: n.slide, record: e.record}
		if n.slide == 0 {
			m.window.slide = n.length / panesMoving
		}
		// Functions that need different parts have windows of their own, so that the layout of one, and with
		// it what it remembers over a reload, does not depend on what other rules ask.
		m.window.part = n.past.needs()
		m.text = fmt.Sprintf("%s of %s[%d:%d]", partNames[n.past.needs()], arg, n.length, m.window.slide)
		if e.record {
			m.text += " record"
		}
	case n.past == pastEwma:
		m.kind, m.text = memoEwma, fmt.Sprintf("ewma(%s, %d)", arg, n.length)
	case n.past == pastFollowed:
		m.kind = memoSequence
		m.text = fmt.Sprintf("followed_by(%s, %s, %d)", arg, n.args[1].canonical(), n.length)
	default:
		m.kind, m.text = memoPrev, "prev("+arg+")"
	}
	at := slices.IndexFunc(c.memos, func(other memo) bool { return other.text == m.text })
	if at < 0 {
		e.memoCode(&m, n)
		at = len(c.memos)
		c.memos = append(c.memos, m)
	}
	return uint16(min(at, memosMax))
}

// memoCode emits the programs of a memo.
func (e *emitter) memoCode(m *memo, n *node) {
	inner := emitter{set: e.set}
	ok := true
	if m.kind != memoSequence {
		inner.value(n.args[0], 0)
		m.code, ok = inner.code, !inner.over && len(inner.code) <= programMax
	} else if m.code, ok = inner.program(n.args[0]); ok {
		m.then, ok = inner.program(n.args[1])
	}
	e.over = e.over || !ok
}

// layCohorts works out the layouts of all cohorts and refuses those whose keys would take too much memory.
func (c *compiler) layCohorts(groups []Group) {
	s := c.set
	for i := range s.cohorts {
		h := &s.cohorts[i]
		for m := range h.memos {
			h.memos[m].at = h.words
			h.words += h.memos[m].lay()
			h.memos[m].identity = textHash(h.memos[m].text, strconv.Itoa(h.memos[m].words))
		}
		h.recordsAt = h.words
		h.words += len(h.records) * recordWords
		h.identity = textHash(append([]string{h.group, strconv.FormatBool(s.shapes[h.shape].series)},
			append(slices.Clone(h.on), s.shapes[h.shape].tags...)...)...)
		if h.words > keyWordsMax || len(h.memos) > memosMax {
			at := c.textOf[append(slices.Clone(h.alerts), h.records...)[0]]
			c.fail(at, 0, "choose longer slides, or fewer windows",
				"windows take %d bytes for each key, more than %d", 8*h.words, 8*keyWordsMax)
		}
		var members []uint32
		for _, r := range h.alerts {
			if s.rules[r].code != nil {
				members = append(members, r)
			}
		}
		s.dispatch(&h.plan, members)
	}
	if len(s.cohorts) > cohortsMax {
		c.fail(&groups[0].Name, 0, "", "%d kinds of keys with a past are more than %d", len(s.cohorts),
			cohortsMax)
	}
}

// textHash is a hash of texts, the same in every run.
func textHash(texts ...string) uint64 {
	h := fnv.New64a()
	for _, s := range texts {
		h.Write([]byte(strconv.Itoa(len(s)) + ":" + s))
	}
	return h.Sum64()
}

// asks adds the names of a tree to what members of the cohort ask of a point.
func (c *compiler) asks(cohort uint16, n *node) {
	if n == nil {
		return
	}
	if n.kind == nodeName || n.kind == nodeHas {
		c.asksSlot(cohort, c.set.slot(n.name))
	}
	for _, arg := range n.args {
		c.asks(cohort, arg)
	}
}

func (c *compiler) asksSlot(cohort, slot uint16) {
	h := &c.set.cohorts[cohort]
	if !slices.Contains(h.slots, slot) {
		h.slots = append(h.slots, slot)
	}
}

// canonical writes a tree so that two trees that mean the same by their form are written alike.
func (n *node) canonical() string {
	var out strings.Builder
	n.write(&out)
	return out.String()
}

func (n *node) write(out *strings.Builder) {
	args := func(open string) {
		out.WriteString(open)
		for i, arg := range n.args {
			if i > 0 {
				out.WriteString(", ")
			}
			arg.write(out)
		}
		out.WriteByte(')')
	}
	switch n.kind {
	case nodeConstant:
		out.WriteString(n.value.String())
	case nodeName:
		out.WriteString(n.name.String())
	case nodeHas:
		out.WriteString("has(" + n.name.String() + ")")
	case nodeNot:
		args("!(")
	case nodeAnd:
		args("and(")
	case nodeOr:
		args("or(")
	case nodeCompare:
		args(n.mask.String() + "(")
	case nodeCompute:
		args(n.op.String() + "(")
	case nodeText:
		args(textTestNames[n.test] + "(")
	case nodeIn:
		args("in(")
		for _, c := range n.list {
			out.WriteString(" " + c.String())
		}
	case nodeMatch:
		args(fmt.Sprintf("match(%q, %t, ", n.value.text, n.negate))
	case nodePast:
		args(n.past.String() + "(")
		fmt.Fprintf(out, "[%d:%d]%d", n.length, n.slide, n.value.number)
	}
}

// String is a literal as expressions write it.
func (c constant) String() string {
	if c.kind == point.String {
		return strconv.Quote(c.text)
	}
	text := formatValue(numberOf(c.kind, c.number))
	if c.kind == point.Float && !strings.ContainsAny(text, ".eNI") {
		text += ".0"
	}
	return text
}

var operationNames = [...]string{
	opAdd: "+", opSubtract: "-", opMultiply: "*", opDivide: "/", opRemainder: "%", opNegate: "negate",
	opAbs: "abs", opMin: "min", opMax: "max", opFloor: "floor", opCeil: "ceil", opRound: "round",
	opSqrt: "sqrt", opPow: "pow", opLog: "log", opExp: "exp",
}

func (op operation) String() string { return operationNames[op] }

var textTestNames = [...]string{
	textStartsWith: "starts_with", textEndsWith: "ends_with", textContains: "contains",
}

// String is the operator that holds for a set of relations.
func (r relation) String() string {
	for text, mask := range comparisons {
		if mask == r {
			return text
		}
	}
	return strconv.Itoa(int(r))
}
