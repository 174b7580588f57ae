package rules

import (
	"encoding/binary"
	"math"

	"culvert/dataplane/point"
)

// glance is a condition that a rule cannot hold without: a comparison of a field with a number that stands in
// its program before anything else can decide. Most rules do not hold for most points, and for most of these
// a glance at the text of one field says so. What it leaves open, the program decides.
type glance struct {
	place textPlace // of the field's name; the zero one where the rule has no such comparison
	bound bound
	slot  uint16
	fails relation // for these the rule is false
	kind  point.Kind
	imm   uint64 // the constant, of this kind
}

// newGlance finds the first comparison of a program that makes it false when it fails.
func (s *Set) newGlance(code []instruction) (g glance) {
	for i := range code {
		in := &code[i]
		if in.code < codeTestFloat || in.code > codeTestHas {
			return g
		}
		if end := &code[in.to]; end.code != codeResult || end.a != 0 {
			return g
		}
		if in.code == codeTestFloat || in.code == codeTestInt {
			kind := point.Float
			if in.code == codeTestInt {
				kind = point.Int
			}
			b, ok := newBound(value{bits: in.imm, kind: kind})
			if n := s.slots[in.a]; ok && n.kind == nameField {
				g.place, g.bound = newTextPlace([]byte(n.text)), b
				g.slot, g.fails, g.kind, g.imm = in.a, in.jumps, kind, in.imm
			}
			return g
		}
	}
	return g
}

// exclude returns how many of the first rules are false for the point at hand by a glance alone. It is one
// loop, so that what it needs of the point stays in registers.
func (m *machine) exclude(steps []step) int {
	fields, payload := m.point.Fields, m.point.PayloadBytes
	for i := range steps {
		g := &steps[i].glance
		guess := int(m.guess[g.slot])
		if guess >= len(fields) {
			return i
		}
		f := &fields[guess]
		if !g.place.isAt(f.Name, payload) || g.relate(f, payload)&g.fails == 0 {
			return i
		}
	}
	return len(steps)
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
		return s.values.findAt(p.Tags[guess].Value, p)
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
	first := binary.LittleEndian.Uint64(payload[at:])&t.firstM ^ t.first
	return first|binary.LittleEndian.Uint64(payload[at+t.second:])&t.secndM^t.last == 0
}
