package rules

import (
	"fmt"
	"regexp"

	"culvert/dataplane/point"
)

// opcode is what an instruction does. The test… instructions compare and jump in one; jumps go forward only,
// so that every program ends.
type opcode uint8

const (
	codeResult        opcode = iota // ends with the result a != 0
	codeJump                        // to `to`
	codeTestFloat                   // slot a against the float imm
	codeTestInt                     // slot a against the integer imm
	codeTestText                    // slot a is the string imm, or another
	codeTestTextOrder               // slot a against the string imm
	codeTestTruth                   // slot a is a bool and true
	codeTestHas                     // slot a is there
	codeTest                        // register a against register b
	codeTestNumber                  // register a against imm, of kind b
	codeTestSame                    // register a is the same as register b, or another
	codeTestRegister                // register a is a bool and true
	codeTestList                    // register a is one of list imm
	codeTestMatch                   // register a matches pattern imm
	codeTestStart                   // register a starts with register b
	codeTestEnd                     // register a ends with register b
	codeTestContains                // register a contains register b
	codeSlot                        // register to = slot a
	codeConstant                    // register to = imm, of kind a
	codeCompute                     // register to = operation imm on registers a and b
	codeShared                      // register b = shared value a and to `to`, if it is known already
	codeShare                       // shared value a = register b
	codePast                        // register to = function b of memo a, with the number imm
)

// instruction is one step of a rule's program, 16 bytes. jumps are the relations for which a test jumps;
// tests that are no comparisons come to equal when they hold, to unordered when they do not.
type instruction struct {
	code     opcode
	jumps    relation
	a, b, to uint16
	imm      uint64
}

const (
	// registersMax bounds what an expression can hold at once: nestingMax levels take about one each.
	registersMax = 256
	// programMax bounds a program, since jumps are 16 bits wide.
	programMax = 1<<16 - 1
)

// constantArena is the arena of spans that name text of the Set, beside those of the point.
const constantArena point.Arena = 2

// emitter turns a checked tree into instructions. All rules of a Set share its slots, texts, lists and
// patterns.
type emitter struct {
	set    *Set
	cohort uint16 // of the rule, if it looks at the past
	record bool   // the rule is a record
	scope  string // tells the keys of the rule's cohort from others'
	inside *node  // a shared node that is being emitted
	code   []instruction
	over   bool // more registers or instructions than there can be
}

// program is the instructions of a condition.
func (e *emitter) program(n *node) ([]instruction, bool) {
	e.code, e.over = nil, false
	misses := e.test(n, false, 0)
	e.add(instruction{code: codeResult, a: 1})
	e.land(misses)
	e.add(instruction{code: codeResult, a: 0})
	return e.code, !e.over && len(e.code) <= programMax
}

func (e *emitter) add(i instruction) int {
	e.code = append(e.code, i)
	return len(e.code) - 1
}

// land makes jumps go to the next instruction.
func (e *emitter) land(jumps []int) {
	for _, j := range jumps {
		e.code[j].to = uint16(len(e.code))
	}
}

// jump adds a test that jumps for one outcome, to a place still open.
func (e *emitter) jump(i instruction, when bool) []int { return e.jumpFor(i, equal, when) }

// jumpFor adds a comparison that holds for a set of relations and jumps for one outcome.
func (e *emitter) jumpFor(i instruction, holds relation, when bool) []int {
	i.jumps = holds
	if !when {
		i.jumps = holds ^ (less | equal | greater | unordered)
	}
	return []int{e.add(i)}
}

