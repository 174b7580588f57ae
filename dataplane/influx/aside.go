package influx

import "slices"

// asideShare is the part of the pool's batches that is kept free for fresh points by setting aside those
// that wait the longest: whoever takes them needs a moment to let go of them.
const asideShare = 4

// PassOn changes Config.Aside and Config.NoRelief, both at once, for a caller that keeps nothing itself: with
// on, it has another server for what this one does not take.
func (w *Writer) PassOn(on bool) { w.config.Aside, w.config.NoRelief = on, on }

// Rest is what of a settled batch was set aside: the parts, in the order of the body, that are neither
// written nor refused, or about which nothing is known. Their points are Outcome.Aside. The slice is valid
// until Release.
func (b *Batch) Rest() []Part {
	if b.state != stateSettled {
		return nil
	}
	return b.delivery.parts[:b.delivery.count]
}

// setAside ends a delivery with the parts that are left, in the order of the body.
func (d *delivery) setAside() {
	slices.SortFunc(d.parts[:d.count], func(a, b Part) int { return a.From - b.From })
	for _, p := range d.parts[:d.count] {
		d.aside += p.Points
	}
	if d.aside > 0 {
		d.reason = ReasonAside
	}
}

// divert sets aside what would wait in vain since the breaker is open, or after Leave.
func (w *Writer) divert() {
	switch {
	case !w.config.Aside:
	case w.config.Ordered:
		w.divertOrdered()
	case w.left, w.breaker.state != BreakerClosed:
		w.asideFirst(len(w.waiting))
	}
}

// relieve sets aside what has waited the longest when the pool runs out of batches: one for each that comes.
func (w *Writer) relieve(now int64) {
	pool := w.config.Pool
	switch {
	case !w.config.Aside || w.config.NoRelief || pool.Free()*asideShare >= pool.Size():
	case w.config.Ordered:
		w.relieveOrdered(now)
	default:
		w.asideFirst(min(1, len(w.waiting)))
	}
}

// asideFirst sets aside the first of the batches that wait.
func (w *Writer) asideFirst(n int) {
	for _, b := range w.waiting[:n] {
		w.giveUp(b)
	}
	w.waiting = append(w.waiting[:0], w.waiting[n:]...)
}
