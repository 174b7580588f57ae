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
	guess     []uint8 // of the point's plan: where each slot's name was found last
	epoch     uint64  // counts points; a slot of another epoch is not filled yet
	matched   uint64  // the epoch in which all names of the point were matched to slots
	registers [registersMax]value
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
	for at := 0; ; {
		i := &code[at]
		var holds bool
		switch i.code {
		case codeTestFloat:
			v := m.slot(i.a)
			if v.kind == point.Float {
				holds = relateFloats(math.Float64frombits(v.bits), math.Float64frombits(i.imm))&i.mask != 0
				break
			}
			f, ok := v.float()
			holds = ok && relateFloats(f, math.Float64frombits(i.imm))&i.mask != 0
		case codeTestInt:
			v := m.slot(i.a)
			switch v.kind {
			case point.Int:
				holds = relateInts(int64(v.bits), int64(i.imm))&i.mask != 0
			case point.Float:
				holds = relateFloats(math.Float64frombits(v.bits), float64(int64(i.imm)))&i.mask != 0
			default:
				holds = relateNumbers(v, value{bits: i.imm, kind: point.Int})&i.mask != 0
			}
		case codeTestText:
			holds = m.testText(m.slot(i.a), i)
		case codeTestTruth:
			v := m.slot(i.a)
			holds = v.kind == point.Bool && v.bits != 0
		case codeTestHas:
			holds = m.slot(i.a).kind != point.Missing
		case codeResult:
			return i.a != 0
		case codeJump:
			at = int(i.to)
			continue
		case codeSlot, codeConstant, codeCompute:
			m.load(i)
			at++
			continue
		default:
			holds = m.test(i)
		}
		if holds == (i.mask&jumpWhen != 0) {
			at = int(i.to)
			continue
		}
		at++
	}
}

// testText compares a slot with a string of the Set.
func (m *machine) testText(v value, i *instruction) bool {
	if v.kind != point.String {
		return false
	}
	a, b := m.text(v.bits), m.text(i.imm)
	switch i.mask &^ jumpWhen {
	case equal:
		return string(a) == string(b)
	case less | greater:
		return string(a) != string(b)
	}
	return relateInts(int64(bytes.Compare(a, b)), 0)&i.mask != 0
}

// load carries out what leaves a value in a register.
func (m *machine) load(i *instruction) {
	to := &m.registers[i.to&(registersMax-1)]
	switch i.code {
	case codeSlot:
		*to = m.slot(i.a)
	case codeConstant:
		*to = value{bits: i.imm, kind: point.Kind(i.a)}
	default:
		*to = compute(operation(i.imm), m.registers[i.a&(registersMax-1)], m.registers[i.b&(registersMax-1)])
	}
}

// test carries out the tests of registers.
func (m *machine) test(i *instruction) bool {
	v := m.registers[i.a&(registersMax-1)]
	switch i.code {
	case codeTest:
		return m.compare(v, m.registers[i.b&(registersMax-1)], i.mask&^jumpWhen)
	case codeTestRegister:
		return v.kind == point.Bool && v.bits != 0
	case codeTestList:
		return m.inList(v, &m.set.lists[i.imm])
	case codeTestMatch:
		if v.kind != point.String {
			return false
		}
		return m.set.patterns[i.imm].match(m.text(v.bits)) == (i.b == 0)
	}
	w := m.registers[i.b&(registersMax-1)]
	if v.kind != point.String || w.kind != point.String {
		return false
	}
	a, b := m.text(v.bits), m.text(w.bits)
	switch i.code {
	case codeTestStart:
		return bytes.HasPrefix(a, b)
	case codeTestEnd:
		return bytes.HasSuffix(a, b)
	}
	return bytes.Contains(a, b)
}

func (m *machine) compare(a, b value, mask relation) bool {
	switch {
	case a.kind == point.String && b.kind == point.String:
		return relateInts(int64(bytes.Compare(m.text(a.bits), m.text(b.bits))), 0)&mask != 0
	case a.kind == point.Bool && b.kind == point.Bool:
		return relateBools(a.bits, b.bits, mask)&mask != 0
	}
	return relateNumbers(a, b)&mask != 0
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
