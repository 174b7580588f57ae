//go:build goexperiment.simd && amd64

package lineproto

import (
	"encoding/binary"
	"math/bits"
	"simd/archsimd"
)

// laneNumbers are what is packed: the position of each byte in its block.
var laneNumbers = [blockSize]uint8{
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
	32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
	48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63,
}

// scanAVX512 makes an index with vectors of 64 bytes, which compare into bitmaps. The positions of marks are
// packed by one instruction, of AVX512-VBMI2.
func scanAVX512(b []byte, marks []uint32, others []byte, rare []uint64) (n int, anyRare uint64) {
	lanes := archsimd.LoadUint8x64Slice(laneNumbers[:])
	for base := 0; base < len(b); base += blockSize {
		var text archsimd.Uint8x64
		inside := ^uint64(0)
		if rest := b[base:]; len(rest) >= blockSize {
			text = archsimd.LoadUint8x64((*[blockSize]byte)(rest))
		} else {
			// This load is masked: it does not touch what stands behind the payload.
			text = archsimd.LoadUint8x64SlicePart(rest)
			inside = 1<<uint(len(rest)) - 1
		}
		set := text.LessEqual(archsimd.BroadcastUint8x64(' ')).ToBits() |
			text.Equal(archsimd.BroadcastUint8x64(',')).ToBits() |
			text.Equal(archsimd.BroadcastUint8x64('=')).ToBits() |
			text.Equal(archsimd.BroadcastUint8x64('"')).ToBits() |
			text.Equal(archsimd.BroadcastUint8x64('\\')).ToBits()
		set &= inside
		digit := text.Sub(archsimd.BroadcastUint8x64('0'))
		odd := text.GreaterEqual(archsimd.BroadcastUint8x64(del)).ToBits()
		at := base / blockSize
		other := digit.Greater(archsimd.BroadcastUint8x64(9)).ToBits()
		rare[at] = odd
		binary.LittleEndian.PutUint64(others[8*at:], other)
		anyRare |= odd

		packed := lanes.Compress(archsimd.Mask8x64FromBits(set))
		first := archsimd.BroadcastUint32x16(uint32(base))
		out := (*[blockSize]uint32)(marks[n:])
		count := bits.OnesCount64(set)
		packed.GetLo().GetLo().ExtendToUint32().Add(first).Store((*[16]uint32)(out[:16]))
		if count > 16 {
			packed.GetLo().GetHi().ExtendToUint32().Add(first).Store((*[16]uint32)(out[16:32]))
		}
		if count > 32 {
			packed.GetHi().GetLo().ExtendToUint32().Add(first).Store((*[16]uint32)(out[32:48]))
			packed.GetHi().GetHi().ExtendToUint32().Add(first).Store((*[16]uint32)(out[48:]))
		}
		n += count
	}
	// What follows uses the older instructions, which wait for the upper halves of the registers otherwise.
	archsimd.ClearAVXUpperBits()
	return n, anyRare
}
