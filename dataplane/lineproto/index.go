package lineproto

import (
	"encoding/binary"
	"math/bits"
)

// index says where the structure of one payload lies. It is made in one pass over the bytes, 64 of them at a
// time, before the first line is read; the decoder then walks from mark to mark and looks at the bytes
// between them no more.
//
//	payload  m,t=a v=12i 5␊
//	marks     1 3 5 7   11 13 0 0 0 0
//	others   ▇▇▇▇▇▇▇▇··▇▇·▇
//
// Each way of making it gives the same index, which the tests compare. None reads a byte beyond the payload:
// what stands there, in a frame, belongs to nobody.
type index struct {
	// marks are the positions of all bytes that mean something to a line, in ascending order: space and
	// control characters, comma, equals sign, quote, backslash. Behind them stand markGap zeros: a walk that
	// looks ahead sees by the order of its marks that they are none.
	marks []uint32
	count int // of marks, without the zeros
	// others has a bit for each byte that is no decimal digit, the first in the lowest bit of the first
	// byte. The bits behind the payload are set.
	others []byte
	// rare has a bit for each byte that is not plain ASCII: DEL, or a part of a longer UTF-8 sequence.
	rare []uint64
	// anyRare tells that rare has a bit set at all.
	anyRare bool

	path path
}

const (
	// blockSize is how many bytes are looked at together: as many as a word has bits.
	blockSize = 64
	// markGap is how many zeros stand behind the last mark.
	markGap = 4
	// byteGap is how many bytes of bits stand behind the last block: nonDigits reads eight at once, and may
	// be asked about the end.
	byteGap = 8
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
	if cap(x.rare) < blocks || x.marks == nil {
		x.grow(blocks)
	}
	x.others, x.rare = x.others[:8*blocks+byteGap], x.rare[:blocks]
	n, rare := x.scan(b)
	x.anyRare, x.count = rare != 0, n
	*(*[markGap]uint32)(x.marks[n:]) = [markGap]uint32{}
	binary.LittleEndian.PutUint64(x.others[8*blocks:], ^uint64(0))
}

// grow makes room for payloads of so many blocks: each byte may be a mark, and a block of marks is written
// at once whatever its number.
func (x *index) grow(blocks int) {
	blocks += blocks/2 + 24 // Of a first packet of 1500 bytes at most, all later ones fit.
	x.marks = make([]uint32, (blocks+1)*blockSize+markGap)
	x.others, x.rare = make([]byte, 8*blocks+byteGap), make([]uint64, blocks)
}

// markAt is the position of mark k, or where the payload ends, which ends the last line like a mark.
func (d *Decoder) markAt(k int) int {
	if k < d.index.count {
		return int(d.index.marks[k])
	}
	return len(d.payload)
}

// rareFrom is where the bytes from one position to another that are not plain ASCII begin and end: from the
// first of them to behind the last. Both are `to` if there are none.
func (x *index) rareFrom(from, to int) (first, end int) {
	block, last := from/blockSize, (to-1)/blockSize
	tail := ^uint64(0) >> (^uint(to-1) % blockSize)
	w := x.rare[block] & (^uint64(0) << (uint(from) % blockSize))
	for w == 0 && block < last {
		block++
		w = x.rare[block]
	}
	if block == last {
		if w &= tail; w == 0 {
			return to, to
		}
	}
	first = block*blockSize + bits.TrailingZeros64(w)
	if last > block {
		// The last one is in this block at the latest.
		for w = x.rare[last] & tail; w == 0; w = x.rare[last] {
			last--
		}
	}
	return first, last*blockSize + bits.Len64(w)
}

// plainMax bounds the length of what nonDigits tells of at once: a word less the bits before the first.
const plainMax = 57

// nonDigits has a bit for each byte from i on that is no decimal digit, the first in the lowest bit, and is
// right for plainMax of them. The caller guarantees that i is at most the payload's length.
func nonDigits(others text, i uint32) uint64 { return others.word(i/8) >> (i % 8) }

// putMarks writes the positions of the bits of a block that begins at base, and returns how many there are.
// It writes twelve at least, of which the last may mean nothing: most blocks have no more, and to guess when
// it is over costs more than to write some for nothing.
func putMarks(marks *[blockSize]uint32, base uint32, set uint64) int {
	n := bits.OnesCount64(set)
	for i := 0; i < max(n, 12); i += 4 {
		four := (*[4]uint32)(marks[i%blockSize:])
		four[0] = base + uint32(bits.TrailingZeros64(set))
		set &= set - 1
		four[1] = base + uint32(bits.TrailingZeros64(set))
		set &= set - 1
		four[2] = base + uint32(bits.TrailingZeros64(set))
		set &= set - 1
		four[3] = base + uint32(bits.TrailingZeros64(set))
		set &= set - 1
	}
	return n
}
