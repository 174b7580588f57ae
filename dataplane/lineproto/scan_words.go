package lineproto

import "encoding/binary"

// scanWords makes an index with nothing but words of eight bytes, on every machine.
func scanWords(b []byte, marks []uint32, others []byte, rare []uint64) (n int, anyRare uint64) {
	base := 0
	for ; base+blockSize <= len(b); base += blockSize {
		set, other, odd := wordsBlock((*[blockSize]byte)(b[base:]))
		at := base / blockSize
		rare[at] = odd
		binary.LittleEndian.PutUint64(others[8*at:], other)
		anyRare |= odd
		n += putMarks((*[blockSize]uint32)(marks[n:]), uint32(base), set)
	}
	if base == len(b) {
		return n, anyRare
	}
	var tail [blockSize]byte
	length := copy(tail[:], b[base:])
	set, other, odd := wordsBlock(&tail)
	at := base / blockSize
	rare[at] = odd
	binary.LittleEndian.PutUint64(others[8*at:], other)
	set &= 1<<uint(length) - 1
	return n + putMarks((*[blockSize]uint32)(marks[n:]), uint32(base), set), anyRare | odd
}

// wordsBlock finds the marks of a block, the bytes that are no digits and those that are not plain ASCII.
// The tests are exact: with the top bits put aside, no sum carries into the next byte.
func wordsBlock(b *[blockSize]byte) (set, other, odd uint64) {
	var high uint64
	for i := 0; i < blockSize; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		low := w &^ highs
		// Each sum has a byte's top bit set if it is above, or not, the character.
		ordinary := (low + (0x80-'!')*ones) & (low ^ ','*ones + 0x7f*ones) & (low ^ '='*ones + 0x7f*ones) &
			(low ^ '"'*ones + 0x7f*ones) & (low ^ '\\'*ones + 0x7f*ones)
		set |= gather(^(ordinary | w)) << uint(i)
		digit := (low + (0x80-'0')*ones) &^ (low + (0x80-':')*ones) &^ w
		other |= gather(^digit) << uint(i)
		high |= w | (low + ones)
	}
	if high&highs == 0 {
		return set, other, 0
	}
	for i := 0; i < blockSize; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		odd |= gather(w|(w&^highs+ones)) << uint(i)
	}
	return set, other, odd
}

// gather joins the top bits of a word's eight bytes in one byte, the lowest first.
func gather(w uint64) uint64 { return (w & highs >> 7) * 0x0102040810204080 >> 56 }
