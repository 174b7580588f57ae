package influx

import "errors"

// With Config.Ordered no batch passes another: one request is under way at a time, a batch that waits for its
// retry holds up those behind it, and once one was set aside all that follow are, so that they queue behind
// it wherever the caller keeps it, until the caller has delivered that and calls Resume.

// errCrowded ends a request whose batch has to go aside with those behind it.
var errCrowded = errors.New("the pool is nearly empty")

// Behind tells whether batches go aside only since an earlier one did.
func (w *Writer) Behind() bool { return w.behind }

// StayBehind sets aside all that comes until Resume: the caller still has something from before.
func (w *Writer) StayBehind() { w.behind = w.config.Ordered && w.config.Aside }

// Resume sends again what comes from now on: all that was set aside is delivered.
func (w *Writer) Resume() {
	w.behind = false
	w.mend()
}

// divertOrdered sets aside, in their order, batches that would wait in vain or pass what went aside before.
// One that is under way decides first what becomes of those behind it.
func (w *Writer) divertOrdered() {
	switch {
	case w.busy():
	case w.behind, w.left, w.breaker.state == BreakerOpen,
		w.breaker.state == BreakerHalfOpen && w.idle() == nil:
		w.asideFirst(len(w.waiting))
	}
}

// relieveOrdered sets everything aside, in its order, when the pool runs out of batches. What is under way is
// given up: it may be stored already, and is stored once more later, which changes nothing unless the server
// carries out what was given up even later than that. So it is with a request that timed out.
func (w *Writer) relieveOrdered(now int64) {
	c := &w.connections[0]
	if a := c.attempt; a != nil {
		a.batch.delivery.expires = 0
		w.lose(c, errCrowded, now)
	}
	w.asideFirst(len(w.waiting))
}
