package xsk

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The rings are views of memory that is mapped as long as the socket is open. The constructors check that
// everything they point to lies in it. They take over the indices as they find them, so that a ring may be
// joined at any place, also just before the indices wrap.

func newFillRing(memory []byte, offset unix.XDPRingOffset, size int) (fillRing, error) {
	slots, err := slotsAt[uint64](memory, offset, size, addrSize)
	if err != nil {
		return fillRing{}, fmt.Errorf("lay out fill ring: %w", err)
	}
	r := fillRing{
		slots: slots, mask: uint32(size) - 1, published: indexAt(memory, offset.Producer),
		consumed: indexAt(memory, offset.Consumer), flags: indexAt(memory, offset.Flags),
	}
	r.producer = r.published.Load()
	r.refresh()
	return r, nil
}

func newCompletionRing(memory []byte, offset unix.XDPRingOffset, size int) (completionRing, error) {
	slots, err := slotsAt[uint64](memory, offset, size, addrSize)
	if err != nil {
		return completionRing{}, fmt.Errorf("lay out completion ring: %w", err)
	}
	r := completionRing{
		slots: slots, mask: uint32(size) - 1, released: indexAt(memory, offset.Consumer),
		produced: indexAt(memory, offset.Producer),
	}
	r.consumer = r.released.Load()
	r.refresh()
	return r, nil
}

func newRXRing(memory []byte, offset unix.XDPRingOffset, size int) (rxRing, error) {
	slots, err := slotsAt[Desc](memory, offset, size, descSize)
	if err != nil {
		return rxRing{}, fmt.Errorf("lay out RX ring: %w", err)
	}
	r := rxRing{
		slots: slots, mask: uint32(size) - 1, released: indexAt(memory, offset.Consumer),
		produced: indexAt(memory, offset.Producer),
	}
	r.consumer = r.released.Load()
	r.refresh()
	return r, nil
}

func newTXRing(memory []byte, offset unix.XDPRingOffset, size int) (txRing, error) {
	slots, err := slotsAt[Desc](memory, offset, size, descSize)
	if err != nil {
		return txRing{}, fmt.Errorf("lay out TX ring: %w", err)
	}
	r := txRing{
		slots: slots, mask: uint32(size) - 1, published: indexAt(memory, offset.Producer),
		consumed: indexAt(memory, offset.Consumer), flags: indexAt(memory, offset.Flags),
	}
	r.producer = r.published.Load()
	r.refresh()
	return r, nil
}

// slotsAt checks the layout and views the slots of a ring. T has slotSize bytes.
func slotsAt[T any](memory []byte, offset unix.XDPRingOffset, size, slotSize int) ([]T, error) {
	if size <= 0 || size&(size-1) != 0 {
		return nil, fmt.Errorf("size %d is not a power of two", size)
	}
	length := uint64(len(memory))
	for _, index := range []uint64{offset.Producer, offset.Consumer, offset.Flags} {
		if index%4 != 0 || index > length || length-index < 4 {
			return nil, fmt.Errorf("index at offset %d of %d bytes", index, length)
		}
	}
	if offset.Desc%8 != 0 || offset.Desc > length || length-offset.Desc < uint64(size)*uint64(slotSize) {
		return nil, fmt.Errorf("%d slots of %d bytes at offset %d of %d", size, slotSize, offset.Desc, length)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&memory[offset.Desc])), size), nil
}

// indexAt views one shared index; slotsAt has checked the offset.
func indexAt(memory []byte, offset uint64) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&memory[offset]))
}
