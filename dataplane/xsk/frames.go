package xsk

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// Frames says how many frames of the UMEM each holder has. Every frame has exactly one.
type Frames struct {
	Free int // on the free list
	Fill int // in the fill ring, for the kernel to take
	// Kernel are those taken from the fill ring, and not in the RX ring yet; and with them what is in the RX
	// rings and with the workers of sockets that joined.
	Kernel   int
	RX       int // in the RX ring, for the worker to receive
	Worker   int // received or allocated, and neither freed nor transmitted yet
	Transmit int // from Transmit until ReapCompletions
	Returns  int // freed by sockets that joined, and not taken back
}

// Sum is the number of all frames: a line per holder.
func (f Frames) Sum() int {
	return f.Free +
		f.Fill +
		f.Kernel +
		f.RX +
		f.Worker +
		f.Transmit +
		f.Returns
}

// holder is who has a frame, as far as this side can tell. It is kept in verify builds.
type holder uint8

const (
	holderFree     holder = iota // the free list
	holderReceive                // the fill ring, the driver or the RX ring
	holderWorker                 // the worker
	holderTransmit               // the TX ring, the driver or the completion ring
	holderReturn                 // on the way back from a socket that joined
)

func (h holder) String() string {
	return [...]string{"free list", "kernel (receive)", "worker", "kernel (transmit)",
		"way back"}[h]
}

// poison fills freed frames in verify builds: a view kept too long shows it, and it is no metadata's magic.
const poison = 0xdb

// frames is the UMEM's memory and who has how much of it.
type frames struct {
	umem  []byte
	size  uint64 // bytes of a frame, a power of two
	count int

	// list is the free list, a stack: the frame used last is the likeliest to be in a cache. Its capacity is
	// the number of frames, so that it never grows.
	list []uint64
	// receiving, working and transmitting are the numbers of frames outside of the list; with it they are
	// count.
	receiving, working, transmitting int
	// reserve is how many frames are kept for sending: on the list, or in transmission.
	reserve int

	// holders are by frame, in verify builds; sockets that joined have the same.
	holders []atomic.Uint32
}

func newFrames(umem []byte, size, reserve int) frames {
	f := frames{umem: umem, size: uint64(size), count: len(umem) / size, reserve: reserve}
	f.list = make([]uint64, f.count)
	for i := range f.list {
		// Popped from the end: the first frames are used first.
		f.list[i] = uint64(f.count-1-i) * f.size
	}
	if verify {
		f.holders = make([]atomic.Uint32, f.count)
	}
	return f
}

// base is the offset of the frame that an address lies in.
func (f *frames) base(addr uint64) uint64 { return addr &^ (f.size - 1) }

// surplus is how many frames of the list may go to the fill ring without touching what is kept for sending.
func (f *frames) surplus() int { return min(len(f.list), len(f.list)+f.transmitting-f.reserve) }

// move changes a frame's holder in verify builds and ends the program if another one has it.
func (f *frames) move(addr uint64, from, to holder) {
	i := addr / f.size
	if i >= uint64(f.count) {
		panic(fmt.Sprintf("BUG: address %d is outside of a UMEM of %d frames of %d", addr, f.count, f.size))
	}
	if !f.holders[i].CompareAndSwap(uint32(from), uint32(to)) {
		panic(fmt.Sprintf("BUG: frame %d on its way from %v to %v is held by %v", i, from, to,
			holder(f.holders[i].Load())))
	}
}

// spoil overwrites a frame that its holder has given up, in verify builds.
func (f *frames) spoil(addr uint64) {
	frame := f.umem[f.base(addr):][:f.size]
	for i := range frame {
		frame[i] = poison
	}
}

// check ends the program if the numbers do not add up, or, in verify builds, if they are not what the holders
// say. It is for Close and for tests, of a socket whose members are gone and whose returns are taken.
func (f *frames) check() {
	sum := len(f.list) + f.receiving + f.working + f.transmitting
	if sum != f.count {
		panic(fmt.Sprintf("BUG: %d free + %d receiving + %d with worker + %d transmitting = %d of %d frames",
			len(f.list), f.receiving, f.working, f.transmitting, sum, f.count))
	}
	if !verify {
		return
	}
	var have [holderReturn + 1]int
	for i := range f.holders {
		have[f.holders[i].Load()]++
	}
	want := [...]int{len(f.list), f.receiving, f.working, f.transmitting, 0}
	if have != want {
		panic(fmt.Sprintf("BUG: frames by holder are %v, counted %v", have, want))
	}
	for _, addr := range f.list {
		if h := holder(f.holders[addr/f.size].Load()); h != holderFree {
			panic(fmt.Sprintf("BUG: frame %d is on the free list and held by %v", addr/f.size, h))
		}
	}
	list := slices.Clone(f.list)
	slices.Sort(list)
	if len(slices.Compact(list)) != len(f.list) {
		panic("BUG: a frame is twice on the free list")
	}
}
