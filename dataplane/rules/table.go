package rules

import (
	"encoding/binary"
	"math"
	"math/bits"

	"culvert/dataplane/point"
)

// spelling is a text that others are compared with. Up to spellingShort bytes, two words are all of it, so
// that a comparison is no call and no loop; of a longer text they are a hash.
type spelling struct {
	text string
	a, b uint64
}

// spellingShort is the length up to which two words hold a text: its first and its last eight bytes.
const spellingShort = 16

func newSpelling(text string) spelling {
	s := spelling{text: text}
	s.a, s.b = spell([]byte(text))
	return s
}

// is tells whether a text is this one.
func (s *spelling) is(text []byte) bool {
	if len(text) != len(s.text) {
		return false
	}
	if len(text) > spellingShort {
		return string(text) == s.text
	}
	a, b := shortWords(text)
	return a == s.a && b == s.b
}

// spell is the two words of a text.
func spell(text []byte) (a, b uint64) {
	if len(text) > spellingShort {
		return plainKeys.sum(text)
	}
	return shortWords(text)
}

// shortWords is spell for a text of 1 to spellingShort bytes. What lies behind the text, up to the slice's
// capacity, is read and masked off.
func shortWords(text []byte) (a, b uint64) {
	n := len(text)
	switch {
	case n > 8:
		return binary.LittleEndian.Uint64(text), binary.LittleEndian.Uint64(text[n-8:])
	case cap(text) >= 8:
		return binary.LittleEndian.Uint64(text[:8]) & (math.MaxUint64 >> (uint(64-8*n) & 63)), 0
	case n >= 4:
		// The halves may overlap, where they agree.
		a = uint64(binary.LittleEndian.Uint32(text))
		return a | uint64(binary.LittleEndian.Uint32(text[n-4:]))<<(8*uint(n-4)&63), 0
	case n > 0:
		a = uint64(text[0]) | uint64(text[n/2])<<(8*uint(n/2)&63)
		return a | uint64(text[n-1])<<(8*uint(n-1)&63), 0
	}
	return 0, 0
}

// table finds a number by a text: an open-addressing hash table that is built once and then only read. Its
// hash is not keyed: what a sender can choose are the look-ups, not the entries, and the longest run of
// entries bounds a look-up.
type table struct {
	cells   []tableCell
	lengths uint64 // bit n: there is a text of n bytes; bit 63: of 63 or more
	// maybe has a bit for each text, by the upper half of its hash: most texts that are not in the table end
	// there, always the same way, while whether a cell is free is as good as random.
	maybe []uint64
}

// maybeBits is how many bits of maybe there are for a cell.
const maybeBits = 16

type tableCell struct {
	spelling // its text empty: the cell is free
	to       int32
}

// newTable makes a table of texts, none of them empty and all different, each with its number.
func newTable(texts []string, numbers []int32) table {
	size := 1
	for size < 2*len(texts) {
		size *= 2
	}
	t := table{cells: make([]tableCell, size), maybe: make([]uint64, (size*maybeBits+63)/64)}
	for i, text := range texts {
		t.lengths |= 1 << min(len(text), 63)
		s := newSpelling(text)
		hash := place(s.a, s.b)
		t.maybe[hash>>38&uint64(len(t.maybe)-1)] |= 1 << (hash >> 32 & 63)
		at := hash & uint64(size-1)
		for t.cells[at].text != "" {
			at = (at + 1) & uint64(size-1)
		}
		t.cells[at] = tableCell{spelling: s, to: numbers[i]}
	}
	return t
}

// place spreads the two words of texts over a table.
func place(a, b uint64) uint64 { return fold(a^plainKeys[0], b^plainKeys[1]) }

// find returns the text's number, or −1.
func (t *table) find(text []byte) int {
	if t.lengths>>min(len(text), 63)&1 == 0 {
		return -1
	}
	if len(text) > spellingShort {
		return t.findLong(text)
	}
	a, b := shortWords(text)
	return t.findWords(a, b, len(text))
}

// findAt is find for a text of a point.
func (t *table) findAt(span point.Span, p *point.Point) int {
	at, n := span.Offset(), uint64(span)>>32
	if n-1 >= 8 || at+8 > len(p.PayloadBytes) {
		return t.find(p.Bytes(span))
	}
	if t.lengths>>n&1 == 0 {
		return -1
	}
	word := wordAt(p.PayloadBytes, at)
	return t.findWords(word&(math.MaxUint64>>(64-8*n&63)), 0, int(n))
}

// findWords finds a text of up to spellingShort bytes, and one of the table's lengths, by its words.
func (t *table) findWords(a, b uint64, length int) int {
	cells, mask := t.cells, uint64(len(t.cells)-1)
	hash := place(a, b)
	if word := hash >> 38 & uint64(len(t.maybe)-1); t.maybe[word]>>(hash>>32&63)&1 == 0 {
		return -1
	}
	for at := hash & mask; at < uint64(len(cells)); at = (at + 1) & mask {
		switch c := &cells[at]; {
		case len(c.text) == length && c.a == a && c.b == b:
			return int(c.to)
		case c.text == "":
			return -1
		}
	}
	return -1
}

func (t *table) findLong(text []byte) int {
	mask := uint64(len(t.cells) - 1)
	a, b := spell(text)
	for at := place(a, b) & mask; ; at = (at + 1) & mask {
		switch c := &t.cells[at]; {
		case c.text == "":
			return -1
		case c.a == a && c.b == b && c.text == string(text):
			return int(c.to)
		}
	}
}

// plainKeys are the fixed keys of hashes that need no secret: the fractions of √2 and √3, which have no
// pattern of their own.
var plainKeys = seeds{0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x6a09e667f3bcc909, 0xbb67ae8584caa73d}

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
