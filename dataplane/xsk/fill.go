package xsk

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// fillRing gives frames to the kernel to receive into. We produce, the kernel consumes.
type fillRing struct {
	slots []uint64 // offsets of frames; ours to write from producer up to limit
	mask  uint32

	// Only we write these.
	producer  uint32         // our next slot
	limit     uint32         // the kernel's index as last loaded, plus the size: the first slot in use
	published *atomic.Uint32 // the producer index that the kernel sees

	// Only the kernel writes these.
	consumed *atomic.Uint32
	flags    *atomic.Uint32
}

// Reserve returns how many of n slots may be put now.
func (r *fillRing) Reserve(n uint32) uint32 {
	if r.limit-r.producer < n {
		r.refresh()
	}
	return min(n, r.limit-r.producer)
}

// refresh loads the kernel's index. The slots below it are ours again: pairs with the smp_store_release in
// __xskq_cons_release (net/xdp/xsk_queue.h), after which the kernel reads them no more.
func (r *fillRing) refresh() {
	consumed := r.consumed.Load()
	if r.producer-consumed > uint32(len(r.slots)) {
		panicIndex("fill", r.producer, consumed, len(r.slots))
	}
	r.limit = consumed + uint32(len(r.slots))
}

// Put writes the next slot. It was reserved before, and the kernel sees it after Submit.
func (r *fillRing) Put(addr uint64) {
	r.slots[r.producer&r.mask] = addr
	r.producer++
}

// Submit publishes what was put. Pairs with the smp_load_acquire in __xskq_cons_peek (net/xdp/xsk_queue.h):
// the slots are written before the kernel sees the index. The frames are the kernel's from here on.
func (r *fillRing) Submit() { r.published.Store(r.producer) }

// NeedWakeup tells whether the kernel waits to be told of new frames. It is asked after Submit: the kernel
// sets the flag when it finds the ring empty, and no frame is forgotten as long as our store of the index
// comes before our load of the flag. That takes a full barrier, which is here only because both are atomic
// operations of Go, hence sequentially consistent.
func (r *fillRing) NeedWakeup() bool { return r.flags.Load()&unix.XDP_RING_NEED_WAKEUP != 0 }

// Held is how many frames lie in the ring now. The kernel may take some meanwhile.
func (r *fillRing) Held() int { return int(r.producer - r.consumed.Load()) }

// panicIndex ends the program: one side of a ring is ahead of the other by more than the ring holds. Memory
// that both share has been overwritten, and no frame is safe any more.
func panicIndex(ring string, producer, consumer uint32, size int) {
	panic(fmt.Sprintf("BUG: %s ring: producer=%d and consumer=%d are further apart than size=%d",
		ring, producer, consumer, size))
}
