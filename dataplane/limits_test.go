package dataplane

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const (
	millisecond = int64(1_000_000)
	second      = 1000 * millisecond
)

// Goal: a bucket gives its burst, then its rate, and never more, to one worker alone. Method: time is an
// argument; each case is a moment and how many of many wishes come true in it.
func TestBucketGivesBurstAndRate(t *testing.T) {
	f := func(perSecond, burst int, moments ...int64) {
		t.Helper()
		var b bucket
		b.set(perSecond, burst, 1)
		var c credit
		for i := 0; i < len(moments); i += 2 {
			now, want := moments[i], moments[i+1]
			var got int64
			for range 5000 {
				if c.take(&b, now) {
					got++
				}
			}
			if got != want {
				t.Errorf("%d/s, burst %d, at %d ms: %d came through, want %d", perSecond, burst,
					now/millisecond, got, want)
			}
		}
	}
	f(100, 3, second, 3, second, 0, second+9*millisecond, 0, second+10*millisecond, 1,
		second+30*millisecond, 2, 9*second, 3, 9*second+1, 0)
	f(1000, 1, second, 1, second+millisecond, 1, second+millisecond+1, 0)
	// Without a burst it is a second's worth, drawn by 62: the sixteenth part. As much may lie drawn, and
	// only whole draws come out of the rest.
	f(1000, 0, second, 15*62, second+52*millisecond, 0, second+53*millisecond, 62, 99*second, 15*62)
	f(2_000_000_000, 1, second, 1, second, 0, second+1, 1)
}

// Goal: workers that share a bucket get no more than its burst together, and leave no more than what lies
// drawn with them.
func TestBucketIsShared(t *testing.T) {
	const workers, burst = 8, 10_000
	var b bucket
	b.set(1, burst, workers)
	var got atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			var c credit
			for range burst {
				if c.take(&b, second) {
					got.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := got.Load(); n > burst || n < burst-(workers+1)*b.draws {
		t.Errorf("%d of %d came through, in draws of %d", n, burst, b.draws)
	}
}

// Goal: what one sender sends too much costs no other anything, however many there are.
func TestSourcesKeepTheNoisy(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s := new(sources)
	const cost, depth = second, 2 * second
	noisy, now := r.Uint64(), second
	for i := range 5 {
		if got := s.take(noisy, cost, depth, now); got != (i < 3) {
			t.Fatalf("packet %d: %t", i, got)
		}
	}
	for range 10 * sourceSets * sourceWays {
		if !s.take(r.Uint64(), cost, depth, now) {
			t.Fatal("a sender of one packet was limited")
		}
	}
	if s.take(noisy, cost, depth, now) {
		t.Error("the noisy sender was forgotten")
	}
	if !s.take(noisy, cost, depth, now+cost) || s.take(noisy, cost, depth, now+cost) {
		t.Error("a second later there is not one packet")
	}
}

// Goal: so many series are admitted and stay so, whoever asks first, and places become free once their series
// are silent for an age.
func TestSeriesSet(t *testing.T) {
	const limit = 100
	s := newSeriesSet(limit)
	f := func(from, to uint64, want int) {
		t.Helper()
		got := 0
		for range 2 {
			got = 0
			for h := from; h < to; h++ {
				if s.admit(h * 0x9e3779b97f4a7c15) {
					got++
				}
			}
		}
		if got != want {
			t.Errorf("%d of the series %d to %d are admitted, want %d", got, from, to, want)
		}
	}
	f(1, 61, 60)
	f(1, 201, limit)
	f(61, 101, 40)
	s.turnAge()
	// All old ones have their places still, whether they came again or not.
	f(200, 300, 0)
	f(1, 51, 50)
	s.turnAge()
	f(200, 300, 50)
	f(1, 51, 50)
	f(51, 101, 0)
	s.turnAge()
	s.turnAge()
	f(1000, 2000, limit)
	if known := s.age.Load().known.Load(); known != limit {
		t.Errorf("%d series are known", known)
	}
}

// Goal: many workers admit exactly so many series together, each counted once, also while ages turn.
func TestSeriesSetIsShared(t *testing.T) {
	const workers, limit = 8, 1000
	s := newSeriesSet(limit)
	admitted := make([]map[uint64]bool, workers)
	var all sync.WaitGroup
	for i := range workers {
		admitted[i] = map[uint64]bool{}
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 0))
			for range 20 * limit {
				if h := r.Uint64N(2*limit)*0x9e3779b97f4a7c15 | 1; s.admit(h) {
					admitted[i][h] = true
				}
			}
		})
	}
	all.Wait()
	union := map[uint64]bool{}
	for _, one := range admitted {
		for h := range one {
			union[h] = true
		}
	}
	if known := s.age.Load().known.Load(); len(union) != limit || known != limit {
		t.Errorf("%d series were admitted, %d are known, want %d", len(union), known, limit)
	}
}

