package dataplane

import (
	"sync/atomic"

	"culvert/dataplane/influx"
	"culvert/dataplane/spsc"
)

// SpoolPort is the way of one worker's batches to the spooler of one URL, and of their memory back:
//
//	worker ──items──▶ spooler     a settled batch whose Rest is to be kept
//	worker ◀──backs── spooler     the batch; its memory is the worker's again
//
// Neither side waits for the other: both rings have a slot for every batch that the worker has. A batch that
// was pushed is the spooler's to read, and nobody's to write, until it comes back.
type SpoolPort struct {
	items   *spsc.Ring[spoolItem]
	backs   *spsc.Ring[*influx.Batch]
	spooler *Waker // set before the worker starts
	worker  *Waker
	index   uint16 // the worker's

	// What replay gives way to: how many batches wait for a connection, and how many were sealed so far. The
	// worker writes them once a batch.
	backlog atomic.Int64
	sealed  atomic.Uint64
}

// spoolItem is a batch on its way to disk.
type spoolItem struct {
	batch  *influx.Batch
	oldest int64 // arrival of its first point, nanoseconds since 1970
	number uint64
}

// NewSpoolPort makes the way from a worker of the exchange that has so many batches for the URL.
func NewSpoolPort(exchange *Exchange, worker, batches int) *SpoolPort {
	slots := 1
	for slots < batches {
		slots *= 2
	}
	return &SpoolPort{
		items: spsc.New[spoolItem](slots), backs: spsc.New[*influx.Batch](slots),
		worker: exchange.wakers[worker], index: uint16(worker),
	}
}

// push hands a batch over. Only the worker calls it.
func (p *SpoolPort) push(item *spoolItem) {
	if !p.items.Push(item) {
		panic("BUG: the ring to the spooler is full although it has a slot for every batch")
	}
	p.spooler.Wake()
}

// pop takes a batch that came back, or nil. Only the worker calls it.
func (p *SpoolPort) pop() *influx.Batch {
	slot := p.backs.Peek()
	if slot == nil {
		return nil
	}
	b := *slot
	p.backs.Release()
	return b
}
