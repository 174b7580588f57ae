package xsk

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// txRing gives packets to the kernel to send. We produce, the kernel consumes.
type txRing struct {
	slots []Desc // ours to write from producer up to limit
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
func (r *txRing) Reserve(n uint32) uint32 {
	if r.limit-r.producer < n {
		r.refresh()
	}
	return min(n, r.limit-r.producer)
}

// refresh loads the kernel's index. Pairs with the smp_store_release in __xskq_cons_release
// (net/xdp/xsk_queue.h), after which the kernel reads the slots below it no more.
func (r *txRing) refresh() {
	consumed := r.consumed.Load()
	if r.producer-consumed > uint32(len(r.slots)) {
		panicIndex("TX", r.producer, consumed, len(r.slots))
	}
	r.limit = consumed + uint32(len(r.slots))
}

// Put writes the next slot. It was reserved before, and the kernel sees it after Submit.
func (r *txRing) Put(d Desc) {
	r.slots[r.producer&r.mask] = d
	r.producer++
}

// Submit publishes what was put. Pairs with the smp_load_acquire in __xskq_cons_peek (net/xdp/xsk_queue.h):
// the slots and the packets are written before the kernel sees the index. The frames are the kernel's until
// their completion.
func (r *txRing) Submit() { r.published.Store(r.producer) }

// NeedWakeup tells whether the kernel sends only when it is told to: always in copy mode. It is asked after
// Submit, for the reason given at fillRing.NeedWakeup.
func (r *txRing) NeedWakeup() bool { return r.flags.Load()&unix.XDP_RING_NEED_WAKEUP != 0 }

// Held is how many packets the kernel has not taken yet.
func (r *txRing) Held() int { return int(r.producer - r.consumed.Load()) }
