package lineproto

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// The walk over plain lines looks at some forty bytes, marks and words of a line of 95 bytes. Where each is
// checked to lie inside its slice, a quarter of the instructions are these checks and what the compiler
// spills for them. The types here leave the checks to builds with the tag verify; what makes them needless
// stands at each use.

// text is the bytes of a payload.
type text struct {
	first  *byte
	length int
}

func textOf(b []byte) text { return text{unsafe.SliceData(b), len(b)} }

// at is the byte at a mark, or between two of them.
func (t text) at(i uint32) byte {
	if verify && int(i) >= t.length {
		panic(fmt.Sprintf("BUG: byte %d of a text of %d", i, t.length))
	}
	return *(*byte)(unsafe.Add(unsafe.Pointer(t.first), i))
}

// word is the eight bytes from i on.
func (t text) word(i uint32) uint64 {
	if verify && int(i)+8 > t.length {
		panic(fmt.Sprintf("BUG: word %d of a text of %d", i, t.length))
	}
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(unsafe.Pointer(t.first), i))[:])
}

// marks is the marks of an index, with the zeros behind them.
type marks struct {
	first  *uint32
	length int
}

func marksOf(m []uint32) marks { return marks{unsafe.SliceData(m), len(m)} }

// at is mark k.
func (m marks) at(k int) uint32 {
	if verify && (k < 0 || k >= m.length) {
		panic(fmt.Sprintf("BUG: mark %d of %d", k, m.length))
	}
	return *(*uint32)(unsafe.Add(unsafe.Pointer(m.first), 4*k))
}
