package dataplane

import (
	"time"

	"golang.org/x/sys/unix"

	"culvert/dataplane/influx"
)

// recallStep is how long a worker that ends waits between two looks at the spoolers, in nanoseconds.
const recallStep = int64(time.Millisecond)

// stepAside finds another place for what is left of a batch, and gives it back. trace is the batch's.
func (w *Worker) stepAside(o *lane, b *influx.Batch, points int, trace TraceOf, now int64) {
	if other := o.route.instead(o); other != nil {
		// The next server in order takes over; in the ledger the points leave one lane for another.
		o.counters.Moved += uint64(points)
		for _, part := range b.Rest() {
			w.storeText(other, b.Body()[part.From:part.To], part.Points, b.Opened())
		}
		if b.Mark != 0 {
			o.spool.push(spoolItem{kind: spoolForget, sequence: b.Mark})
		}
		o.release(b)
		return
	}
	if o.spool == nil {
		w.drop(o, DropUndelivered, points)
		o.release(b)
		return
	}
	// The spooler answers for the points from here on.
	w.counters.PointsSpooled += uint64(points)
	o.counters.Spooled += uint64(points)
	if b.Mark != 0 && points == b.Points() {
		// All of it is on disk.
		o.spool.push(spoolItem{
			kind: spoolReplay, sequence: b.Mark, points: points, tenant: uint16(o.tenant), trace: trace,
		})
		o.release(b)
		return
	}
	o.parked += b.Points()
	item := w.itemOf(o, spoolKeep, b, points)
	item.trace, item.settled = trace, now
	o.spool.push(item)
}

func (w *Worker) itemOf(o *lane, kind spoolKind, b *influx.Batch, points int) spoolItem {
	return spoolItem{
		kind: kind, batch: b, sequence: b.Mark, points: points, oldest: w.clock.Wall(b.Opened()),
		number: w.counters.BatchesSealed, tenant: uint16(o.tenant),
	}
}

// submit lets a sealed batch go: to its writer, or to disk first.
func (w *Worker) submit(o *lane, b *influx.Batch, now int64) {
	if o.spool == nil {
		o.writer.Submit(b, now)
		return
	}
	o.spool.sealed.Store(w.counters.BatchesSealed)
	o.spool.backlog.Store(int64(o.writer.Backlog()))
	if !o.always {
		o.writer.Submit(b, now)
		return
	}
	if t := b.Trace(); t != nil {
		t.ToDisk = now
	}
	o.appending++
	o.spool.push(w.itemOf(o, spoolAppend, b, 0))
}

// takeBack takes the batches that the spoolers have read: those that are on disk now are sent, the others are
// free. It returns how many they were.
func (w *Worker) takeBack(now int64) (work int) {
	for _, url := range w.urls {
		spool := url.spool
		if spool == nil {
			continue
		}
		for {
			back, ok := spool.pop()
			if !ok {
				break
			}
			work++
			o := w.lanes[back.batch.Owner]
			if back.kind == spoolAppend {
				o.appending--
				back.batch.Mark = back.sequence
				if t := back.batch.Trace(); t != nil && back.sequence != 0 {
					t.OnDisk = now
				}
				o.writer.Submit(back.batch, now)
				continue
			}
			o.parked -= back.batch.Points()
			o.release(back.batch)
		}
	}
	return work
}

// cameBack tells whether a spooler has given a batch back.
func (w *Worker) cameBack() bool {
	for _, url := range w.urls {
		if p := url.spool; p != nil && p.backs.Peek() != nil {
			return true
		}
	}
	return false
}

// recall waits for the batches that the spoolers read, until the deadline.
func (w *Worker) recall(deadline int64) {
	for {
		now := w.clock.Now()
		w.takeBack(now)
		if !w.lent() || now >= deadline {
			break
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: recallStep}, nil)
	}
	// The spooler stands still, perhaps with the disk: its memory stays as long as the process.
	w.keepMemory = w.lent()
}

// lent tells whether spoolers read batches.
func (w *Worker) lent() bool {
	for _, o := range w.lanes {
		if o.parked+o.appending > 0 {
			return true
		}
	}
	return false
}