// test emits code that jumps when the condition's outcome is `when` and falls through otherwise. It returns
// the jumps. Registers from `free` on may be used.
func (e *emitter) test(n *node, when bool, free int) []int {
	if _, shared := e.share(n); shared {
		e.value(n, free)
		return e.jump(instruction{code: codeTestRegister, a: uint16(free)}, when)
	}
	switch n.kind {
	case nodeNot:
		return e.test(n.args[0], !when, free)
	case nodeAnd, nodeOr:
		// The left side alone decides an && that is to fail, and an || that is to hold.
		if (n.kind == nodeOr) == when {
			return append(e.test(n.args[0], when, free), e.test(n.args[1], when, free)...)
		}
		skip := e.test(n.args[0], !when, free)
		jumps := e.test(n.args[1], when, free)
		e.land(skip)
		return jumps
	case nodeConstant:
		if (n.value.number != 0) == when {
			return []int{e.add(instruction{code: codeJump})}
		}
		return nil
	case nodeName:
		return e.jump(instruction{code: codeTestTruth, a: e.set.slot(n.name)}, when)
	case nodeHas:
		return e.jump(instruction{code: codeTestHas, a: e.set.slot(n.name)}, when)
	case nodeCompare:
		return e.compare(n, when, free)
	case nodeText:
		code := [...]opcode{
			textStartsWith: codeTestStart, textEndsWith: codeTestEnd, textContains: codeTestContains,
		}[n.test]
		e.value(n.args[0], free)
		e.value(n.args[1], free+1)
		return e.jump(instruction{code: code, a: uint16(free), b: uint16(free + 1)}, when)
	case nodeIn:
		e.value(n.args[0], free)
		list := uint64(len(e.set.lists))
		e.set.lists = append(e.set.lists, newList(n.list))
		return e.jump(instruction{code: codeTestList, a: uint16(free), imm: list}, when)
	case nodeMatch:
		e.value(n.args[0], free)
		pattern := uint64(len(e.set.patterns))
		e.set.patterns = append(e.set.patterns, newPattern(n.value.text))
		i := instruction{code: codeTestMatch, a: uint16(free), imm: pattern}
		if n.negate {
			i.b = 1
		}
		return e.jump(i, when)
	}
	// A function of the past, or a computation: the only conditions left are values.
	e.value(n, free)
	return e.jump(instruction{code: codeTestRegister, a: uint16(free)}, when)
}

// compare emits a comparison: in one instruction where a name is compared with a literal.
func (e *emitter) compare(n *node, when bool, free int) []int {
	a, b, mask := n.args[0], n.args[1], n.mask
	if a.kind == nodeConstant {
		a, b, mask = b, a, mask.mirrored()
	}
	if a.kind == nodeName && b.kind == nodeConstant {
		i := instruction{a: e.set.slot(a.name), imm: b.value.number}
		switch b.value.kind {
		case point.Float:
			i.code = codeTestFloat
			return e.jumpFor(i, mask, when)
		case point.Int:
			i.code = codeTestInt
			return e.jumpFor(i, mask, when)
		case point.String:
			i.code, i.imm = codeTestText, uint64(e.set.text(b.value.text))
			if !mask.isSameness() {
				i.code = codeTestTextOrder
			}
			return e.jumpFor(i, mask, when)
		}
	}
	e.value(a, free)
	if b.kind == nodeConstant && (b.value.kind == point.Float || b.value.kind == point.Int) {
		return e.jumpFor(instruction{
			code: codeTestNumber, a: uint16(free), b: uint16(b.value.kind), imm: b.value.number,
		}, mask, when)
	}
	e.value(b, free+1)
	i := instruction{code: codeTest, a: uint16(free), b: uint16(free + 1)}
	if mask.isSameness() {
		i.code = codeTestSame
	}
	return e.jumpFor(i, mask, when)
}

// isSameness tells == and != from comparisons of order.
func (r relation) isSameness() bool { return r == equal || r == less|greater }

// mirrored is the relations of b to a for those of a to b.
func (r relation) mirrored() relation { return r&equal | r&less<<2 | r&greater>>2 }

