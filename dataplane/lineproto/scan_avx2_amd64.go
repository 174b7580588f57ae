//go:build goexperiment.simd && amd64

package lineproto

import (
	"encoding/binary"
	"simd/archsimd"
)

// scanAVX2 makes an index with vectors of 32 bytes.
func scanAVX2(b []byte, marks []uint32, others []byte, rare []uint64) (n int, anyRare uint64) {
	base := 0
	for ; base+blockSize <= len(b); base += blockSize {
		set, other, odd := avx2Block((*[blockSize]byte)(b[base:]))
		at := base / blockSize
		rare[at] = odd
		binary.LittleEndian.PutUint64(others[8*at:], other)
		anyRare |= odd
		n += putMarks((*[blockSize]uint32)(marks[n:]), uint32(base), set)
	}
	if base < len(b) {
		// There is no masked load of bytes, so the last block is a copy with NUL behind the text.
		var tail [blockSize]byte
		length := copy(tail[:], b[base:])
		set, other, odd := avx2Block(&tail)
		at := base / blockSize
		rare[at] = odd
		binary.LittleEndian.PutUint64(others[8*at:], other)
		anyRare |= odd
		set &= 1<<uint(length) - 1
		n += putMarks((*[blockSize]uint32)(marks[n:]), uint32(base), set)
	}
	// What follows uses the older instructions, which wait for the upper halves of the registers otherwise.
	archsimd.ClearAVXUpperBits()
	return n, anyRare
}

func avx2Block(b *[blockSize]byte) (set, other, odd uint64) {
	set0, other0, odd0 := avx2Half((*[32]byte)(b[:32]))
	set1, other1, odd1 := avx2Half((*[32]byte)(b[32:]))
	set, other = uint64(set1)<<32|uint64(set0), uint64(other1)<<32|uint64(other0)
	return set, other, uint64(odd1)<<32 | uint64(odd0)
}

// avx2Half finds the marks of half a block, the bytes that are no digits and those that are not plain ASCII.
// Unsigned bytes can't be compared by AVX2: x ≤ y is tested as min(x, y) = x.
func avx2Half(b *[32]byte) (set, other, odd uint32) {
	text := archsimd.LoadUint8x32(b)
	digit := text.Sub(archsimd.BroadcastUint8x32('0'))
	marks := text.Equal(text.Min(archsimd.BroadcastUint8x32(' '))).
		Or(text.Equal(archsimd.BroadcastUint8x32(','))).
		Or(text.Equal(archsimd.BroadcastUint8x32('='))).
		Or(text.Equal(archsimd.BroadcastUint8x32('"'))).
		Or(text.Equal(archsimd.BroadcastUint8x32('\\')))
	digits := digit.Equal(digit.Min(archsimd.BroadcastUint8x32(9)))
	odds := text.Equal(text.Max(archsimd.BroadcastUint8x32(del)))
	return marks.ToBits(), ^digits.ToBits(), odds.ToBits()
}
