package xsk

import "sync/atomic"

// rxRing brings received packets. The kernel produces, we consume.
type rxRing struct {
	slots []Desc // ours to read from consumer up to limit
	mask  uint32

	// Only we write these.
	consumer uint32         // our next slot
	limit    uint32         // the kernel's index as last loaded: the first slot without a packet
	released *atomic.Uint32 // the consumer index that the kernel sees

	// Only the kernel writes this.
	produced *atomic.Uint32
}

// Peek copies up to len(into) descriptors out and returns their number. The packets are the worker's from
// here on; their slots are the kernel's again after Release.
func (r *rxRing) Peek(into []Desc) int {
	if uint(r.limit-r.consumer) < uint(len(into)) {
		r.refresh()
	}
	n := min(len(into), int(r.limit-r.consumer))
	// Two pieces at most: up to the end of the slots, and on from their beginning.
	first := copy(into[:n], r.slots[r.consumer&r.mask:])
	copy(into[first:n], r.slots)
	return n
}

// refresh loads the kernel's index. Pairs with the smp_store_release in __xskq_prod_submit
// (net/xdp/xsk_queue.h): the descriptors below it, and the packets that they name, are whole.
func (r *rxRing) refresh() {
	produced := r.produced.Load()
	if produced-r.consumer > uint32(len(r.slots)) {
		panicIndex("RX", produced, r.consumer, len(r.slots))
	}
	r.limit = produced
}

// Release gives the slots of the n oldest descriptors back. Pairs with the load of the consumer index in
// xskq_prod_nb_free (net/xdp/xsk_queue.h): we have read the slots before the kernel writes them again. It
// says nothing about the packets: their frames stay the worker's until Free.
func (r *rxRing) Release(n int) {
	r.consumer += uint32(n)
	r.released.Store(r.consumer)
}

// Held is how many packets lie in the ring now. The kernel may add some meanwhile.
func (r *rxRing) Held() int { return int(r.produced.Load() - r.consumer) }
