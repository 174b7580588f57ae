package influx

import (
	"time"

	"golang.org/x/sys/unix"

	"culvert/dataplane/uring"
)

// waitStep bounds one wait for the ring while closing, in nanoseconds.
const waitStep = int64(10 * time.Millisecond)

// Shut gives up: whatever is not answered counts as undelivered, connections are closed and no new ones are
// made. Completions still come; Quiet tells when the last has.
func (w *Writer) Shut(now int64) {
	if w.closed {
		return
	}
	w.closed = true
	for _, b := range w.waiting {
		w.giveUp(b)
	}
	w.waiting = w.waiting[:0]
	for i := range w.connections {
		c := &w.connections[i]
		a := c.attempt
		if a != nil {
			c.attempt, a.live = nil, false
			w.unanswered++
			w.giveUp(a.batch)
		}
		if c.state != connectionClosed && c.state != connectionClosing {
			w.close(c, true)
		}
		if a != nil {
			w.finish(a)
		}
	}
}

// Quiet tells whether the kernel holds nothing of this writer any more.
func (w *Writer) Quiet() bool {
	for i := range w.connections {
		if w.connections[i].state != connectionClosed {
			return false
		}
	}
	return len(w.unused) == len(w.attempts)
}

// Close is Shut for the only writer on its ring: it takes the ring's completions itself until the kernel has
// let go of everything or deadline, CLOCK_MONOTONIC nanoseconds, has come. The outcomes are there afterwards.
// Later calls only wait again.
func (w *Writer) Close(now, deadline int64) {
	w.Shut(now)
	for w.ring != nil && !w.Quiet() && now < deadline {
		if w.ring.EnterWait(min(deadline-now, waitStep)) != nil {
			break
		}
		now = monotonic()
		var cqe uring.CQE
		for w.ring.Next(&cqe) {
			w.Complete(cqe, now)
		}
		w.Poll(now)
	}
	for w.remote != nil && !w.Quiet() && now < deadline {
		select {
		case answer := <-w.remote.done:
			w.completeRemote(&answer, now)
		case <-time.After(time.Duration(min(deadline-now, waitStep))):
		}
		now = monotonic()
	}
	w.endRemote()
	for i := range w.connections {
		// What the kernel would not finish in time ends with the ring.
		if c := &w.connections[i]; c.fd >= 0 {
			_ = unix.Close(c.fd)
			c.fd = -1
		}
	}
}

// monotonic is CLOCK_MONOTONIC in nanoseconds.
func monotonic() int64 {
	var t unix.Timespec
	// The clock exists and the memory is ours: there is no way to fail.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}
