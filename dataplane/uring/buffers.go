package uring

import (
	"errors"
	"fmt"
)

const (
	// bufferMax bounds one registered buffer; the kernel takes at most 1 GiB each (io_buffer_validate in
	// io_uring/rsrc.c).
	bufferMax = 1 << 30
	// buffersMax is how many places a ring's table of registered buffers has, each a pointer in the kernel. A
	// worker needs one for the batches of all URLs of its start, or one for each GiB of them, and as many for
	// each URL that comes later.
	buffersMax = 256
)

// errNoPlace tells that a ring's table of registered buffers is full.
var errNoPlace = errors.New("no place is left")

// RegisterBuffers pins memory once, so that SendZC need not pin it for every send. It can be called again for
// other memory, also while operations are under way: the first call makes a table of empty places (5.19, and
// so older than SendZC), each one fills some of them. On failure a part of the memory may be registered. What
// is registered stays pinned until Close.
func (r *Ring) RegisterBuffers(memory ...[]byte) error {
	if r.ranges == nil {
		if err := registerTable(r.fd, buffersMax); err != nil {
			return fmt.Errorf("make a table of %d buffers: %w", buffersMax, err)
		}
		r.ranges = make([][]byte, 0, buffersMax)
	}
	for _, m := range memory {
		for len(m) > 0 {
			n := min(len(m), bufferMax)
			if err := r.registerNext(m[:n:n]); err != nil {
				return err
			}
			m = m[n:]
		}
	}
	return nil
}

// registerNext puts memory into the next place of the table.
func (r *Ring) registerNext(m []byte) (err error) {
	place := len(r.ranges)
	if err = errNoPlace; place < cap(r.ranges) {
		err = registerAt(r.fd, place, m)
	}
	if err != nil {
		return fmt.Errorf("register buffer %d of %d bytes: %w", place, len(m), err)
	}
	r.ranges = append(r.ranges, m)
	return nil
}

// Registered tells whether bytes lie whole in one registered buffer.
func (r *Ring) Registered(b []byte) bool {
	_, ok := r.buffer(b)
	return ok
}

// buffer finds the registered buffer that holds the bytes.
func (r *Ring) buffer(b []byte) (int, bool) {
	at := addressOf(b)
	for i, m := range r.ranges {
		start := addressOf(m)
		if at >= start && at+uint64(len(b)) <= start+uint64(len(m)) {
			return i, true
		}
	}
	return 0, false
}
