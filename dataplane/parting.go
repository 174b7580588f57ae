package dataplane

import (
	"time"

	"culvert/dataplane/shard"
)

// With order: series a URL that leaves parts with its series by and by. What waits for it goes to the others
// by way of its spooler, and so does what comes meanwhile: to its lane, into its spool, and on from there.
// Only when nothing of a worker's is on this way any more do the series change hands, by the worker itself
// between two turns; and what comes then is behind what came before, in the new owner's spool if that still
// has it. Workers do so independently: what two of them have of one series is in no order.

// partingAge is how old a batch's first point gets meanwhile, in nanoseconds: the spool mostly is through
// with the batch before within a millisecond, and then the open one need not go that way.
const partingAge = int64(100 * time.Millisecond)

// PartURL lets the series of a URL that leaves stay with it until all that this worker has for it is with the
// others. It comes before the table that does not name the URL; LeaveURL follows. Without a spool it does
// nothing: then what the worker has is still sent to the URL.
func (w *Worker) PartURL(url int) error {
	return w.Do(func() error {
		if w.urls[url].spool == nil {
			return nil
		}
		for i := range w.routes {
			r := &w.routes[i]
			for _, o := range r.lanes {
				if o.index == url && r.table != nil && !o.parts {
					o.parts = true
					r.parting = append(r.parting, o)
				}
			}
		}
		return nil
	})
}

// Parting tells whether some series of a URL that leaves are still with it, as of now.
func (w *Worker) Parting(url int) (bool, error) {
	return ask(w, func() bool {
		now := w.clock.Now()
		for i := range w.routes {
			r := &w.routes[i]
			if len(r.parting) > 0 {
				w.part(r, now)
				r.refresh()
			}
			for _, o := range r.parting {
				if o.index == url {
					return true
				}
			}
		}
		return false
	})
}

// part lets a tenant's series change hands once nothing of theirs is on its way, but for the open batches of
// the URLs that leave: their lines go to the new owners' batches.
func (w *Worker) part(r *route, now int64) {
	for _, o := range r.parting {
		if o.held != o.unsealed() || !o.spool.caughtUp() {
			return
		}
	}
	for _, o := range r.lanes {
		if n := len(r.parting); o.pool.Free() < n || o.sharing > 1 && o.batches+n > o.most() {
			return // The new owners need a batch for each of these at most.
		}
	}
	table, splits := r.shared.Load(), make([]Splitter, len(r.parting))
	for i, o := range r.parting {
		if !o.split(&splits[i], len(r.lanes), table) {
			w.seal(o, now) // It goes the long way.
			return
		}
	}
	for _, o := range r.lanes {
		// Its spool may have what came from there. If not, it says so at once.
		o.writer.StayBehind()
	}
	parting := r.parting
	r.parting = nil
	for i, o := range parting {
		o.parts = false
		w.dealOut(o, r, &splits[i])
	}
}

// unsealed is how many points are in the open batch.
func (o *lane) unsealed() int {
	if o.open == nil {
		return 0
	}
	return o.open.Points()
}

// split sorts the open batch's lines by who owns them, and reports whether each part fits into a batch.
func (o *lane) split(into *Splitter, urls int, table *shard.Table) bool {
	if o.unsealed() == 0 {
		return true
	}
	room := o.open.Bytes() + o.open.Room()
	if !into.Split(o.open.Body(), urls, table) {
		return false
	}
	found := 0
	for i, points := range into.Points {
		found += points
		if len(into.Bodies[i]) > room {
			return false
		}
	}
	return found == o.open.Points()
}

// dealOut gives an open batch's lines to those that own their series. In the ledger the points leave one lane
// for another.
func (w *Worker) dealOut(o *lane, r *route, split *Splitter) {
	b := o.open
	if o.unsealed() == 0 {
		return
	}
	o.counters.Moved += uint64(b.Points())
	o.held -= b.Points()
	o.open, o.touched = nil, true
	for i, points := range split.Points {
		if points > 0 {
			w.storeText(r.lanes[i], split.Bodies[i], points, b.Opened())
		}
	}
	w.traces.forget(b)
	o.release(b)
}
