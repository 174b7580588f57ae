package lineproto

import "math/bits"

// index says where the structure of one payload lies. It is made in one pass over the bytes, 64 of them at a
// time, before the first line is read; the decoder then walks from mark to mark and looks at the bytes
// between them no more.
//
//	payload  m,t=a v=12i 5␊
//	marks     1 3 5 7   11 13 14 14 14 14
//	others   ▇▇▇▇▇▇▇▇··▇▇·▇
//
// Each way of making it gives the same index, which the tests compare. None reads a byte beyond the payload:
// what stands there, in a frame, belongs to nobody.
type index struct {
	// marks are the positions of all bytes that mean something to a line, in ascending order: space and
	// control characters, comma, equals sign, quote, backslash. Behind the last one stands the payload's
	// length, markGap times, so that a walk may look ahead.
	marks []uint32
	// others has a bit for each byte that is no decimal digit, the first in the lowest bit of the first
	// word. The bits behind the payload are set.
	others []uint64
	// rare has a bit for each byte that is not plain ASCII: DEL, or a part of a longer UTF-8 sequence.
	rare []uint64
	// anyRare tells that rare has a bit set at all.
	anyRare bool

	path path
}

const (
	// blockSize is how many bytes are looked at together: as many as a word has bits.
	blockSize = 64
	// markGap is how many ends stand behind the last mark.
	markGap = 4
	// wordGap is how many words of bits stand behind the last block: nonDigits reads two at once, and may
	// be asked about the end.
	wordGap = 2
)

// path is one of the ways to make an index.
type path uint8

// The paths. The zero path is the best one that this machine has.
const (
	pathBest path = iota
	pathWords
	pathAVX2
	pathAVX512
	paths
)

var pathNames = [paths]string{"best", "words", "avx2", "avx512"}

func (p path) String() string { return pathNames[p] }

// build makes the index of a payload. It allocates only when the payload is longer than all before.
func (x *index) build(b []byte) {
	blocks := (len(b) + blockSize - 1) / blockSize
	if cap(x.others) < blocks+wordGap {
		x.grow(blocks)
	}
	x.others, x.rare = x.others[:blocks+wordGap], x.rare[:blocks]
	n, rare := x.scan(b)
	x.anyRare = rare != 0
	ends := x.marks[n : n+markGap]
	for i := range ends {
		ends[i] = uint32(len(b))
	}
	for i := range wordGap {
		x.others[blocks+i] = ^uint64(0)
	}
}

// grow makes room for payloads of so many blocks: each byte may be a mark, and a block of marks is written
// at once whatever its number.
func (x *index) grow(blocks int) {
	blocks += blocks/2 + 24 // Of a first packet of 1500 bytes at most, all later ones fit.
	x.marks = make([]uint32, (blocks+1)*blockSize+markGap)
	x.others, x.rare = make([]uint64, blocks+wordGap), make([]uint64, blocks)
}

// hasRare tells whether one of the bytes from one position to another is not plain ASCII.
func (x *index) hasRare(from, to int) bool {
	first, last := from/blockSize, (to-1)/blockSize
	head := ^uint64(0) << (uint(from) % blockSize)
	tail := ^uint64(0) >> (^uint(to-1) % blockSize)
	if first == last {
		return x.rare[first]&head&tail != 0
	}
	found := x.rare[first]&head | x.rare[last]&tail
	for _, w := range x.rare[first+1 : last] {
		found |= w
	}
	return found != 0
}

// nonDigits has a bit for each of the n bytes from i on that is no decimal digit, the first in the lowest
// bit. n is at most 63.
func nonDigits(others []uint64, i, n int) uint64 {
	at := uint(i) / blockSize
	pair := (*[2]uint64)(others[at:])
	found := pair[0]>>(uint(i)%blockSize) | pair[1]<<1<<(^uint(i)%blockSize)
	return found & (1<<(uint(n)%64) - 1)
}

// putMarks writes the positions of the bits of a block that begins at base, and returns how many there are.
// It writes 8 or 16 at once, of which the last may mean nothing: to count in steps of eight is cheaper than
// to guess each time when it is over.
func putMarks(marks *[blockSize]uint32, base uint32, set uint64) int {
	n := bits.OnesCount64(set)
	for i := range 8 {
		marks[i] = base + uint32(bits.TrailingZeros64(set))
		set &= set - 1
	}
	if n <= 8 {
		return n
	}
	for i := 8; i < 16; i++ {
		marks[i] = base + uint32(bits.TrailingZeros64(set))
		set &= set - 1
	}
	for i := 16; i < n; i++ {
		marks[i%blockSize] = base + uint32(bits.TrailingZeros64(set))
		set &= set - 1
	}
	return n
}
