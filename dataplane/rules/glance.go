package rules

import (
	"math"

	"culvert/dataplane/point"
)

// glance is a condition that a rule cannot hold without: a comparison of a field with a number that its
// program comes to on the only way to a yes. Most rules do not hold for most points, and for most of these a
// glance at the text of one field says so. What glances leave open, the program decides.
type glance struct {
	place textPlace // of the field's name
	bound bound
	bit   uint64 // of the field's name: point.NameBit
	imm   uint64 // the constant, of this kind
	slot  uint16
	fails relation // for these the rule is false
	kind  point.Kind
}

// glancesMax bounds how many a rule has: what none of the first says, no further one is likely to say.
const glancesMax = 8

// newGlances finds the comparisons that make a program false when they fail. complete tells that they are all
// that the program asks for, beside a tag of which the value is known.
func (s *Set) newGlances(code []instruction, known choice) (all []glance, complete bool) {
	complete = true
	for i := range code {
		in := &code[i]
		switch in.code {
		case codeResult:
			return all, complete && in.a != 0
		case codeJump, codeShared:
			return all, false
		case codeSlot, codeConstant, codeCompute, codeShare:
			complete = false
			continue
		}
		if end := &code[in.to]; end.code != codeResult || end.a != 0 || len(all) == glancesMax {
			return all, false
		}
		if g, ok := s.newGlance(in); ok {
			all = append(all, g)
		} else {
			complete = complete && s.isChoice(in, known)
		}
	}
	return all, false
}

// isChoice tells whether a test is the one by which the rule was found.
func (s *Set) isChoice(in *instruction, known choice) bool {
	if in.code != codeTestText || len(known.values) != 1 || in.a != known.slot {
		return false
	}
	span := point.Span(in.imm)
	return in.jumps == less|greater|unordered &&
		string(s.texts[span.Offset():span.End()]) == known.values[0]
}

// newGlance makes the glance of one comparison, if it is of a field with a number.
func (s *Set) newGlance(in *instruction) (g glance, ok bool) {
	g = glance{slot: in.a, fails: in.jumps, kind: point.Float, imm: in.imm}
	switch in.code {
	case codeTestInt:
		g.kind = point.Int
	case codeTestFloat:
	default:
		return g, false
	}
	n := s.slots[in.a]
	g.bound, ok = newBound(value{bits: in.imm, kind: g.kind})
	if !ok || n.kind != nameField || len(n.text) > spellingShort {
		return g, false
	}
	g.place, g.bit = newTextPlace([]byte(n.text)), point.NameBit([]byte(n.text))
	return g, true
}

// exclude returns how many of the first rules are false for the point at hand by a glance alone. Each has the
// glance tried first that excluded it last. sure tells that the rule behind them is true, by glances alone
// too. It is one loop, so that what it needs of the point stays in registers.
func (m *machine) exclude(steps []step) (n int, sure bool) {
	fields, payload := m.point.Fields, m.point.PayloadBytes
	for i := range steps {
		s := &steps[i]
		g := &s.glance
		if g.fails == 0 {
			return i, false
		}
		if first := m.favourite[s.rule]; first != 0 {
			g = &s.glances[first]
		}
		if guess := int(m.guess[g.slot]); guess < len(fields) {
			f := &fields[guess]
			if g.place.isAt(f.Name, payload) && g.relate(f, payload)&g.fails != 0 {
				continue
			}
		}
		if excluded, sure := m.lookAtAll(s); !excluded {
			return i, sure
		}
	}
	return len(steps), false
}

// lookAtAll tries all glances of a rule, and tells whether they exclude it, or leave no doubt that it is
// true.
//
//go:noinline
func (m *machine) lookAtAll(s *step) (excluded, sure bool) {
	sure = s.complete
	for i := range s.glances {
		r := m.look(&s.glances[i])
		if r&s.glances[i].fails != 0 {
			m.favourite[s.rule] = uint8(i)
			return true, false
		}
		sure = sure && r != 0
	}
	return false, sure
}

// look is the relation that a glance finds, or 0 where that takes the program.
func (m *machine) look(g *glance) relation {
	p := m.point
	if guess := int(m.guess[g.slot]); guess < len(p.Fields) {
		if f := &p.Fields[guess]; g.place.isAt(f.Name, p.PayloadBytes) {
			return g.relate(f, p.PayloadBytes)
		}
	}
	if p.LacksFields&g.bit != 0 {
		return unordered
	}
	return 0
}

// relate compares a field with the constant, or returns 0 where that takes the field's value.
func (g *glance) relate(f *point.Field, payload []byte) relation {
	if f.Known {
		return relateNumbers(value{bits: f.Bits, kind: f.Kind}, value{bits: g.imm, kind: g.kind})
	}
	return g.bound.relate(payload, f)
}

// choose finds the rules that the value of a tag selects, −1 for none.
func (m *machine) choose(s *selection) int {
	p, guess := m.point, int(m.guess[s.slot])
	if guess < len(p.Tags) && s.place.isAt(p.Tags[guess].Name, p.PayloadBytes) {
		value := p.Tags[guess].Value
		at := s.values.findAt(value, p)
		if at >= 0 {
			// The programs of these rules are going to ask for it.
			m.put(s.slot, uint64(value), point.String)
		}
		return at
	}
	v := m.slot(s.slot)
	if v.kind != point.String {
		return -1
	}
	return s.values.find(m.text(v.bits))
}

// textPlace recognises a text of up to spellingShort bytes in a payload, by its length and two words, without
// a branch that depends on the length. The zero textPlace recognises none.
type textPlace struct {
	extent         uint64 // a Span without the offset
	second         int    // where the second word begins: it ends with the text, or is the first again
	first, last    uint64
	firstM, secndM uint64
}

func newTextPlace(text []byte) textPlace {
	n := len(text)
	if n == 0 || n > spellingShort {
		return textPlace{}
	}
	t := textPlace{extent: uint64(n), firstM: math.MaxUint64 >> (64 - 8*min(n, 8))}
	t.first, t.last = shortWords(text)
	if n > 8 {
		t.second, t.secndM = n-8, math.MaxUint64
	}
	return t
}

// isAt tells whether a span is this text. It may be false at the payload's end although it is.
func (t *textPlace) isAt(span point.Span, payload []byte) bool {
	at := span.Offset()
	if uint64(span)>>32 != t.extent || at+t.second+8 > len(payload) {
		return false
	}
	first := wordAt(payload, at)&t.firstM ^ t.first
	return first|(wordAt(payload, at+t.second)&t.secndM^t.last) == 0
}
