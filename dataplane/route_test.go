package dataplane

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"culvert/dataplane/influx"
	"culvert/dataplane/shard"
)

// database keeps the lines that it is sent while it is well.
type database struct {
	server *httptest.Server
	sick   atomic.Bool
	mutex  sync.Mutex
	lines  []string
}

func newDatabase(t *testing.T) *database {
	d := new(database)
	d.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if d.sick.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		d.mutex.Lock()
		d.lines = append(d.lines, strings.SplitAfter(string(body), "\n")...)
		d.mutex.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(d.server.Close)
	return d
}

// stored are the lines so far, without what stands behind the last line feed of a body.
func (d *database) stored() map[string]int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	lines := map[string]int{}
	for _, line := range d.lines {
		if line != "" {
			lines[line]++
		}
	}
	return lines
}

// routed starts a worker with one sink over databases.
func routed(t *testing.T, routing Routing, sockets bool, databases ...*database) *Worker {
	t.Helper()
	config := workerConfig(t, databases[0].server.URL, sockets)
	config.Sinks[0] = severalURLs(t, config.Sinks[0], routing, databases...)
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// severalURLs makes a sink of one URL one of several.
func severalURLs(t *testing.T, c SinkConfig, routing Routing, databases ...*database) SinkConfig {
	t.Helper()
	var members []shard.Member
	writer := c.Writers[0]
	c.Routing, c.Writers, c.Table = routing, nil, new(atomic.Pointer[shard.Table])
	for i, d := range databases {
		u, err := url.Parse(d.server.URL)
		if err != nil {
			t.Fatal(err)
		}
		one := writer
		one.Host, one.Address = u.Host, netip.MustParseAddrPort(u.Host)
		c.Writers = append(c.Writers, one)
		members = append(members, shard.Member{Name: fmt.Sprintf("db-%d", i), Weight: shard.WeightMax})
	}
	table, err := shard.NewTable(members)
	if err != nil {
		t.Fatal(err)
	}
	c.Table.Store(table)
	return c
}

// feed lets a worker eat payloads between two turns, and waits for the turn after, which shows them.
func feed(t *testing.T, w *Worker, tenant uint16, texts ...string) {
	t.Helper()
	err := w.Do(func() error {
		for _, text := range texts {
			w.eat(&Payload{Bytes: []byte(text), Arrival: w.clock.Now(), Tenant: tenant}, false)
		}
		return nil
	})
	if err == nil {
		err = w.Do(func() error { return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// lanesBalance waits until nothing is in flight and checks every balance there is.
func lanesBalance(t *testing.T, w *Worker, lanes int) []LaneCounters {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		c := w.Counters()
		if c.PointsInFlight == 0 && c.PointsIn() > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("points are still in flight: %+v", c)
		}
	}
	var all []LaneCounters
	var sum LaneCounters
	for i := range lanes {
		c := w.LaneCounters(i)
		if c.Stored != c.Out() {
			t.Errorf("lane %d: %d points stored, %d found: %+v", i, c.Stored, c.Out(), c)
		}
		sum.Add(&c)
		all = append(all, c)
	}
	c := w.Counters()
	if c.PointsIn() != c.PointsOut() || sum.Written != c.PointsWritten || sum.Dropped != c.PointsDropped ||
		sum.Rejected != c.PointsSinkRejected {
		t.Errorf("the worker's counters %+v are not the lanes' %+v", c, sum)
	}
	return all
}

// series are n points of as many series, one a line.
func series(n, packet int) []string {
	var texts []string
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "plant,line=l%d,sensor=s%d v=%d %d\n", i%7, i, i, 1_700_000_000_000_000_000+i)
		if (i+1)%packet == 0 || i == n-1 {
			texts = append(texts, text.String())
			text.Reset()
		}
	}
	return texts
}

func overRingAndSockets(t *testing.T, f func(t *testing.T, sockets bool)) {
	t.Run("ring", func(t *testing.T) { f(t, false) })
	t.Run("sockets", func(t *testing.T) { f(t, true) })
}

// Goal: every series has one server, which gets all of its points, once; each server gets its share.
func TestHashRouting(t *testing.T) {
	overRingAndSockets(t, func(t *testing.T, sockets bool) {
		databases := []*database{newDatabase(t), newDatabase(t), newDatabase(t)}
		w := routed(t, RoutingHash, sockets, databases...)
		const n = 3000
		feed(t, w, 0, series(n, 9)...)
		feed(t, w, 0, series(n, 5)...)
		counters := lanesBalance(t, w, 3)
		seen := map[string]int{}
		for i, d := range databases {
			stored := d.stored()
			for line, times := range stored {
				if times != 2 || seen[line] != 0 {
					t.Fatalf("server %d has %q %d times, others have it %d times", i, line, times, seen[line])
				}
				seen[line] += times
			}
			if len(stored) < n/4 || counters[i].Written != uint64(2*len(stored)) {
				t.Fatalf("server %d has %d series, counters %+v", i, len(stored), counters[i])
			}
		}
		if len(seen) != n {
			t.Fatalf("%d series are stored, want %d", len(seen), n)
		}
	})
}

// Goal: one server that is away costs the others nothing, and what was for it is counted as its own.
func TestHashRoutingWithOneServerAway(t *testing.T) {
	overRingAndSockets(t, func(t *testing.T, sockets bool) {
		databases := []*database{newDatabase(t), newDatabase(t)}
		config := workerConfig(t, databases[0].server.URL, sockets)
		config.Sinks[0] = severalURLs(t, config.Sinks[0], RoutingHash, databases...)
		for i := range config.Sinks[0].Writers {
			config.Sinks[0].Writers[i].Retry = influx.Retry{
				Attempts: 2, First: time.Millisecond, Max: 20 * time.Millisecond,
			}
		}
		databases[1].sick.Store(true)
		w, err := Start(config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		const n = 1000
		feed(t, w, 0, series(n, 10)...)
		counters := lanesBalance(t, w, 2)
		if c := counters[0]; c.Written != c.Stored || int(c.Written) != len(databases[0].stored()) {
			t.Errorf("the server that is well: %+v", c)
		}
		if c := counters[1]; c.Dropped[DropUndelivered] != c.Stored || c.Stored+counters[0].Stored != n {
			t.Errorf("the server that is sick: %+v", c)
		}
	})
}

func TestReplicate(t *testing.T) {
	overRingAndSockets(t, func(t *testing.T, sockets bool) {
		databases := []*database{newDatabase(t), newDatabase(t), newDatabase(t)}
		w := routed(t, RoutingReplicate, sockets, databases...)
		const n = 500
		feed(t, w, 0, series(n, 9)...)
		// Without a timestamp a point is written anew, with its escapes.
		feed(t, w, 0, "m,a=b\\ c v=1\nm v=2\nbad\n")
		for i, c := range lanesBalance(t, w, 3) {
			stored := databases[i].stored()
			if c.Written != n+2 || len(stored) != n+2 {
				t.Errorf("server %d has %d lines: %+v", i, len(stored), c)
			}
			for line := range databases[0].stored() {
				if stored[line] != 1 {
					t.Errorf("server %d has %q %d times", i, line, stored[line])
				}
			}
		}
		if c := w.Counters(); c.PointsCopied != 2*(n+2) || c.PointsReceived[0] != n+3 {
			t.Errorf("%+v", c)
		}
	})
}

// Goal: points go to the first server, to the second while the first is away, and to the first again soon
// after it has healed; none is lost or written twice on the way.
func TestFailover(t *testing.T) {
	overRingAndSockets(t, func(t *testing.T, sockets bool) {
		databases := []*database{newDatabase(t), newDatabase(t)}
		w := routed(t, RoutingFailover, sockets, databases...)
		sent := 0
		one := func() {
			feed(t, w, 0, fmt.Sprintf("m v=1 %d\n", sent))
			sent++
			lanesBalance(t, w, 2)
		}
		for range 10 {
			one()
		}
		if n := len(databases[0].stored()); n != 10 || len(databases[1].stored()) != 0 {
			t.Fatalf("%d of 10 points are on the first server", n)
		}
		databases[0].sick.Store(true)
		for range 20 {
			one()
		}
		if n := len(databases[1].stored()); n != 20 {
			t.Fatalf("%d of 20 points are on the second server", n)
		}
		databases[0].sick.Store(false)
		for end := time.Now().Add(20 * time.Second); len(databases[0].stored()) == 10; {
			one()
			if time.Now().After(end) {
				t.Fatal("the first server has healed and gets nothing")
			}
			time.Sleep(5 * time.Millisecond)
		}
		for range 10 {
			one()
		}
		first, second := databases[0].stored(), databases[1].stored()
		if len(first)+len(second) != sent || len(first) < 20 {
			t.Fatalf("%d and %d points are stored, %d were sent", len(first), len(second), sent)
		}
		c := lanesBalance(t, w, 2)
		if c[0].Moved == 0 || c[0].Dropped[DropUndelivered]+c[1].Dropped[DropUndelivered] != 0 {
			t.Fatalf("%+v", c)
		}
	})
}

// Goal: with both servers away nothing goes round in circles for ever, and every point is accounted for.
func TestFailoverWithoutAnyServer(t *testing.T) {
	databases := []*database{newDatabase(t), newDatabase(t)}
	databases[0].sick.Store(true)
	databases[1].sick.Store(true)
	w := routed(t, RoutingFailover, false, databases...)
	feed(t, w, 0, series(100, 10)...)
	c := lanesBalance(t, w, 2)
	if n := c[0].Dropped[DropUndelivered] + c[1].Dropped[DropUndelivered]; n != 100 {
		t.Fatalf("%d of 100 points are given up: %+v", n, c)
	}
}

// Goal: each tenant's points go to its own sink, and a tenant that is not known has the first.
func TestTenantsHaveTheirSinks(t *testing.T) {
	databases := []*database{newDatabase(t), newDatabase(t), newDatabase(t)}
	config := workerConfig(t, databases[0].server.URL, false)
	main := config.Sinks[0]
	config.Sinks = []SinkConfig{
		severalURLs(t, main, RoutingHash, databases[0]),
		severalURLs(t, main, RoutingReplicate, databases[1:]...),
	}
	config.TenantSinks = []uint8{0, 1}
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	feed(t, w, 0, "zero v=1 1\n")
	feed(t, w, 1, "one v=1 1\n")
	feed(t, w, 7, "seven v=1 1\n")
	lanesBalance(t, w, 3)
	f := func(d *database, want ...string) {
		t.Helper()
		stored := d.stored()
		for _, line := range want {
			if stored[line] != 1 {
				t.Errorf("%q is missing in %v", line, stored)
			}
		}
		if len(stored) != len(want) {
			t.Errorf("%v is stored, want %q", stored, want)
		}
	}
	f(databases[0], "zero v=1 1\n", "seven v=1 1\n")
	f(databases[1], "one v=1 1\n")
	f(databases[2], "one v=1 1\n")
}

// Goal: a sink of several servers allocates nothing for a point either.
func TestRoutingAllocatesNothing(t *testing.T) {
	databases := []*database{newDatabase(t), newDatabase(t)}
	for _, routing := range []Routing{RoutingHash, RoutingReplicate} {
		config := workerConfig(t, databases[0].server.URL, true)
		config.Sinks[0] = severalURLs(t, config.Sinks[0], routing, databases...)
		w := openWith(t, config)
		text := series(10, 10)[0] + "m,b=1,a=x\\ y v=1\n"
		payload := Payload{Bytes: []byte(text), Arrival: 1}
		if n := testing.AllocsPerRun(50, func() { w.eat(&payload, false) }); n != 0 {
			t.Errorf("routing %d: %v allocations", routing, n)
		}
	}
}

// Goal: a point that is older than its sink's ttl is dropped with that reason, for each server of the sink;
// younger ones and those without a timestamp are not.
func TestOldPointsAreDropped(t *testing.T) {
	databases := []*database{newDatabase(t), newDatabase(t)}
	config := workerConfig(t, databases[0].server.URL, true)
	config.Sinks[0] = severalURLs(t, config.Sinks[0], RoutingReplicate, databases...)
	config.Sinks[0].TTL = int64(time.Hour)
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	now := time.Now()
	feed(t, w, 0, fmt.Sprintf("old v=1 %d\nyoung v=1 %d\nnone v=1\nolder v=1 5\n",
		now.Add(-2*time.Hour).UnixNano(), now.Add(-time.Minute).UnixNano()))
	for i, c := range lanesBalance(t, w, 2) {
		if c.Dropped[DropTTL] != 2 || c.Written != 2 || len(databases[i].stored()) != 2 {
			t.Errorf("server %d: %+v, %v", i, c, databases[i].stored())
		}
	}
}
