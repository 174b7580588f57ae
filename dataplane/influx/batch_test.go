package influx

import (
	"fmt"
	"strings"
	"testing"
)

// fill opens a batch with these lines, one point each, one arrival each microsecond.
func fill(t testing.TB, p *Pool, lines ...string) *Batch {
	t.Helper()
	b := p.Take()
	if b == nil {
		t.Fatal("the pool is exhausted")
	}
	for i, line := range lines {
		b.Extend(append(append(b.Body(), line...), '\n'), 1, int64(i)*1000)
	}
	return b
}

// mustPanic runs f, which must panic with a message that begins with BUG.
func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "BUG: ") {
			t.Errorf("%s: recovered %q, want BUG: …", what, text)
		}
	}()
	f()
}

func TestPoolHandsOutAndTakesBack(t *testing.T) {
	p, err := NewPool(make([]byte, 3*64+63), 64)
	if err != nil {
		t.Fatal(err)
	}
	if p.Size() != 3 || p.Free() != 3 || p.Held() != 0 {
		t.Fatalf("a new pool has %d batches, %d free, %d points", p.Size(), p.Free(), p.Held())
	}
	a, b, c := fill(t, p, "a v=1"), fill(t, p, "b v=1", "b v=2"), p.Take()
	if p.Take() != nil {
		t.Fatal("an exhausted pool hands out a batch")
	}
	if p.Held() != 3 || a.Points() != 1 || b.Points() != 2 || b.Bytes() != 12 || b.Room() != 52 {
		t.Fatalf("held %d, points %d and %d, bytes %d, room %d", p.Held(), a.Points(), b.Points(), b.Bytes(),
			b.Room())
	}
	if string(b.Body()) != "b v=1\nb v=2\n" || cap(b.Body()) != 64 {
		t.Fatalf("body %q with capacity %d", b.Body(), cap(b.Body()))
	}
	p.Release(a)
	p.Release(c)
	if p.Held() != 2 || p.Free() != 2 {
		t.Fatalf("after two releases: held %d, free %d", p.Held(), p.Free())
	}
	again := p.Take()
	if again.Points() != 0 || again.Bytes() != 0 || len(again.Runs()) != 0 {
		t.Fatal("a batch taken again is not empty")
	}
}

func TestPoolRefusesNonsense(t *testing.T) {
	for _, c := range []struct{ memory, batch int }{{0, 1}, {10, 0}, {10, 11}, {10, -1}} {
		if _, err := NewPool(make([]byte, c.memory), c.batch); err == nil {
			t.Errorf("%d bytes in batches of %d are accepted", c.memory, c.batch)
		}
	}
}

func TestRuns(t *testing.T) {
	p, _ := NewPool(make([]byte, 1<<16), 1<<16)
	b := p.Take()
	b.Taken = 7
	add := func(arrival int64) { b.Extend(append(b.Body(), "x v=1\n"...), 1, arrival) }
	for _, arrival := range []int64{100_000, 101_000, 103_999, 104_000, 104_001, 99_000, 500_000} {
		add(arrival)
	}
	want := []Run{{100_000, 7, 3}, {104_000, 7, 2}, {99_000, 7, 1}, {500_000, 7, 1}}
	if fmt.Sprint(b.Runs()) != fmt.Sprint(want) {
		t.Fatalf("runs %v, want %v", b.Runs(), want)
	}
	if b.Opened() != 100_000 {
		t.Fatalf("opened at %d", b.Opened())
	}
	for i := range int64(runsMax) {
		add(1_000_000 + i*runGap)
	}
	runs, sum := b.Runs(), 0
	for _, r := range runs {
		sum += r.Count
	}
	if len(runs) != runsMax || sum != b.Points() || runs[runsMax-1].Count != len(want)+1 {
		t.Fatalf("%d runs with %d of %d points, %d in the last", len(runs), sum, b.Points(),
			runs[runsMax-1].Count)
	}
}

func TestBatchStates(t *testing.T) {
	p, _ := NewPool(make([]byte, 64), 64)
	b := fill(t, p, "a v=1")
	mustPanic(t, "extend by less", func() { b.Extend(b.Body()[:2], 1, 0) })
	mustPanic(t, "extend by memory of another", func() { b.Extend(make([]byte, 60), 1, 0) })
	mustPanic(t, "extend beyond its end", func() { b.Extend(append(b.Body(), make([]byte, 64)...), 1, 0) })
	b.Seal(7)
	if b.SealedAt() != 7 {
		t.Fatalf("sealed at %d", b.SealedAt())
	}
	mustPanic(t, "seal twice", func() { b.Seal(8) })
	mustPanic(t, "extend a sealed one", func() { b.Extend(b.Body(), 1, 0) })
	b.move(stateSealed, stateInFlight)
	mustPanic(t, "release one in flight", func() { p.Release(b) })
	b.refs = 1
	b.move(stateInFlight, stateSettled)
	p.Release(b)
	if p.Free() != 0 || p.Held() != 0 {
		t.Fatal("a batch whose bytes the kernel holds is free, or its points still count")
	}
	mustPanic(t, "release twice", func() { p.Release(b) })
	b.unref()
	if p.Free() != 1 {
		t.Fatal("a batch is not free after its last holder has let go")
	}
	mustPanic(t, "unref too often", func() { b.unref() })
}
