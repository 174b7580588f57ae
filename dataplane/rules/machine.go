package rules

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"culvert/dataplane/point"
)

// machine runs programs over the slots of the point at hand. It belongs to one evaluator.
type machine struct {
	set       *Set
	point     *point.Point
	slots     []slot
	shared    []slot  // values of nodes that stand in several places
	guess     []uint8 // of the point's plan: where each slot's name was found last
	favourite []uint8 // by rule: the glance that excluded it last
	mark      uint64  // counts points, by 256; a slot with another mark is not filled yet
	matched   uint64  // the mark for which all names of the point were matched to slots
	registers [registersMax]value
	past      past
}

// text is the bytes of a string value: of the point's payload, of its scratch arena, or of the Set.
func (m *machine) text(span uint64) []byte {
	s := point.Span(span)
	switch s.Arena() {
	case point.Payload:
		return m.point.PayloadBytes[s.Offset():s.End()]
	case point.Scratch:
		return m.point.ScratchBytes[s.Offset():s.End()]
	}
	return m.set.texts[s.Offset():s.End()]
}

// run evaluates a rule's program on the point at hand.
func (m *machine) run(code []instruction) bool {
	slots, mark := m.slots, m.mark
	for at := 0; at < len(code); {
		i := &code[at]
		at++
		outcome := unordered
		switch i.code {
		case codeTestFloat:
			s := &slots[i.a]
			if s.stamp^mark >= markStep {
				m.fill(i.a)
			}
			if s.stamp == mark|uint64(point.Float) {
				outcome = relateFloats(math.Float64frombits(s.bits), math.Float64frombits(i.imm))
			} else {
				outcome = relateNumbers(s.value(), value{bits: i.imm, kind: point.Float})
			}
		case codeTestInt:
			s := &slots[i.a]
			if s.stamp^mark >= markStep {
				m.fill(i.a)
			}
			switch s.stamp {
			case mark | uint64(point.Int):
				outcome = relateInts(int64(s.bits), int64(i.imm))
			case mark | uint64(point.Float):
				outcome = relateFloats(math.Float64frombits(s.bits), float64(int64(i.imm)))
			default:
				outcome = relateNumbers(s.value(), value{bits: i.imm, kind: point.Int})
			}
		case codeTestText:
			if v := m.slot(i.a); v.kind == point.String {
				outcome = sameness(string(m.text(v.bits)) == string(m.text(i.imm)))
			}
		case codeTestTruth:
			if v := m.slot(i.a); v.kind == point.Bool && v.bits != 0 {
				outcome = equal
			}
		case codeTestHas:
			if m.slot(i.a).kind != point.Missing {
				outcome = equal
			}
		case codeResult:
			return i.a != 0
		case codeJump:
			at = int(i.to)
			continue
		case codeShared:
			if m.know(i) {
				at = int(i.to)
			}
			continue
		case codeSlot, codeConstant, codeCompute, codePast, codeShare:
			m.load(i)
			continue
		default:
			outcome = m.test(i)
		}
		if outcome&i.jumps != 0 {
			at = int(i.to)
		}
	}
	return false
}

// sameness is the relation of two values that are only asked whether they are the same.
func sameness(same bool) relation {
	if same {
		return equal
	}
	return less
}

// load carries out what leaves a value in a register.
func (m *machine) load(i *instruction) {
	to := &m.registers[i.to&(registersMax-1)]
	switch i.code {
	case codeShare:
		v := m.registers[i.b&(registersMax-1)]
		m.shared[i.a] = slot{bits: v.bits, stamp: m.mark | uint64(v.kind)}
	case codeSlot:
		*to = m.slot(i.a)
	case codeConstant:
		*to = value{bits: i.imm, kind: point.Kind(i.a)}
	case codePast:
		*to = m.recall(i)
	default:
		*to = compute(operation(i.imm), m.registers[i.a&(registersMax-1)], m.registers[i.b&(registersMax-1)])
	}
}

// know loads a shared value into a register, if it was worked out for this point already.
func (m *machine) know(i *instruction) bool {
	s := &m.shared[i.a]
	if s.stamp^m.mark >= markStep {
		return false
	}
	m.registers[i.b&(registersMax-1)] = value{bits: s.bits, kind: point.Kind(s.stamp)}
	return true
}

