package dataplane

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"culvert/dataplane/influx"
	"culvert/dataplane/spool"
)

// sendTraced hands over one batch of so many lines that belongs to a trace.
func (r *spoolRig) sendTraced(lines int, trace TraceOf) {
	r.t.Helper()
	b := r.pool.Take()
	body := b.Body()
	for range lines {
		r.sent++
		body = fmt.Appendf(body, "m v=%d %d\n", r.sent, r.sent)
	}
	b.Extend(body, lines, 1)
	b.Seal(1)
	r.writer.Submit(b, 1)
	outcome, ok := r.writer.Outcome()
	if !ok || outcome.Aside != lines {
		r.t.Fatalf("the batch did not step aside: %+v", outcome)
	}
	r.port.push(spoolItem{
		batch: outcome.Batch, oldest: 1, number: 1, points: lines, trace: trace, settled: 1,
	})
}

// parts takes what was told of traces, of one kind, until there are n of it. Others are thrown away: requests
// that fail are told at any time.
func (r *spoolRig) parts(ring *TraceRing, kind TraceKind, n int) (all []Traced) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d parts of traces are told", n), func() bool {
		for t := ring.Peek(); t != nil; t = ring.Peek() {
			if t.Kind == kind {
				all = append(all, *t)
			}
			ring.Release()
		}
		return len(all) >= n
	})
	return all
}

// Goal: what is left of traced batches is followed through the spool: on disk, in memory, in a request that
// carries two of them, and where there is no room for one. Method: a server that is away for a while; the
// ring that a gateway reads.
func TestSpoolTraces(t *testing.T) {
	first, second := TraceOf{ID: [16]byte{1}, Root: 11}, TraceOf{ID: [16]byte{2}, Root: 22}
	for _, memory := range []bool{false, true} {
		ring := NewTraceRing()
		r := newSpoolRig(t, func(r *spoolRig) {
			r.config.Traces, r.config.TraceSeed = ring, 5
			if memory {
				r.config.MemoryBytes = 400
				r.config.Open = func() (*spool.Log, spool.Recovery, error) {
					return nil, spool.Recovery{}, errNoDisk
				}
			}
		})
		r.d.answer(func(string) int { return http.StatusServiceUnavailable })
		r.send(1, "untraced")
		r.sendTraced(2, first)
		r.sendTraced(3, second)
		spooled := r.parts(ring, TraceSpool, 2)
		for i, want := range []TraceOf{first, second} {
			s := &spooled[i]
			if s.ID != want.ID || s.Root != want.Root || s.Points != 2+i ||
				s.SetAside != 2+i || s.InMemory != memory || s.Opened != 1 || s.Settled <= 1 {
				t.Errorf("in memory %t: %+v", memory, s)
			}
		}
		if memory {
			r.sendTraced(40, TraceOf{ID: [16]byte{3}, Root: 33})
			lost := r.parts(ring, TraceSpool, 1)[0]
			if lost.Undelivered != 40 || lost.SetAside != 0 || lost.Root != 33 {
				t.Errorf("%+v", lost)
			}
		}
		r.d.answer(nil)
		r.until("all is delivered", func() bool { s := r.spooler.State(); return s.Pending() == 0 })
		var done []Traced
		r.until("both are delivered", func() bool {
			for _, p := range r.parts(ring, TraceReplay, 0) {
				if p.Code == http.StatusNoContent {
					done = append(done, p)
				}
			}
			return len(done) >= 2
		})
		checkReplays(t, done, first, second)
	}
}

// checkReplays looks at the requests that delivered two traces, in one or in two.
func checkReplays(t *testing.T, done []Traced, first, second TraceOf) {
	t.Helper()
	// Apart their answers may come in any order.
	slices.SortFunc(done, func(a, b Traced) int { return cmp.Compare(a.Root, b.Root) })
	if len(done) != 2 || done[0].Root != first.Root || done[1].Root != second.Root ||
		done[0].ID != first.ID || done[1].ID != second.ID || done[0].Span == done[1].Span {
		t.Fatalf("%+v", done)
	}
	for i := range done {
		d := &done[i]
		if d.Count == 0 || d.Attempts[d.Count-1].Code != http.StatusNoContent || d.Written != d.Points ||
			d.Settled < d.Sealed || d.Sealed == 0 {
			t.Errorf("%+v", d)
		}
	}
	together := done[0].Points == done[1].Points // apart they are 2 and 3
	if want := (TraceOf{done[0].ID, done[0].Span}); together && done[1].Told != want ||
		done[0].Told != (TraceOf{}) {
		t.Errorf("together %t: the server was told %+v and %+v", together, done[0].Told, done[1].Told)
	}
}

// What is known of records is bounded, and the newest stay known.
func TestSpoolTracesAreBounded(t *testing.T) {
	traces := newSpoolTraces(NewTraceRing(), 0, 1)
	for i := range uint64(2 * spoolTracesMax) {
		traces.remember(i+1, TraceOf{Root: i + 1})
	}
	for i := range uint64(2 * spoolTracesMax) {
		want := uint64(0)
		if i >= spoolTracesMax {
			want = i + 1
		}
		if got := traces.of(i + 1).Root; got != want {
			t.Fatalf("record %d has the trace %d, want %d", i+1, got, want)
		}
	}
	off := newSpoolTraces(nil, 0, 1)
	off.remember(1, TraceOf{Root: 1})
	off.begin(nil, []flown{{trace: TraceOf{Root: 1}}})
	off.replayed(&influx.Outcome{Batch: new(influx.Batch)}, nil, 1)
	if off.of(1).Root != 0 {
		t.Error("it traces without a ring")
	}
}

// Goal: a spooler's traces that find no room are counted as a worker's are. Method: a ring that nobody reads.
func TestSpoolTracesLeftOutAreCounted(t *testing.T) {
	ring := NewTraceRing()
	traces := newSpoolTraces(ring, 0, 1)
	item := spoolItem{trace: TraceOf{Root: 1}}
	for range TraceSlots + 3 {
		traces.spooled(&item, &spool.Record{Points: 1}, spooledDisk, 2)
	}
	if n := ring.LeftOut(); n != 3 {
		t.Errorf("%d spans are left out, want 3", n)
	}
}