// value emits code that leaves a node's value in a register. Registers behind it may be used.
func (e *emitter) value(n *node, register int) {
	if register+2 >= registersMax {
		e.over = true
		return
	}
	to := uint16(register)
	if number, shared := e.share(n); shared {
		known := e.add(instruction{code: codeShared, a: number, b: to})
		e.inside = n
		e.value(n, register)
		e.inside = nil
		e.add(instruction{code: codeShare, a: number, b: to})
		e.land([]int{known})
		return
	}
	switch n.kind {
	case nodeConstant:
		imm := n.value.number
		if n.value.kind == point.String {
			imm = uint64(e.set.text(n.value.text))
		}
		e.add(instruction{code: codeConstant, to: to, a: uint16(n.value.kind), imm: imm})
	case nodeName:
		e.add(instruction{code: codeSlot, to: to, a: e.set.slot(n.name)})
	case nodeCompute:
		i := instruction{code: codeCompute, to: to, a: to, b: to, imm: uint64(n.op)}
		e.value(n.args[0], register)
		if len(n.args) > 1 {
			e.value(n.args[1], register+1)
			i.b = to + 1
		}
		e.add(i)
	case nodePast:
		e.add(instruction{
			code: codePast, to: to, a: e.memo(n), b: uint16(n.past), imm: n.value.number,
		})
	default:
		misses := e.test(n, false, register)
		e.add(instruction{code: codeConstant, to: to, a: uint16(point.Bool), imm: 1})
		end := e.add(instruction{code: codeJump})
		e.land(misses)
		e.add(instruction{code: codeConstant, to: to, a: uint16(point.Bool)})
		e.land([]int{end})
	}
}

// share gives the number of the value that a node shares with others that are written alike, in whatever
// rule: it is worked out once per point. What costs no more than looking it up is not shared.
func (e *emitter) share(n *node) (uint16, bool) {
	if n == e.inside || e.record || !n.isCostly() {
		return 0, false
	}
	text := n.sharedText(e.scope)
	if e.set.uses[text] < 2 {
		return 0, false
	}
	number, ok := e.set.sharedOf[text]
	if !ok && len(e.set.sharedOf) <= slotsMax {
		number, ok = uint16(len(e.set.sharedOf)), true
		e.set.sharedOf[text] = number
	}
	return number, ok
}

// sharedMax bounds the source of nodes that are shared, in bytes, since they are compared by their texts.
const sharedMax = 512

func (n *node) isCostly() bool {
	switch n.kind {
	case nodeCompute:
		return n.end-n.start <= sharedMax
	case nodeIn, nodeMatch, nodePast:
		return n.end-n.start <= sharedMax
	}
	return false
}

// sharedText is the name of a node among those that are shared. A function of the past is one with those of
// the same cohort only.
func (n *node) sharedText(scope string) string {
	if n.find(nodePast) != nil {
		return scope + n.canonical()
	}
	return n.canonical()
}

// scopeOf tells the cohort of a rule from all others.
func scopeOf(g *Group, in *Rule) string {
	return fmt.Sprintf("%q %q %t %q: ", g.Name.Source, textsOf(in.On), in.HasBy, textsOf(in.By))
}

// countUses counts how often costly nodes stand in the conditions of all rules. What is wrong in them is
// reported elsewhere.
func (c *compiler) countUses(groups []Group) {
	var count func(n *node, scope string)
	count = func(n *node, scope string) {
		if n.isCostly() {
			c.set.uses[n.sharedText(scope)]++
		}
		for _, arg := range n.args {
			count(arg, scope)
		}
	}
	for g := range groups {
		for i := range groups[g].Rules {
			r := &groups[g].Rules[i]
			for _, text := range []*Text{&r.Expr, &r.Clear} {
				tree, err := parse(text.Source)
				if err != nil || len(text.Source) == 0 {
					continue
				}
				var check checker
				if tree = check.check(tree); len(check.errs) == 0 {
					count(tree, scopeOf(&groups[g], r))
				}
			}
		}
	}
}

// pattern is a regular expression, or the plain test that it comes down to.
type pattern struct {
	expression   *regexp.Regexp
	literal      string
	literalBytes []byte
	whole        bool // the text must be the literal
	start, end   bool // the text must start or end with it
	plain        bool
}

// newPattern compiles an expression that the checker found right.
func newPattern(source string) pattern {
	p := pattern{expression: regexp.MustCompile(source)}
	body := source
	if len(body) > 0 && body[0] == '^' {
		p.start, body = true, body[1:]
	}
	if len(body) > 0 && body[len(body)-1] == '$' {
		p.end, body = true, body[:len(body)-1]
	}
	// Without any character that means something, the body is a literal.
	p.plain = regexp.QuoteMeta(body) == body
	p.whole = p.start && p.end
	p.literal, p.literalBytes = body, []byte(body)
	return p
}
