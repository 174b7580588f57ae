package dataplane

import (
	"fmt"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"culvert/dataplane/influx"
)

// chosenRig is a worker whose sink's URLs come, leave and change places.
type chosenRig struct {
	*Worker
	t         *testing.T
	databases []*database
	writer    influx.Config
	order     atomic.Pointer[[]int]
	sent      int
}

// newChosenRig starts a worker with two tenants and so many databases, in their order.
func newChosenRig(t *testing.T, routing Routing, sockets bool, databases int) *chosenRig {
	t.Helper()
	r := &chosenRig{t: t}
	for range databases {
		r.databases = append(r.databases, newDatabase(t))
	}
	config := workerConfig(t, r.databases[0].server.URL, sockets)
	r.writer = config.Sinks[0].Writers[0]
	r.writer.Retry = influx.Retry{Attempts: 1000, First: time.Millisecond, Max: 5 * time.Millisecond}
	config.Sinks[0].Writers[0] = r.writer
	config.Sinks[0] = severalURLs(t, config.Sinks[0], routing, r.databases...)
	order := make([]int, databases)
	for i := range order {
		order[i] = i
	}
	r.order.Store(&order)
	config.Sinks[0].Order, config.TenantSinks = &r.order, make([]uint8, 2)
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	r.Worker = w
	return r
}

// add gives the worker a database that it did not have.
func (r *chosenRig) add() {
	r.t.Helper()
	d, writer := newDatabase(r.t), r.writer
	u, err := url.Parse(d.server.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	writer.Host, writer.Address = u.Host, netip.MustParseAddrPort(u.Host)
	if err := r.AddURL(0, writer, nil); err != nil {
		r.t.Fatal(err)
	}
	r.databases = append(r.databases, d)
}

// place lets points go to these databases.
func (r *chosenRig) place(order ...int) {
	r.t.Helper()
	r.order.Store(&order)
	if err := r.Reroute(); err != nil {
		r.t.Fatal(err)
	}
}

// send sends ten points of each tenant, all different, waits for their end and checks every ledger and how
// many points each database has by then, none of them twice.
func (r *chosenRig) send(want ...int) {
	r.t.Helper()
	for range 10 {
		for tenant := range uint16(2) {
			r.sent++
			feed(r.t, r.Worker, tenant, fmt.Sprintf("m,tenant=%d v=1 %d\n", tenant, r.sent))
		}
	}
	written := uint64(0)
	for i, c := range lanesBalance(r.t, r.Worker, len(r.databases)) {
		stored := r.databases[i].stored()
		for line, times := range stored {
			if times != 1 {
				r.t.Fatalf("database %d has %q %d times", i, line, times)
			}
		}
		if len(stored) != want[i] || c.Written != uint64(want[i]) || total(c.Dropped[:]) != 0 {
			r.t.Fatalf("database %d has %d points, want %d: %+v", i, len(stored), want[i], c)
		}
		written += c.Written
	}
	for i, l := range r.TenantLedgers() {
		if l.Residue() != 0 || l.Lanes.Written != written/2 {
			r.t.Fatalf("tenant %d: %+v", i, l)
		}
	}
}

// Goal: with replicate a URL that comes gets nothing until the order names it, and everything from then on;
// one that leaves gets nothing more, whichever place it had. The ledgers know of each copy.
func TestReplicateGoesByTheOrder(t *testing.T) {
	overRingAndSockets(t, func(t *testing.T, sockets bool) {
		r := newChosenRig(t, RoutingReplicate, sockets, 2)
		r.send(20, 20)
		r.add()
		r.send(40, 40, 0)
		r.place(2, 0, 1)
		r.send(60, 60, 20)
		r.place(2, 1)
		r.send(60, 80, 40)
		if err := r.LeaveURL(0); err != nil {
			t.Fatal(err)
		}
		r.send(60, 100, 60)
		r.place(1)
		r.send(60, 120, 60)
		if err := r.ReturnURL(0); err != nil {
			t.Fatal(err)
		}
		r.place(0, 1, 2)
		r.send(80, 140, 80)
		if c := r.Counters(); c.PointsCopied != uint64(20*(1+1+2+1+1+0+2)) {
			t.Fatalf("%+v", c)
		}
	})
}

// Goal: with failover points go to the first that the order names. One that was alone passes on what it does
// not take once another has come; one that is alone again keeps it, and tries. Without a spool, so that what
// nobody keeps would be dropped.
func TestFailoverGoesByTheOrder(t *testing.T) {
	overRingAndSockets(t, func(t *testing.T, sockets bool) {
		r := newChosenRig(t, RoutingFailover, sockets, 1)
		r.send(20)
		r.add()
		r.send(40, 0)
		r.place(0, 1)
		r.databases[0].sick.Store(true)
		r.send(40, 20)
		if c := r.LaneCounters(0); c.Moved == 0 {
			t.Fatalf("%+v", c)
		}
		r.databases[0].sick.Store(false)
		r.place(1, 0)
		r.send(40, 40)
		r.place(1)
		if err := r.LeaveURL(0); err != nil {
			t.Fatal(err)
		}
		r.send(40, 60)
		r.databases[1].sick.Store(true)
		feed(t, r.Worker, 0, "m,tenant=0 v=1 1000\n")
		feed(t, r.Worker, 1, "m,tenant=1 v=1 1000\n")
		untilTrue(t, "the server that is away is known to be", func() bool {
			states, err := r.SinkStates()
			return err == nil && states[1].Stats.Breaker != influx.BreakerClosed
		})
		r.databases[1].sick.Store(false)
		r.send(40, 82)
	})
}
