package uring

import (
	"fmt"
	"sync/atomic"
)

// submission is the ring of operations on their way to the kernel. We own the tail; only the kernel updates
// the head, inside Enter.
type submission struct {
	head, tail, flags *atomic.Uint32
	entries           []SQE
	mask              uint32
	next              uint32 // index behind the last reserved entry; the tail lags behind it until publish
}

// room is the number of entries that can be reserved.
func (q *submission) room() int {
	used := q.next - q.head.Load()
	if used > uint32(len(q.entries)) {
		panic(fmt.Sprintf("BUG: submission head=%d is beyond next=%d", q.head.Load(), q.next))
	}
	return len(q.entries) - int(used)
}

// reserve hands out the next entry, zeroed, or nil when the ring is full.
func (q *submission) reserve() *SQE {
	if q.room() == 0 {
		return nil
	}
	e := &q.entries[q.next&q.mask]
	q.next++
	*e = SQE{}
	return e
}

// publish shows the reserved entries to the kernel and returns how many it has not taken yet. The store of
// the tail pairs with the acquiring load in io_sqring_entries (io_uring/io_uring.h): the entries are whole
// first.
func (q *submission) publish() uint32 {
	if q.tail.Load() != q.next {
		q.tail.Store(q.next)
	}
	return q.next - q.head.Load()
}

// completion is the ring of completions on their way back. Only the kernel updates the tail; we own the head.
type completion struct {
	head, tail *atomic.Uint32
	entries    []CQE
	mask       uint32
	next       uint32 // our head; what the kernel sees lags behind it until release
	seen       uint32 // the kernel's tail when it was last needed
}

// take copies the oldest completion out. The load of the tail pairs with the releasing store in
// io_commit_cqring (io_uring/io_uring.h): entries before it are whole. When there is none, all that was taken
// goes back to the kernel.
func (q *completion) take(into *CQE) bool {
	if q.next == q.seen {
		q.seen = q.tail.Load()
		if q.seen-q.next > uint32(len(q.entries)) {
			panic(fmt.Sprintf("BUG: completion tail=%d is beyond head=%d", q.seen, q.next))
		}
		if q.next == q.seen {
			q.release()
			return false
		}
	}
	*into = q.entries[q.next&q.mask]
	q.next++
	return true
}

// release gives taken entries back. The store pairs with the kernel's load of the head in io_cqe_cache_refill
// (io_uring/io_uring.c): an entry is read before it is written again.
func (q *completion) release() {
	if q.head.Load() != q.next {
		q.head.Store(q.next)
	}
}

// waiting tells whether completions are there to be taken.
func (q *completion) waiting() bool { return q.next != q.tail.Load() }
