package influx

import "time"

// BreakerState tells whether a writer sends. Its values are the metric's.
type BreakerState uint8

const (
	// BreakerClosed: every batch is sent.
	BreakerClosed BreakerState = iota
	// BreakerHalfOpen: one batch is sent to see whether the server is back, the others are not.
	BreakerHalfOpen
	// BreakerOpen: nothing is sent.
	BreakerOpen
)

var breakerNames = [...]string{"closed", "half_open", "open"}

func (s BreakerState) String() string { return breakerNames[s] }

const (
	// breakerFailures in a row open the breaker: more than a batch that alone is bad has attempts by default,
	// so that it goes aside without stopping the others.
	breakerFailures = 5
	// probeMax bounds the wait between two connects or probes: with an answer's time on top, fresh points are
	// written within a second of the server's healing.
	probeMax = 800 * time.Millisecond
)

// breaker keeps a writer from trying in vain. It opens after so many failures in a row, or at once when the
// server says that the target is wrong; lets one batch try, first soon and then at longer intervals; and
// closes with the first answer that shows the server in order. Where a connect failed last, a connection that
// is established closes it as well: a writer that has nothing to send would never get an answer. The next
// failure then opens it again.
type breaker struct {
	state    BreakerState
	failures int   // requests without a good answer and rounds of connects, in a row
	openings int   // since it was closed
	probeAt  int64 // when it is half-open
	connects bool  // the last failure was a connect's
}

// fail counts a failure, of a connect or of a request.
func (w *Writer) fail(connect bool, now int64) {
	w.breaker.failures++
	w.breaker.connects = connect
	if w.breaker.state == BreakerHalfOpen || w.breaker.failures >= breakerFailures {
		w.trip(now)
	}
}

// reached closes a breaker that is not closed since the server could not be reached: it can.
func (w *Writer) reached() {
	if w.breaker.state != BreakerClosed && w.breaker.connects {
		w.breaker = breaker{failures: breakerFailures - 1, openings: w.breaker.openings}
	}
}

// Trust closes a breaker that is not closed since others brought points to the same server: this writer may
// have none to try it with. The next failure opens it again.
func (w *Writer) Trust() {
	if w.breaker.state != BreakerClosed && !w.busy() {
		w.breaker = breaker{failures: breakerFailures - 1}
	}
}

// trip opens the breaker. One that is open stays so for as long as it would have.
func (w *Writer) trip(now int64) {
	b := &w.breaker
	if b.state == BreakerOpen {
		return
	}
	b.openings++
	b.state, b.probeAt = BreakerOpen, now+w.probeWait(b.openings)
}

// probeWait is the wait before the next probe or connect, after so many in vain.
func (w *Writer) probeWait(failures int) int64 { return min(w.backoff(failures), int64(probeMax)) }

// probe lets a batch try when it is time.
func (w *Writer) probe(now int64) {
	if b := &w.breaker; b.state == BreakerOpen && now >= b.probeAt {
		b.state = BreakerHalfOpen
	}
}

// mend closes the breaker: the server is in order.
func (w *Writer) mend() { w.breaker = breaker{} }

// sends tells whether another batch may be sent now.
func (w *Writer) sends() bool {
	if w.left || w.pausedUntil != 0 {
		return false
	}
	return w.breaker.state == BreakerClosed || w.breaker.state == BreakerHalfOpen && !w.busy()
}

// sendsAt is when the next batch may be sent if nothing else happens, or the end of time. It may lie in the
// past.
func (w *Writer) sendsAt() int64 {
	switch {
	case w.breaker.state == BreakerOpen:
		return max(w.breaker.probeAt, w.pausedUntil)
	case w.breaker.state == BreakerHalfOpen && w.busy():
		return never
	}
	return w.pausedUntil
}

// busy tells whether a request is under way.
func (w *Writer) busy() bool {
	for i := range w.connections {
		if w.connections[i].state == connectionBusy {
			return true
		}
	}
	return false
}

// mayConnect tells whether a connection is made. One is enough to learn that the server is back.
func (w *Writer) mayConnect(c *connection) bool {
	return w.remote == nil && !w.closed && !w.left && w.config.Address.IsValid() &&
		(w.breaker.state == BreakerClosed || c.index == 0)
}

// Breaker is the breaker's state.
func (w *Writer) Breaker() BreakerState { return w.breaker.state }
