// Package spsc is the ring between two threads: one pushes, one pops, neither waits for the other.
//
//	producer                                  consumer
//	tail (own), head as last seen  ──slots──▶  head (own), tail as last seen
//
// It carries what must cross between workers and the control plane: transitions of alerts, hand-over of rule
// states, samples of rejects. It is not a queue for packets: those never change threads.
package spsc

import (
	"fmt"
	"sync/atomic"
)

// lineSize keeps what the two threads write in cache lines of their own; 128 since amd64 prefetches pairs of
// 64-byte lines.
const lineSize = 128

// Ring passes values of T from one thread to one other. All memory is taken when it is made.
type Ring[T any] struct {
	slots []T
	mask  uint64

	_ [lineSize]byte
	// Written by the producer alone.
	tail     atomic.Uint64
	headSeen uint64 // the consumer's head when it was last needed

	_ [lineSize]byte
	// Written by the consumer alone.
	head     atomic.Uint64
	tailSeen uint64 // the producer's tail when it was last needed

	_ [lineSize]byte
}

// New makes a ring of size slots, a power of two.
func New[T any](size int) *Ring[T] {
	if size <= 0 || size&(size-1) != 0 {
		panic(fmt.Sprintf("BUG: ring size=%d is not a power of two", size))
	}
	return &Ring[T]{slots: make([]T, size), mask: uint64(size) - 1}
}

// Push appends one value and reports whether there was room. Only the producer calls it.
func (r *Ring[T]) Push(value *T) bool {
	tail := r.tail.Load()
	if !r.room(tail) {
		return false
	}
	r.slots[tail&r.mask] = *value
	// Pairs with the load in available: the slot is whole before the consumer sees the tail.
	r.tail.Store(tail + 1)
	return true
}

// PushAll appends as many of the values as fit, with one store of the tail, and returns how many did.
// Only the producer calls it.
func (r *Ring[T]) PushAll(values []T) int {
	tail := r.tail.Load()
	size := uint64(len(r.slots))
	if size-(tail-r.headSeen) < uint64(len(values)) {
		// Pairs with the store in PopAll: a slot is read before it is written again.
		r.headSeen = r.head.Load()
	}
	n := int(min(size-(tail-r.headSeen), uint64(len(values))))
	if n == 0 {
		return 0
	}
	// What does not fit before the end goes on at the beginning.
	first := copy(r.slots[tail&r.mask:], values[:n])
	copy(r.slots, values[first:n])
	r.tail.Store(tail + uint64(n))
	return n
}

func (r *Ring[T]) room(tail uint64) bool {
	if tail-r.headSeen < uint64(len(r.slots)) {
		return true
	}
	// Pairs with the store in Release: a slot is read before it is written again.
	r.headSeen = r.head.Load()
	return tail-r.headSeen < uint64(len(r.slots))
}

// Peek returns the oldest value without taking it, or nil when the ring is empty. It is valid until Release.
// Only the consumer calls it.
func (r *Ring[T]) Peek() *T {
	head := r.head.Load()
	if head == r.tailSeen {
		r.tailSeen = r.tail.Load()
		if head == r.tailSeen {
			return nil
		}
	}
	return &r.slots[head&r.mask]
}

// Release gives the slot that Peek returned back to the producer. Only the consumer calls it, once after a
// Peek that was not nil.
func (r *Ring[T]) Release() {
	head := r.head.Load()
	if head == r.tailSeen {
		panic(fmt.Sprintf("BUG: release at head=%d without a peeked slot, tail=%d", head, r.tailSeen))
	}
	r.head.Store(head + 1)
}

// PopAll copies up to len(into) values out, with one store of the head, and returns how many it copied.
// Only the consumer calls it.
func (r *Ring[T]) PopAll(into []T) int {
	head := r.head.Load()
	if r.tailSeen-head < uint64(len(into)) {
		r.tailSeen = r.tail.Load()
	}
	n := int(min(r.tailSeen-head, uint64(len(into))))
	if n == 0 {
		return 0
	}
	first := copy(into[:n], r.slots[head&r.mask:])
	copy(into[first:n], r.slots)
	r.head.Store(head + uint64(n))
	return n
}

// Size is the number of slots.
func (r *Ring[T]) Size() int { return len(r.slots) }
