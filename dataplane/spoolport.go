package dataplane

import (
	"math"
	"sync/atomic"

	"culvert/dataplane/influx"
	"culvert/dataplane/spsc"
)

// SpoolPort is the way of one worker's batches to the spooler of one URL, and of their memory back:
//
//	worker ──items──▶ spooler     a batch to be kept, or what became of one that is on disk already
//	worker ◀──backs── spooler     the batch; its memory is the worker's again
//
// Neither side waits for the other: the rings have room for all that can be on its way. A batch that was
// pushed is the spooler's to read, and nobody's to write, until it comes back.
type SpoolPort struct {
	items   *spsc.Ring[spoolItem]
	backs   *spsc.Ring[spoolBack]
	spooler *Waker // set before the worker starts
	worker  *Waker
	index   uint16 // the worker's

	pushed uint64 // items; the worker's
	popped uint64 // items; the spooler's
	// settled is how many items had been popped when nothing waited for delivery any more.
	settled atomic.Uint64

	// What replay gives way to: how many batches wait for a connection, how many were sealed so far, how many
	// points were written, how many of these took half as long again as usual or longer, and what all but one
	// batch in a hundred take without replay, in nanoseconds. The worker writes them once a batch.
	backlog atomic.Int64
	sealed  atomic.Uint64
	points  atomic.Uint64
	slow    atomic.Uint64
	usual   atomic.Int64
	writes  uint64 // batches; the worker's
	// replaying is the spooler's: it sends, or did so of late.
	replaying atomic.Bool

	// good is when the server took something of the spool last, CLOCK_MONOTONIC nanoseconds.
	good atomic.Int64
}

// spoolKind is what an item asks for.
type spoolKind uint8

const (
	// spoolKeep keeps what is left of a settled batch, and forgets the record of it if there is one.
	spoolKeep spoolKind = iota
	// spoolAppend puts a sealed batch on disk before it is sent.
	spoolAppend
	// spoolForget drops the record of a batch that is settled.
	spoolForget
	// spoolReplay delivers the record of a batch of which nothing was settled.
	spoolReplay
)

// spoolItem is what a worker tells its spooler.
type spoolItem struct {
	kind     spoolKind
	batch    *influx.Batch // of spoolKeep and spoolAppend; it comes back
	sequence uint64        // of the batch's record; 0 if there is none
	points   int           // that the spooler answers for from now on
	tenant   uint16        // whose they are
	oldest   int64         // arrival of the first point, nanoseconds since 1970
	number   uint64        // of the batch
	trace    TraceOf       // the batch's, if it is traced
	settled  int64         // when it was, CLOCK_MONOTONIC nanoseconds; of spoolKeep with a trace
}

// spoolBack is a batch that comes back.
type spoolBack struct {
	kind     spoolKind
	batch    *influx.Batch
	sequence uint64 // of the record that spoolAppend made; 0 if the disk took none
}

// spoolSlots is how many items a batch can have in the ring: that its last life was settled, and that it is
// to be kept. A third one waits for the batch to come back, behind these two.
const spoolSlots = 2

// NewSpoolPort makes the way from a worker of the exchange that has so many batches for the URL.
func NewSpoolPort(exchange *Exchange, worker, batches int) *SpoolPort {
	slots := 1
	for slots < spoolSlots*batches {
		slots *= 2
	}
	p := &SpoolPort{
		items: spsc.New[spoolItem](slots), backs: spsc.New[spoolBack](slots),
		worker: exchange.wakers[worker], index: uint16(worker),
	}
	// What the spool holds from before is not known yet.
	p.settled.Store(math.MaxUint64)
	return p
}

// push tells the spooler something. Only the worker calls it.
func (p *SpoolPort) push(item spoolItem) {
	if !p.items.Push(&item) {
		panic("BUG: the ring to the spooler is full although it has room for all that can be on its way")
	}
	p.pushed++
	p.spooler.Wake()
}

// caughtUp tells whether all that the worker has ever set aside is delivered or given up. Only the worker
// calls it.
func (p *SpoolPort) caughtUp() bool { return p.settled.Load() == p.pushed }

// pop takes a batch that came back. Only the worker calls it.
func (p *SpoolPort) pop() (back spoolBack, ok bool) {
	slot := p.backs.Peek()
	if slot == nil {
		return spoolBack{}, false
	}
	back = *slot
	p.backs.Release()
	return back, true
}

const (
	// usualStep is by which part the usual latency rises with a write that took longer. With one that did not
	// it falls by the 99th part of that: so it settles where one in a hundred takes longer.
	usualStep = 16
	// usualFirst is how many writes it takes to know it, also while there is replay.
	usualFirst = 256
)

// wrote notes how long a live batch took, from its first point's arrival to the server's answer, how many
// points it was, and how many were written so far. Only the worker calls it.
func (p *SpoolPort) wrote(took int64, points int, all uint64) {
	p.points.Store(all)
	usual := p.usual.Load()
	if usual == 0 {
		usual = took
	}
	if 2*took > 3*usual {
		p.slow.Store(p.slow.Load() + uint64(points))
	}
	p.writes++
	switch {
	case p.replaying.Load() && p.writes > usualFirst:
	case took > usual:
		usual += usual/usualStep + 1
	default:
		usual -= usual / (99 * usualStep)
	}
	p.usual.Store(usual)
}
