package rules

import "culvert/dataplane/point"

// slot is the place where a program finds one name's value. Every name that any rule of a Set uses has one.
//
// Slots are filled when they are first asked for. Senders keep the order of their fields, so the place where
// a name was found last is looked at first; when that fails once, all names of the point are matched in one
// pass. Most names that a point lacks need no look at it: the decoder knows bits that none of its names has.
// So a point costs at most one look-up per name, however many slots there are.
type slot struct {
	bits  uint64
	stamp uint64 // mark | kind
}

// slotName is the name of a slot as fill looks for it.
type slotName struct {
	spelling
	place textPlace
	kind  nameKind
	bit   uint64 // of a tag or field: point.NameBit
}

func newSlotName(n name) slotName {
	s := slotName{spelling: newSpelling(n.text), place: newTextPlace([]byte(n.text)), kind: n.kind}
	if n.text != "" {
		s.bit = point.NameBit([]byte(n.text))
	}
	return s
}

// slotsMax bounds the names of a Set, since instructions name slots by 16 bits.
const slotsMax = 1<<16 - 1

// markStep is what a point adds to the mark: kinds lie in the bits below.
const markStep = 256

// noGuess stands for a name that was never found, or too far behind to be remembered.
const noGuess = 255

func (m *machine) slot(i uint16) value {
	s := &m.slots[i]
	if s.stamp^m.mark >= markStep {
		m.fill(i)
	}
	return s.value()
}

// value is what a slot that is filled holds.
func (s *slot) value() value { return value{bits: s.bits, kind: point.Kind(s.stamp)} }

func (m *machine) put(i uint16, bits uint64, kind point.Kind) {
	m.slots[i] = slot{bits: bits, stamp: m.mark | uint64(kind)}
}

// fill finds the value of one slot in the point at hand. It is kept out of slot, so that slot is not a call.
//
//go:noinline
func (m *machine) fill(i uint16) {
	p, name, guess := m.point, &m.set.spellings[i], int(m.guess[i])
	switch name.kind {
	case nameField:
		if guess < len(p.Fields) && name.place.isAt(p.Fields[guess].Name, p.PayloadBytes) {
			m.putField(i, &p.Fields[guess])
			return
		}
		if p.LacksFields&name.bit != 0 {
			m.put(i, 0, point.Missing)
			return
		}
		if guess < len(p.Fields) {
			if f := &p.Fields[guess]; name.is(p.Bytes(f.Name)) {
				m.putField(i, f)
				return
			}
		}
		m.matchOnce()
	case nameTag:
		if guess < len(p.Tags) && name.place.isAt(p.Tags[guess].Name, p.PayloadBytes) {
			m.put(i, uint64(p.Tags[guess].Value), point.String)
			return
		}
		if p.LacksTags&name.bit != 0 {
			m.put(i, 0, point.Missing)
			return
		}
		if guess < len(p.Tags) {
			if tag := &p.Tags[guess]; name.is(p.Bytes(tag.Name)) {
				m.put(i, uint64(tag.Value), point.String)
				return
			}
		}
		m.matchOnce()
	case nameMeasurement:
		m.put(i, uint64(p.Measurement), point.String)
		return
	case nameTime:
		if p.HasTime {
			m.put(i, uint64(p.Time), point.Int)
			return
		}
	}
	if m.slots[i].stamp^m.mark >= markStep {
		m.put(i, 0, point.Missing)
	}
}

func (m *machine) putField(i uint16, f *point.Field) {
	if f.Kind == point.String {
		m.put(i, uint64(f.Value), point.String)
	} else {
		m.put(i, m.point.Number(f), f.Kind)
	}
}

// matchOnce fills all slots that the point at hand has a name for, the first time it is called for a point.
func (m *machine) matchOnce() {
	if m.matched == m.mark {
		return
	}
	m.matched = m.mark
	p := m.point
	for at := range p.Tags {
		if i := m.set.tagSlots.find(p.Bytes(p.Tags[at].Name)); i >= 0 {
			m.put(uint16(i), uint64(p.Tags[at].Value), point.String)
			m.guess[i] = uint8(min(at, noGuess))
		}
	}
	for at := range p.Fields {
		if i := m.set.fieldSlots.find(p.Bytes(p.Fields[at].Name)); i >= 0 {
			m.putField(uint16(i), &p.Fields[at])
			m.guess[i] = uint8(min(at, noGuess))
		}
	}
}
