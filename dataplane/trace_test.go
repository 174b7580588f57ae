package dataplane

import (
	"testing"

	"culvert/dataplane/influx"
)

// Goal: one in so many batches is traced, with numbers of its own, as long as there is room; what came of it
// is passed on, and its room is there again. Nothing is allocated.
func TestTracing(t *testing.T) {
	const every = 3
	out := NewTraceRing()
	tracing := newTracing(out, every, 1)
	pool, err := influx.NewPool(make([]byte, 128<<10), 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	o := &lane{index: 5, pool: pool}
	pass := func() bool {
		b := pool.Take()
		tracing.opened(b, 10)
		b.Extend(append(b.Body(), "m v=1\n"...), 1, 7)
		tracing.measured(&stopwatch{begun: 20, decode: 3, rules: 2})
		b.Seal(30)
		if b.Trace() != nil {
			tracing.sealed(b.Trace(), b)
			tracing.settled(o, &influx.Outcome{Batch: b, Written: 1, Code: 204}, 40)
			pool.Release(b)
			return true
		}
		pool.Release(b)
		return false
	}
	seen := map[[16]byte]bool{}
	for i := range 10 * every {
		if due := i%every == 0; tracing.watch != due {
			t.Errorf("before batch %d payloads are measured: %t", i, tracing.watch)
		}
		if got, want := pass(), i%every == 0; got != want {
			t.Fatalf("batch %d is traced: %t", i, got)
		}
		for s := out.Peek(); s != nil; s = out.Peek() {
			if s.Lane != 5 || s.Opened != 7 || s.Seen != 10 || s.Measured != 20 || s.Decode != 3 ||
				s.Rules != 2 || s.Sealed != 30 || s.Settled != 40 || s.Points != 1 || s.Bytes != 6 ||
				s.Written != 1 || s.Code != 204 || s.Span == 0 || seen[s.ID] {
				t.Errorf("%+v", *s)
			}
			seen[s.ID] = true
			out.Release()
		}
	}
	if len(seen) != 10 {
		t.Errorf("%d traces", len(seen))
	}
	if n := testing.AllocsPerRun(100, func() { pass() }); n != 0 {
		t.Errorf("%g allocations a batch", n)
	}
	var held []*influx.Batch
	for range every * (tracesMax + 4) {
		b := pool.Take()
		tracing.opened(b, 1)
		held = append(held, b)
	}
	traced := 0
	for _, b := range held {
		if b.Trace() != nil {
			traced++
		}
	}
	if traced != tracesMax {
		t.Errorf("%d batches are traced at once, want %d", traced, tracesMax)
	}
	if off := newTracing(nil, 1, 1); off.every != 0 {
		t.Error("it traces without a ring")
	}
}

// Goal: what a ring has no room for is left out and counted span by span, for each kind of trace, without an
// allocation. Method: a ring that nobody reads.
func TestTracesLeftOutAreCounted(t *testing.T) {
	ring := NewTraceRing()
	for range TraceSlots {
		ring.pass(&Traced{})
	}
	if n := ring.LeftOut(); n != 0 {
		t.Fatalf("%d spans are left out of a ring with room", n)
	}
	f := func(trace Traced, want uint64) {
		t.Helper()
		before := ring.LeftOut()
		ring.pass(&trace)
		if got := ring.LeftOut() - before; got != want {
			t.Errorf("%d spans are left out, want %d", got, want)
		}
	}
	attempts := func(kind TraceKind, begun ...int64) (trace Traced) {
		trace.Kind, trace.Count = kind, len(begun)
		for i, b := range begun {
			trace.Attempts[i].Begun = b
		}
		return trace
	}
	f(attempts(TraceBatch), 3)          // batch, receive, wait
	f(attempts(TraceBatch, 0), 3)       // its head was written, and no more
	f(attempts(TraceBatch, 5), 5)       // send, answer
	f(attempts(TraceBatch, 5, 0, 7), 8) // and a retry between two
	whole := attempts(TraceBatch, 5)
	whole.Measured, whole.OnDisk = 1, 1
	f(whole, 8) // decode, rules, spool
	f(Traced{Kind: TraceSpool}, 1)
	f(attempts(TraceReplay, 5, 6), 6)
	lost := Traced{Kind: TraceSpool}
	if n := testing.AllocsPerRun(100, func() { ring.pass(&lost) }); n != 0 {
		t.Errorf("%g allocations for a trace that is left out", n)
	}
	ring.Peek()
	ring.Release()
	f(attempts(TraceBatch, 5), 0)
}
