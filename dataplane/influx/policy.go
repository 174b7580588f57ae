package influx

import (
	"fmt"
	"time"
)

const (
	// halvesMax bounds how often the parts of one batch are cut in two, so that one batch of nonsense does
	// not occupy a connection for long: a single bad point among 10 000 takes 14 cuts.
	halvesMax = 64
	// partsMax bounds the parts of a batch that wait for their turn: a cut leaves at most half of the bytes
	// on one side within two cuts, and a batch has fewer than 2²⁴ bytes.
	partsMax = 48
	// orderedMax bounds how long a server can make the writer wait by Retry-After, in nanoseconds.
	orderedMax = int64(time.Minute)
)

// delivery is how far a batch has come.
type delivery struct {
	parts     [partsMax]Part // what is still to be sent; the last one is next
	count     int            // of parts
	attempts  int            // failed, since the last progress
	halves    int
	repeated  bool  // sent again since its connection was closed under it
	notBefore int64 // when it may be sent
	expires   int64 // when it counts as undelivered

	written, rejected, undelivered, aside int
	reason                                Reason
	code                                  int
}

// start makes a batch one part.
func (d *delivery) start(b *Batch, expires int64) {
	d.parts[0], d.count = Part{To: b.used, Points: b.points}, 1
	d.attempts, d.halves, d.repeated, d.notBefore, d.expires = 0, 0, false, 0, expires
	d.written, d.rejected, d.undelivered, d.aside, d.reason, d.code = 0, 0, 0, 0, ReasonNone, 0
}

// top is the part that is sent next.
func (d *delivery) top() Part { return d.parts[d.count-1] }

// cut halves the part that is next and reports whether it could.
func (d *delivery) cut(b *Batch) bool {
	p := d.top()
	if p.Points < 2 || d.count == partsMax {
		return false
	}
	left, right := halve(b.memory, p)
	d.parts[d.count-1], d.parts[d.count] = right, left
	d.count++
	return true
}

// fit halves the part that is next until it is no longer than the server takes.
func (d *delivery) fit(b *Batch, limit int) {
	for d.top().size() > limit && d.cut(b) {
	}
}

// done takes the part that was sent off.
func (d *delivery) done() Part {
	d.count--
	d.attempts, d.repeated, d.notBefore = 0, false, 0
	return d.parts[d.count]
}

// conclude does what the answer to an attempt asks for. The attempt's batch is then settled or waits.
func (w *Writer) conclude(r *response, a *attempt, now int64) {
	b := a.batch
	d := &b.delivery
	w.codes[r.status]++
	d.code = r.status
	b.ended(r.status, now)
	v, rejected := judge(r, a.part.Points)
	if (v == verdictWritten || v == verdictPartial) && a.sent < a.size() {
		// The server cannot have read what was not sent.
		v = verdictRetry
	}
	switch v {
	case verdictWritten:
		d.written += d.done().Points
		w.wroteAt = now
	case verdictPartial:
		w.partial(r, b, rejected)
		w.wroteAt = now
	case verdictRefused:
		vouched := w.vouched(r, now)
		if !w.refused(r, b, rejected, now) {
			return
		}
		if !vouched {
			// Halving goes on, but nothing shows yet that the server is in order.
			w.goOn(b)
			return
		}
	case verdictTooLarge:
		w.lastReject = w.hide(r.words())
		if w.cut(b) {
			// The server's limit is learnt: later batches are cut before they are sent.
			w.bodyLimit = min(w.bodyLimit, a.part.size()/2)
		} else {
			w.refuse(r, b, ReasonRefused)
		}
	case verdictHold:
		w.hold(b, fmt.Sprintf("%d: %s", r.status, r.words()), now)
		return
	case verdictRetry:
		w.trouble(fmt.Sprintf("%d: %s", r.status, r.words()), now)
		wait := r.wait(time.Now())
		if wait == 0 {
			w.fail(false, now)
		}
		w.spend(b, now)
		if wait > 0 {
			w.obey(now, min(wait, orderedMax))
		}
		return
	}
	w.troubled, w.lastError, w.goodAt = false, "", now
	w.mend()
	w.goOn(b)
}