// Goal: a worker drops what a tenant sends too much, counts it by reason, and keeps the rest; other tenants
// are free of it. Method: payloads of two tenants go through a worker whose time stands still.
func TestWorkerLimitsTenants(t *testing.T) {
	config := workerConfig(t, "http://127.0.0.1:9", true)
	config.Limits = NewLimits([]TenantLimit{{}, {PointsPerSecond: 10, Series: 3, Burst: 5}}, 1)
	w := openWith(t, config)
	w.now = second
	feed := func(tenant uint16, lines ...string) {
		packet, metadata := frame(strings.Join(lines, "\n"), second)
		metadata[18] = byte(tenant)
		var payload Payload
		if r := openFrame(&payload, packet, metadata, ChecksumVerify, &w.counters); r != FrameRejects {
			t.Fatal(r)
		}
		w.eat(&payload, false)
	}
	want := func(received, points, series uint64, stored int) {
		t.Helper()
		c := &w.counters
		c.PointsInFlight = uint64(w.held())
		if c.PointsReceived[0] != received || c.PointsDropped[DropPointsLimit] != points ||
			c.PointsDropped[DropSeriesLimit] != series || int(c.PointsInFlight) != stored {
			t.Errorf("%d received, %d over points, %d over series, %d stored; want %d, %d, %d, %d",
				c.PointsReceived[0], c.PointsDropped[DropPointsLimit], c.PointsDropped[DropSeriesLimit],
				c.PointsInFlight, received, points, series, stored)
		}
		if c.PointsIn() != c.PointsOut() {
			t.Errorf("%d in, %d out", c.PointsIn(), c.PointsOut())
		}
	}
	feed(1, "m,s=a v=1 1", "m,s=b v=1 1", "m,s=c v=1 1", "m,s=d v=1 1", "m,s=a v=2 2", "bad")
	want(6, 0, 1, 4)
	feed(1, "m,s=b v=2 2", "m,s=b v=3 3", "m,s=e v=3 3")
	want(9, 1, 2, 5)
	for i := range 50 {
		feed(0, fmt.Sprintf("m,s=%d v=1 1", i))
	}
	want(59, 1, 2, 55)
	w.now += second / 10
	feed(1, "m,s=a v=4 4", "m,s=a v=5 5")
	want(61, 2, 2, 56)
	if n, ok := config.Limits.Series(1); n != 3 || !ok {
		t.Errorf("%d series are counted, %t", n, ok)
	}
	if _, ok := config.Limits.Series(0); ok {
		t.Error("series of a tenant without a limit are counted")
	}
}

// Goal: without limits there is nothing to ask.
func TestNoLimits(t *testing.T) {
	if NewLimits([]TenantLimit{{}, {Burst: 7}}, 1) != nil || newGates(nil) != nil {
		t.Error("tenants without limits have buckets")
	}
	if (*gates)(nil).ofPoints(3) != nil {
		t.Error("points have a gate to pass without limits")
	}
	g := newGates(NewLimits([]TenantLimit{{PacketsPerSecond: 5}, {Series: 1}}, 1))
	if g.ofPoints(0) != nil || g.ofPoints(1) == nil || g.ofPoints(2) != nil || g.sources != nil {
		t.Error("points pass gates that are not theirs")
	}
}

// Goal: kernel sockets keep to the limits of packets as the XDP program does.
func TestAdmitDatagram(t *testing.T) {
	g := newGates(NewLimits([]TenantLimit{
		{}, {PacketsPerSecond: 100, SourcePacketsPerSecond: 10, Burst: 4},
	}, 1))
	address := func(last byte) *[16]byte { return &[16]byte{10: 0xff, 0xff, 10, 0, 0, last} }
	f := func(tenant uint16, sender byte, now int64, times int, want FrameReject) {
		t.Helper()
		for i := range times {
			if got := g.admitDatagram(tenant, address(sender), now); got != want {
				t.Fatalf("datagram %d of sender %d: reject %d, want %d", i, sender, got, want)
			}
		}
	}
	f(1, 1, second, 4, FrameRejects)
	f(1, 1, second, 9, FrameSourceLimit)
	f(1, 2, second, 3, FrameTenantLimit)
	f(0, 1, second, 99, FrameRejects)
	f(7, 1, second, 9, FrameRejects) // no tenant has this number: nothing is known of it
	f(1, 3, second+10*millisecond, 1, FrameRejects)
	f(1, 3, second+10*millisecond, 1, FrameTenantLimit)
	f(1, 1, second+99*millisecond, 1, FrameSourceLimit)
	f(1, 1, second+100*millisecond, 1, FrameRejects)
}

func TestLimitsAllocateNothing(t *testing.T) {
	config := workerConfig(t, "http://127.0.0.1:9", true)
	config.Limits = NewLimits([]TenantLimit{
		{PacketsPerSecond: 3, SourcePacketsPerSecond: 1, PointsPerSecond: 7, Series: 2},
	}, 1)
	w := openWith(t, config)
	packet, metadata := frame("m,s=a v=1 1\nm,s=b v=1 1\nm,s=c v=1 1\n", second)
	source := [16]byte{1}
	if n := testing.AllocsPerRun(100, func() {
		stampAgain(metadata)
		var payload Payload
		openFrame(&payload, packet, metadata, ChecksumVerify, &w.counters)
		w.now++
		w.eat(&payload, false)
		w.gates.admitDatagram(0, &source, w.now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if w.counters.PointsDropped[DropPointsLimit] == 0 || w.counters.PointsDropped[DropSeriesLimit] == 0 {
		t.Error("nothing was limited: the test proves nothing")
	}
}

// stampAgain makes metadata fresh that was read once.
func stampAgain(metadata []byte) { copy(metadata, "CVT1") }
