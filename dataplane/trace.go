package dataplane

import (
	"encoding/binary"
	"sync/atomic"

	"culvert/dataplane/influx"
	"culvert/dataplane/spsc"
)

const (
	// TraceSlots is the size of a TraceRing, which is read some times a second.
	TraceSlots = 64
	// tracesMax is how many batches of a worker are traced at once. Where more are due, they are not.
	tracesMax = 16
)

// TraceKind is which part of a batch's way a Traced shows.
type TraceKind uint8

const (
	TraceBatch  TraceKind = iota // from its first packet to its outcome
	TraceSpool                   // from that outcome to the disk, or to memory where no disk takes it
	TraceReplay                  // one request that had it from there
)

// TraceOf names a batch's trace where only its points are left. Its zero value is none.
type TraceOf struct {
	ID   [16]byte
	Root uint64 // the span that all others stand below
}

// traceOf names the trace of a batch.
func traceOf(b *influx.Batch) (of TraceOf) {
	if t := b.Trace(); t != nil {
		of = TraceOf{t.ID, t.Span}
	}
	return of
}

// Traced is a batch's trace from its first packet to its outcome, or one of the parts that come later. These
// use of it what TraceKind says:
//
//	TraceSpool    Opened, Settled; Points, of which SetAside were kept and Undelivered were not; InMemory
//	TraceReplay   Sealed, Attempts, Settled and the outcome of the whole request
type Traced struct {
	influx.Trace
	Kind TraceKind
	// Root is the span of the batch, which later parts stand below.
	Root uint64
	// Told is whose numbers a request that carries several traces told the server, if not this one's.
	Told     TraceOf
	InMemory bool

	Lane                                     int // its place among all URLs of all sinks
	Sealed, Settled                          int64
	Points, Bytes                            int
	Written, Rejected, Undelivered, SetAside int
	Code                                     int // of the last answer
}

// Spans is how many spans package traces makes of it; a test there holds the two together.
func (t *Traced) Spans() int {
	n := 1
	switch t.Kind {
	case TraceSpool:
		return n
	case TraceBatch:
		n += 2 // receive and wait
		if t.Measured != 0 {
			n += 2 // decode and rules
		}
		if t.OnDisk != 0 {
			n++
		}
	}
	begun := 0
	for i := range t.Attempts[:t.Count] {
		if t.Attempts[i].Begun != 0 {
			begun++
		}
	}
	// Each is sent and answered, and a pause lies between one and the next.
	return n + max(0, 3*begun-1)
}

// TraceRing carries finished traces from one worker or spooler, which alone passes them, to the goroutine
// that exports them, which alone takes them. What finds it full is left out, and counted.
type TraceRing struct {
	*spsc.Ring[Traced]
	leftOut atomic.Uint64 // spans
}

// NewTraceRing takes all memory that the ring needs.
func NewTraceRing() *TraceRing { return &TraceRing{Ring: spsc.New[Traced](TraceSlots)} }

// LeftOut is how many spans found no room since the start. Any goroutine may ask.
func (r *TraceRing) LeftOut() uint64 { return r.leftOut.Load() }

// pass hands a trace over, or counts its spans.
func (r *TraceRing) pass(t *Traced) {
	if !r.Push(t) {
		r.leftOut.Add(uint64(t.Spans()))
	}
}

// tracing is one worker's. Its zero value traces nothing.
type tracing struct {
	out     *TraceRing
	every   int // one in so many batches; 0: none
	left    int // batches until the next one
	numbers numbers
	free    []*influx.Trace
	filling *influx.Trace // of an open batch of which no packet was measured yet; else nil
	// watch has all payloads measured: the next batch is to be traced, or one is of which none was.
	watch bool
	slot  Traced
}

// newTracing takes the memory for all traces. seed tells workers and runs apart.
func newTracing(out *TraceRing, every int, seed uint64) tracing {
	if out == nil || every <= 0 {
		return tracing{}
	}
	t := tracing{out: out, every: every, left: 1, watch: true, numbers: numbers(seed)}
	t.free = make([]*influx.Trace, tracesMax)
	traces := make([]influx.Trace, tracesMax)
	for i := range traces {
		t.free[i] = &traces[i]
	}
	return t
}

// numbers are those of traces and spans: random ones, by splitmix64 from a seed.
type numbers uint64

// take is the next one; it is not 0, which trace contexts forbid.
func (n *numbers) take() uint64 {
	for {
		*n += 0x9E3779B97F4A7C15
		z := uint64(*n)
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		if z ^= z >> 31; z != 0 {
			return z
		}
	}
}

// opened decides whether a new batch is traced. now is when its first packet was taken.
func (t *tracing) opened(b *influx.Batch, now int64) {
	if t.left--; t.left > 0 {
		t.watch = t.filling != nil || t.left == 1
		return
	}
	t.left = t.every
	n := len(t.free)
	if n == 0 {
		t.watch = t.filling != nil || t.left == 1
		return
	}
	trace := t.free[n-1]
	t.free = t.free[:n-1]
	*trace = influx.Trace{Seen: now, Span: t.numbers.take()}
	binary.BigEndian.PutUint64(trace.ID[:8], t.numbers.take())
	binary.BigEndian.PutUint64(trace.ID[8:], t.numbers.take())
	b.SetTrace(trace)
	t.filling = trace
}

// measured notes what a payload took.
func (t *tracing) measured(shares *stopwatch) {
	if t.filling != nil {
		t.filling.Measured, t.filling.Decode, t.filling.Rules = shares.begun, shares.decode, shares.rules
		t.filling, t.watch = nil, t.left == 1
	}
}

// sealed notes when the first packet of a batch came.
func (t *tracing) sealed(trace *influx.Trace, b *influx.Batch) {
	trace.Opened = b.Opened()
	if t.filling == trace {
		t.filling, t.watch = nil, t.left == 1
	}
}

// forget takes the memory of an open batch's trace back: its lines go on in others.
func (t *tracing) forget(b *influx.Batch) {
	trace := b.Trace()
	if trace == nil {
		return
	}
	if t.filling == trace {
		t.filling, t.watch = nil, t.left == 1
	}
	b.SetTrace(nil)
	t.free = append(t.free, trace)
}

// settled passes a trace on and takes its memory back.
func (t *tracing) settled(o *lane, outcome *influx.Outcome, now int64) {
	b := outcome.Batch
	trace := b.Trace()
	t.slot = Traced{
		Trace: *trace, Lane: o.index, Sealed: b.SealedAt(), Settled: now,
		Points: b.Points(), Bytes: b.Bytes(), Written: outcome.Written, Rejected: outcome.Rejected,
		Undelivered: outcome.Undelivered, SetAside: outcome.Aside, Code: outcome.Code,
	}
	t.out.pass(&t.slot)
	b.SetTrace(nil)
	t.free = append(t.free, trace)
}
