package rules

import (
	"encoding/binary"
	"math/bits"

	"culvert/dataplane/point"
)

// slot is the place where a program finds one name's value. Every name that any rule of a Set uses has one.
//
// Slots are filled when they are first asked for. Senders keep the order of their fields, so the place where
// a name was found last is looked at first; when that fails once, all names of the point are matched in one
// pass. So a point costs at most one look-up per name, however many slots there are.
type slot struct {
	bits  uint64
	stamp uint64 // mark | kind
}

// slotsMax bounds the names of a Set, since instructions name slots by 16 bits.
const slotsMax = 1<<16 - 1

// markStep is what a point adds to the mark: kinds lie in the bits below.
const markStep = 256

// noGuess stands for a name that was never found, or too far behind to be remembered.
const noGuess = 255

func (m *machine) slot(i uint16) value {
	if s := &m.slots[i]; s.stamp^m.mark < markStep {
		return value{bits: s.bits, kind: point.Kind(s.stamp)}
	}
	return m.fill(i)
}

func (m *machine) put(i uint16, bits uint64, kind point.Kind) value {
	m.slots[i] = slot{bits: bits, stamp: m.mark | uint64(kind)}
	return value{bits: bits, kind: kind}
}

// fill finds the value of one slot in the point at hand. It is kept out of slot, so that slot is not a call.
//
//go:noinline
func (m *machine) fill(i uint16) value {
	p, guess := m.point, int(m.guess[i])
	name := &m.set.slots[i]
	switch name.kind {
	case nameField:
		if guess < len(p.Fields) {
			if f := &p.Fields[guess]; string(p.Bytes(f.Name)) == name.text {
				return m.setField(i, f)
			}
		}
		m.matchOnce()
	case nameTag:
		if guess < len(p.Tags) && string(p.Bytes(p.Tags[guess].Name)) == name.text {
			return m.put(i, uint64(p.Tags[guess].Value), point.String)
		}
		m.matchOnce()
	case nameMeasurement:
		return m.put(i, uint64(p.Measurement), point.String)
	case nameTime:
		if p.HasTime {
			return m.put(i, uint64(p.Time), point.Int)
		}
	}
	if s := &m.slots[i]; s.stamp^m.mark < markStep {
		return value{bits: s.bits, kind: point.Kind(s.stamp)}
	}
	return m.put(i, 0, point.Missing)
}

func (m *machine) setField(i uint16, f *point.Field) value {
	if f.Kind == point.String {
		return m.put(i, uint64(f.Value), point.String)
	}
	if !f.Known {
		return m.put(i, m.point.Number(f), f.Kind)
	}
	return m.put(i, f.Bits, f.Kind)
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
			m.setField(uint16(i), &p.Fields[at])
			m.guess[i] = uint8(min(at, noGuess))
		}
	}
}

// table finds a number by a text: an open-addressing hash table that is built once and then only read. Its
// hash is not keyed: what a sender can choose are the look-ups, not the entries, and the longest run of
// entries bounds a look-up.
type table struct {
	cells   []tableCell
	lengths uint64 // bit n: there is a text of n bytes; bit 63: of 63 or more
}

type tableCell struct {
	text string // empty: the cell is free
	hash uint64
	to   int32
}

// newTable makes a table of texts, none of them empty and all different, each with its number.
func newTable(texts []string, numbers []int32) table {
	size := 1
	for size < 2*len(texts) {
		size *= 2
	}
	t := table{cells: make([]tableCell, size)}
	for i, text := range texts {
		t.lengths |= 1 << min(len(text), 63)
		hash := plainHash([]byte(text))
		at := hash & uint64(size-1)
		for t.cells[at].text != "" {
			at = (at + 1) & uint64(size-1)
		}
		t.cells[at] = tableCell{text: text, hash: hash, to: numbers[i]}
	}
	return t
}

// find returns the text's number, or −1.
func (t *table) find(text []byte) int {
	if t.lengths>>min(len(text), 63)&1 == 0 {
		return -1
	}
	mask := uint64(len(t.cells) - 1)
	hash := plainHash(text)
	for at := hash & mask; ; at = (at + 1) & mask {
		c := &t.cells[at&mask]
		if c.text == "" {
			return -1
		}
		if c.hash == hash && c.text == string(text) {
			return int(c.to)
		}
	}
}

// plainKeys are the fixed keys of plainHash: the fractions of √2 and √3, which have no pattern of their own.
var plainKeys = seeds{0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x6a09e667f3bcc909, 0xbb67ae8584caa73d}

func plainHash(text []byte) uint64 {
	hash, _ := plainKeys.sum(text)
	return hash
}

// seeds key a hash of 128 bits: multiplications of 64 by 64 bits whose halves are folded together. Whoever
// does not know the keys cannot make two texts collide on purpose.
type seeds [4]uint64

// newSeeds stretches 128 secret bits to the keys, by the finaliser of SplitMix64.
func newSeeds(secret [2]uint64) *seeds {
	var s seeds
	for i := range s {
		z := secret[i&1] + uint64(i/2+1)*0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		s[i] = z ^ z>>31
	}
	return &s
}

func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// sum hashes a text twice, independently: the first half finds it, the second verifies it.
func (s *seeds) sum(text []byte) (hash, check uint64) {
	n := uint64(len(text))
	hash, check = s[0]^n, s[1]^n
	for len(text) > 16 {
		a, b := binary.LittleEndian.Uint64(text), binary.LittleEndian.Uint64(text[8:])
		hash, check = fold(a^hash, b^s[2]), fold(a^s[3], b^check)
		text = text[16:]
	}
	var a, b uint64
	switch {
	case len(text) >= 8:
		a = binary.LittleEndian.Uint64(text)
		b = binary.LittleEndian.Uint64(text[len(text)-8:])
	case len(text) >= 4:
		a = uint64(binary.LittleEndian.Uint32(text))
		b = uint64(binary.LittleEndian.Uint32(text[len(text)-4:]))
	case len(text) > 0:
		a = uint64(text[0]) | uint64(text[len(text)>>1])<<8 | uint64(text[len(text)-1])<<16
	}
	hash, check = fold(a^hash, b^s[2]), fold(a^s[3], b^check)
	return fold(hash^s[3], s[1]^n), fold(check^s[2], s[0]^n)
}

// chain adds another hash to one, so that the order counts.
func (s *seeds) chain(hash, check, nextHash, nextCheck uint64) (uint64, uint64) {
	return fold(hash^nextHash, s[2]), fold(check^nextCheck, s[3])
}