// goOn lets a batch's next part wait for a connection, or settles the batch.
func (w *Writer) goOn(b *Batch) {
	if b.delivery.count == 0 {
		w.settle(b)
		return
	}
	if w.closed {
		w.giveUp(b)
		return
	}
	w.putFirst(b)
}

// putFirst makes a batch the first of those that wait. Others pass it while its own time has not come.
func (w *Writer) putFirst(b *Batch) {
	w.waiting = append(w.waiting, nil)
	copy(w.waiting[1:], w.waiting)
	w.waiting[0] = b
}

// lost is an attempt that got no answer: whether the points are stored is unknown.
func (w *Writer) lost(c *connection, a *attempt, why error, now int64) {
	b := a.batch
	w.unanswered++
	b.ended(0, now)
	if gone(why) && c.requests > 0 && !c.response.started() && !b.delivery.repeated {
		// The server closed a connection that it had kept for a while, just as this request was on its way.
		// That says nothing about the request.
		b.delivery.repeated = true
		w.requeue(b, now)
		return
	}
	w.trouble(fmt.Sprintf("write to %s: %v", w.where(), why), now)
	w.fail(false, now)
	w.spend(b, now)
}

// spend counts a failed attempt and lets the batch wait, longer each time, or gives up on it.
func (w *Writer) spend(b *Batch, now int64) {
	d := &b.delivery
	d.attempts++
	if d.attempts >= w.config.Retry.Attempts {
		w.giveUp(b)
		return
	}
	d.notBefore = now + w.backoff(d.attempts)
	w.requeue(b, now)
}

// requeue lets a batch wait as it is, unless it is too old.
func (w *Writer) requeue(b *Batch, now int64) {
	if w.closed || now >= b.delivery.expires {
		w.giveUp(b)
		return
	}
	w.putFirst(b)
}

// giveUp settles what is left of a batch as set aside if somebody takes that, else as undelivered.
func (w *Writer) giveUp(b *Batch) {
	d := &b.delivery
	if w.config.Aside {
		d.setAside()
		w.behind = w.config.Ordered
		w.settle(b)
		return
	}
	for d.count > 0 {
		d.undelivered += d.done().Points
		d.reason = ReasonUndelivered
	}
	w.settle(b)
}

// expire gives up on waiting batches that are too old.
func (w *Writer) expire(now int64) {
	if w.config.Ordered && w.busy() {
		return // What is under way is older, and decides first.
	}
	kept := w.waiting[:0]
	for _, b := range w.waiting {
		if now >= b.delivery.expires {
			w.giveUp(b)
			continue
		}
		kept = append(kept, b)
	}
	w.waiting = kept
}

// obey pauses everything for as long as the server asked. That time does not count towards anybody's age.
func (w *Writer) obey(now, wait int64) {
	more := now + wait - max(now, w.pausedUntil)
	if more <= 0 {
		return
	}
	w.pausedUntil = now + wait
	for _, b := range w.waiting {
		b.delivery.expires += more
	}
	for i := range w.attempts {
		if a := &w.attempts[i]; a.live {
			a.batch.delivery.expires += more
		}
	}
}

// trouble notes in plain words that the server is not in order.
func (w *Writer) trouble(what string, now int64) {
	w.troubled, w.lastError, w.troubleAt = true, w.hide(what), now
}

// backoff is the wait after so many failures in a row, in nanoseconds: twice as long each time up to the
// maximum, and varied so that gateways do not come back all at once.
func (w *Writer) backoff(failures int) int64 {
	r := &w.config.Retry
	wait := int64(r.First)
	for i := 1; i < failures && wait < int64(r.Max); i++ {
		wait *= 2
	}
	return min(w.vary(min(wait, int64(r.Max))), int64(r.Max))
}

// vary changes a wait by up to the share Jitter either way. The generator is xorshift64.
func (w *Writer) vary(wait int64) int64 {
	w.random ^= w.random << 13
	w.random ^= w.random >> 7
	w.random ^= w.random << 17
	unit := float64(w.random>>11) / (1 << 53)
	return int64(float64(wait) * (1 + w.config.Retry.Jitter*(2*unit-1)))
}
