package xsk

import "sync/atomic"

// completionRing brings back the frames of packets that were sent. The kernel produces, we consume.
type completionRing struct {
	slots []uint64 // offsets as they were given to the TX ring; ours to read from consumer up to limit
	mask  uint32

	// Only we write these.
	consumer uint32         // our next slot
	limit    uint32         // the kernel's index as last loaded: the first slot without a frame
	released *atomic.Uint32 // the consumer index that the kernel sees

	// Only the kernel writes this.
	produced *atomic.Uint32
}

// Peek returns how many frames have come back. Addr reads them, Release gives their slots back.
func (r *completionRing) Peek() int {
	if r.limit == r.consumer {
		r.refresh()
	}
	return int(r.limit - r.consumer)
}

// refresh loads the kernel's index. Pairs with the smp_store_release in __xskq_prod_submit
// (net/xdp/xsk_queue.h): the slots below it are written, and nobody reads the frames any more.
func (r *completionRing) refresh() {
	produced := r.produced.Load()
	if produced-r.consumer > uint32(len(r.slots)) {
		panicIndex("completion", produced, r.consumer, len(r.slots))
	}
	r.limit = produced
}

// Addr is the i-th oldest of the peeked frames.
func (r *completionRing) Addr(i int) uint64 { return r.slots[(r.consumer+uint32(i))&r.mask] }

// Release gives the n oldest slots back. Pairs with the load of the consumer index in xskq_prod_nb_free
// (net/xdp/xsk_queue.h): we have read the slots before the kernel writes them again.
func (r *completionRing) Release(n int) {
	r.consumer += uint32(n)
	r.released.Store(r.consumer)
}
