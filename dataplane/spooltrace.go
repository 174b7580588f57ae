package dataplane

import (
	"culvert/dataplane/influx"
	"culvert/dataplane/spool"
)

// spoolTracesMax is how many records on disk a spooler knows the traces of. Where more wait the oldest are
// forgotten, which also clears away those that gave way to others: their traces end with the spool. So do
// all when the gateway ends, since a record has no room for a trace.
const spoolTracesMax = 256

// spooledPlace is where a record went.
type spooledPlace uint8

const (
	spooledDisk spooledPlace = iota
	spooledMemory
	spooledNowhere
)

// spoolTraces are one spooler's. Its zero value traces nothing.
type spoolTraces struct {
	out     *TraceRing
	lane    int
	numbers numbers
	known   []knownTrace // a ring
	next    int
	free    []*influx.Trace // for requests
	slot    Traced
}

// knownTrace is the trace of a record on disk.
type knownTrace struct {
	sequence uint64
	trace    TraceOf
}

// newSpoolTraces takes the memory for all traces.
func newSpoolTraces(out *TraceRing, lane int, seed uint64) spoolTraces {
	if out == nil {
		return spoolTraces{}
	}
	t := spoolTraces{out: out, lane: lane, numbers: numbers(seed), known: make([]knownTrace, spoolTracesMax)}
	for range replayBatches {
		t.free = append(t.free, new(influx.Trace))
	}
	return t
}

// remember notes whose trace a record on disk belongs to.
func (t *spoolTraces) remember(sequence uint64, trace TraceOf) {
	if t.out == nil || sequence == 0 || trace.Root == 0 {
		return
	}
	t.known[t.next] = knownTrace{sequence, trace}
	t.next = (t.next + 1) % len(t.known)
}

// of is the trace of a record on disk, if it is known.
func (t *spoolTraces) of(sequence uint64) TraceOf {
	for i := range t.known {
		if t.known[i].sequence == sequence {
			return t.known[i].trace
		}
	}
	return TraceOf{}
}

// spooled passes on that a traced batch, or a part of it, has found a place, or none.
func (t *spoolTraces) spooled(item *spoolItem, r *spool.Record, place spooledPlace, now int64) {
	if t.out == nil {
		return
	}
	t.slot = Traced{
		Kind: TraceSpool, Root: item.trace.Root, Lane: t.lane, Settled: now, Points: r.Points,
		Bytes: len(r.Body), SetAside: r.Points, InMemory: place == spooledMemory,
	}
	t.slot.ID, t.slot.Span, t.slot.Opened = item.trace.ID, t.numbers.take(), item.settled
	if place == spooledNowhere {
		t.slot.SetAside, t.slot.Undelivered = 0, r.Points
	}
	t.out.pass(&t.slot)
}

// begin has a request traced that carries points of a traced batch, the first of them if there are several:
// a server can be told one trace alone.
func (t *spoolTraces) begin(b *influx.Batch, flight []flown) {
	n := len(t.free)
	for i := range flight {
		if flight[i].trace.Root == 0 || n == 0 {
			continue
		}
		trace := t.free[n-1]
		t.free = t.free[:n-1]
		*trace = influx.Trace{ID: flight[i].trace.ID, Span: t.numbers.take()}
		b.SetTrace(trace)
		return
	}
}

// replayed passes on what became of a request, once for each batch that it carried points of.
func (t *spoolTraces) replayed(outcome *influx.Outcome, flight []flown, now int64) {
	b := outcome.Batch
	trace := b.Trace()
	if trace == nil {
		return
	}
	told := TraceOf{}
	for i := range flight {
		of := flight[i].trace
		if of.Root == 0 || i > 0 && of == flight[i-1].trace {
			continue
		}
		t.slot = Traced{
			Trace: *trace, Kind: TraceReplay, Root: of.Root, Told: told, Lane: t.lane, Sealed: b.SealedAt(),
			Settled: now, Points: b.Points(), Bytes: b.Bytes(), Written: outcome.Written,
			Rejected: outcome.Rejected, Undelivered: outcome.Undelivered, SetAside: outcome.Aside,
			Code: outcome.Code,
		}
		if told.Root != 0 {
			t.slot.ID, t.slot.Span = of.ID, t.numbers.take()
		} else {
			told = TraceOf{trace.ID, trace.Span}
		}
		t.out.pass(&t.slot)
	}
	b.SetTrace(nil)
	t.free = append(t.free, trace)
}
