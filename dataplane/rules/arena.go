package rules

import (
	"encoding/binary"
	"math/bits"
)

const (
	// blockMin and blockClasses: texts lie in blocks of 64, 128, 256 and 512 bytes.
	blockMin     = 64
	blockClasses = 4
	// chunkSize is how much memory the arena takes at a time.
	chunkSize = 64 << 10
)

// arena keeps the texts of records: blocks of four sizes, cut from chunks, with a list of free blocks per
// size. What it takes it keeps; the number of records bounds it.
type arena struct {
	classes [blockClasses]blocks
}

type blocks struct {
	chunks [][]byte
	free   uint32 // the first free block's number plus one, which begins with the next one's; 0: none
	freed  uint32 // how many are free
	used   uint32 // blocks ever cut
}

// ref names a block: its class in the low two bits, its number in the rest; 0 is none.
type ref uint32

// take finds a free block for a text of at most textMax bytes.
func (a *arena) take(size int) ref {
	class := bits.Len(uint(max(size, 1)-1) / blockMin)
	b := &a.classes[class]
	var number uint32
	if b.free > 0 {
		number = b.free - 1
		b.free = binary.LittleEndian.Uint32(a.bytes(ref(b.free<<2 | uint32(class))))
		b.freed--
	} else {
		perChunk := uint32(chunkSize / (blockMin << class))
		if b.used%perChunk == 0 {
			b.chunks = append(b.chunks, make([]byte, chunkSize))
		}
		number = b.used
		b.used++
	}
	return ref((number+1)<<2 | uint32(class))
}

// release gives a block back.
func (a *arena) release(r ref) {
	if r != 0 {
		b := &a.classes[r&3]
		binary.LittleEndian.PutUint32(a.bytes(r), b.free)
		b.free = uint32(r >> 2)
		b.freed++
	}
}

// bytes is the whole block; its owner knows how much of it counts.
func (a *arena) bytes(r ref) []byte {
	class, number := r&3, uint32(r>>2)-1
	size := uint32(blockMin) << class
	perChunk := chunkSize / size
	at := number % perChunk * size
	return a.classes[class].chunks[number/perChunk][at : at+size]
}

// room is the size of a block; 0 for none.
func (r ref) room() int {
	if r == 0 {
		return 0
	}
	return blockMin << (r & 3)
}
