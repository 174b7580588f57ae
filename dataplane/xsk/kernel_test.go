package xsk

import (
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// plainOffset is a layout like the kernel's: each index in a cache line of its own, then the slots.
var plainOffset = unix.XDPRingOffset{Producer: 0, Consumer: 64, Flags: 128, Desc: 192}

// kernel plays the other side of the four rings, which lie in plain memory.
type kernel struct {
	fill, completion plainRing[uint64]
	rx, tx           plainRing[Desc]
	umem             []byte
	frameSize        uint64
	held             []uint64 // frames taken from the fill ring and not used yet
}

// plainRing is the kernel's view of a ring.
type plainRing[T any] struct {
	producer, consumer, flags *atomic.Uint32
	slots                     []T
	memory                    []byte
}

func newPlainRing[T any](size int, start uint32) plainRing[T] {
	var slot T
	words := make([]uint64, (int(plainOffset.Desc)+size*int(unsafe.Sizeof(slot)))/8)
	memory := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	r := plainRing[T]{
		producer: (*atomic.Uint32)(unsafe.Pointer(&memory[plainOffset.Producer])),
		consumer: (*atomic.Uint32)(unsafe.Pointer(&memory[plainOffset.Consumer])),
		flags:    (*atomic.Uint32)(unsafe.Pointer(&memory[plainOffset.Flags])),
		slots:    unsafe.Slice((*T)(unsafe.Pointer(&memory[plainOffset.Desc])), size),
		memory:   memory,
	}
	r.producer.Store(start)
	r.consumer.Store(start)
	return r
}

// pop consumes as the kernel does.
func (r *plainRing[T]) pop() (value T, ok bool) {
	consumer := r.consumer.Load()
	if consumer == r.producer.Load() {
		return value, false
	}
	value = r.slots[consumer&uint32(len(r.slots)-1)]
	r.consumer.Store(consumer + 1)
	return value, true
}

// push produces as the kernel does.
func (r *plainRing[T]) push(value T) bool {
	producer := r.producer.Load()
	if producer-r.consumer.Load() == uint32(len(r.slots)) {
		return false
	}
	r.slots[producer&uint32(len(r.slots)-1)] = value
	r.producer.Store(producer + 1)
	return true
}

// plainConfig are the sizes of a socket without a kernel. start is where all indices begin.
type plainConfig struct {
	frames, fill, rx, tx, completion, txFrames int
	start                                      uint32
}

// newPlain makes a socket over plain memory and the kernel that plays its other side.
func newPlain(t testing.TB, config plainConfig) (*Socket, *kernel) {
	t.Helper()
	const frameSize = 2048
	k := &kernel{
		fill:       newPlainRing[uint64](config.fill, config.start),
		completion: newPlainRing[uint64](config.completion, config.start),
		rx:         newPlainRing[Desc](config.rx, config.start),
		tx:         newPlainRing[Desc](config.tx, config.start),
		umem:       make([]byte, config.frames*frameSize),
		frameSize:  frameSize,
	}
	s := &Socket{fd: -1, receives: true, frames: newFrames(k.umem, frameSize, config.txFrames)}
	var err error
	if s.fill, err = newFillRing(k.fill.memory, plainOffset, config.fill); err != nil {
		t.Fatal(err)
	}
	s.completion, err = newCompletionRing(k.completion.memory, plainOffset, config.completion)
	if err != nil {
		t.Fatal(err)
	}
	if s.rx, err = newRXRing(k.rx.memory, plainOffset, config.rx); err != nil {
		t.Fatal(err)
	}
	if s.tx, err = newTXRing(k.tx.memory, plainOffset, config.tx); err != nil {
		t.Fatal(err)
	}
	s.refill()
	s.fill.Submit()
	s.frames.check()
	return s, k
}

// arrive receives one packet as copy mode does: a frame from the fill ring, the metadata right in front of
// the packet. False means that the packet was dropped: no frame, or no room in the RX ring.
func (k *kernel) arrive(metadata, packet []byte) bool {
	if len(k.held) == 0 {
		addr, ok := k.fill.pop()
		if !ok {
			return false
		}
		k.held = append(k.held, addr)
	}
	addr := k.held[0] + unix.XDP_PACKET_HEADROOM
	if !k.rx.push(Desc{Addr: addr, Len: uint32(len(packet))}) {
		return false
	}
	k.held = k.held[1:]
	copy(k.umem[addr-uint64(len(metadata)):addr], metadata)
	copy(k.umem[addr:], packet)
	return true
}

// send sends one packet and completes it at once; nil when there is none, or no room in the completion ring.
func (k *kernel) send() []byte {
	if k.completion.producer.Load()-k.completion.consumer.Load() == uint32(len(k.completion.slots)) {
		return nil
	}
	d, ok := k.tx.pop()
	if !ok {
		return nil
	}
	packet := append([]byte(nil), k.umem[d.Addr:d.Addr+uint64(d.Len)]...)
	k.completion.push(d.Addr)
	return packet
}