// test carries out the tests of registers, and the rarer ones of slots.
func (m *machine) test(i *instruction) relation {
	if i.code == codeTestTextOrder {
		return m.order(m.slot(i.a), value{bits: i.imm, kind: point.String})
	}
	v, w := m.registers[i.a&(registersMax-1)], m.registers[i.b&(registersMax-1)]
	holds := false
	switch i.code {
	case codeTestNumber:
		if v.kind == point.Float && point.Kind(i.b) == point.Float {
			return relateFloats(math.Float64frombits(v.bits), math.Float64frombits(i.imm))
		}
		return relateNumbers(v, value{bits: i.imm, kind: point.Kind(i.b)})
	case codeTest:
		return m.order(v, w)
	case codeTestSame:
		if v.kind == point.Bool && w.kind == point.Bool {
			return sameness(v.bits == w.bits)
		}
		return m.order(v, w)
	case codeTestRegister:
		holds = v.kind == point.Bool && v.bits != 0
	case codeTestList:
		holds = m.inList(v, &m.set.lists[i.imm])
	case codeTestMatch:
		holds = v.kind == point.String && m.set.patterns[i.imm].match(m.text(v.bits)) == (i.b == 0)
	default:
		holds = v.kind == point.String && w.kind == point.String &&
			testTexts(i.code, m.text(v.bits), m.text(w.bits))
	}
	if holds {
		return equal
	}
	return unordered
}

func testTexts(code opcode, a, b []byte) bool {
	switch code {
	case codeTestStart:
		return bytes.HasPrefix(a, b)
	case codeTestEnd:
		return bytes.HasSuffix(a, b)
	}
	return bytes.Contains(a, b)
}

// order compares two values. Bools have none.
func (m *machine) order(a, b value) relation {
	if a.kind == point.String && b.kind == point.String {
		return relateInts(int64(bytes.Compare(m.text(a.bits), m.text(b.bits))), 0)
	}
	return relateNumbers(a, b)
}

// match tells whether a text matches.
func (p *pattern) match(text []byte) bool {
	if !p.plain {
		return p.expression.Match(text)
	}
	switch {
	case p.whole:
		return string(text) == p.literal
	case p.start:
		return len(text) >= len(p.literal) && string(text[:len(p.literal)]) == p.literal
	case p.end:
		return len(text) >= len(p.literal) && string(text[len(text)-len(p.literal):]) == p.literal
	}
	return bytes.Contains(text, p.literalBytes)
}

// list is the literals of `in`, sorted so that a look-up halves.
type list struct {
	texts   []string
	numbers []value
	bools   [2]bool
}

func newList(literals []constant) list {
	var l list
	for _, c := range literals {
		switch c.kind {
		case point.String:
			l.texts = append(l.texts, c.text)
		case point.Bool:
			l.bools[c.number] = true
		default:
			l.numbers = append(l.numbers, c.value())
		}
	}
	slices.Sort(l.texts)
	slices.SortFunc(l.numbers, func(a, b value) int {
		x, _ := a.float()
		y, _ := b.float()
		return cmp.Compare(x, y)
	})
	return l
}

// inList tells whether a value is in a list.
func (m *machine) inList(v value, l *list) bool {
	switch v.kind {
	case point.Missing:
		return false
	case point.Bool:
		return l.bools[v.bits&1]
	case point.String:
		text := m.text(v.bits)
		low, high := 0, len(l.texts)
		for low < high {
			middle := int(uint(low+high) >> 1)
			if l.texts[middle] < string(text) {
				low = middle + 1
			} else {
				high = middle
			}
		}
		return low < len(l.texts) && l.texts[low] == string(text)
	}
	return l.hasNumber(v)
}

// hasNumber finds a number by its float, and among integers that are one float compares exactly.
func (l *list) hasNumber(v value) bool {
	f, _ := v.float()
	low, high := 0, len(l.numbers)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if g, _ := l.numbers[middle].float(); g < f {
			low = middle + 1
		} else {
			high = middle
		}
	}
	for ; low < len(l.numbers); low++ {
		if g, _ := l.numbers[low].float(); g != f {
			return false
		}
		if relateNumbers(v, l.numbers[low]) == equal {
			return true
		}
	}
	return false
}
