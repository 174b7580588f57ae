package dataplane

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"culvert/dataplane/influx"
	"culvert/dataplane/shard"
	"culvert/dataplane/spool"
)

// partingRig is a worker that keeps the order of two databases' series, with a spooler for each of them.
type partingRig struct {
	*Worker
	t         *testing.T
	databases []*database
	spoolers  []*Spooler
	table     atomic.Pointer[shard.Table]
	rounds    int
}

// partingSeries is how many series there are.
const partingSeries = 20

func newPartingRig(t *testing.T, sockets, always bool) *partingRig {
	t.Helper()
	r := &partingRig{t: t, databases: []*database{newDatabase(t), newDatabase(t)}}
	config := workerConfig(t, r.databases[0].server.URL, sockets)
	config.Sinks[0] = severalURLs(t, config.Sinks[0], RoutingHash, r.databases...)
	sink := &config.Sinks[0]
	sink.Table, sink.Always = &r.table, always
	config.TenantSinks = make([]uint8, 2)
	r.deal(shard.WeightMax)
	for i := range sink.Writers {
		writer := &sink.Writers[i]
		writer.Ordered, writer.Connections = true, 1
		writer.Retry = influx.Retry{Attempts: 2, First: time.Millisecond, Max: 10 * time.Millisecond}
		sink.Spools = append(sink.Spools, NewSpoolPort(config.Exchange, 0, sink.Batches))
		r.spoolers = append(r.spoolers, orderedSpooler(t, *writer, sink.Spools[i], sink.BatchBytes))
	}
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	r.Worker = w
	return r
}

func orderedSpooler(t *testing.T, writer influx.Config, port *SpoolPort, batch int) *Spooler {
	t.Helper()
	folder := t.TempDir()
	writer.Ordered = false
	s, err := StartSpooler(SpoolerConfig{
		Open: func() (*spool.Log, spool.Recovery, error) {
			files, err := spool.OpenDirectory(folder)
			if err != nil {
				return nil, spool.Recovery{}, err
			}
			return spool.Open(spool.Config{Files: files, SegmentBytes: 1 << 20, MaxBytes: 64 << 20,
				Tenants: []string{"a", "b"}})
		},
		Writer: writer, BatchBytes: batch, Sync: time.Millisecond, MemoryBytes: 1 << 20,
		MemoryTTL: time.Minute, Ports: []*SpoolPort{port}, Ordered: true, Tenants: []string{"a", "b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// deal makes the table with this weight of the first database.
func (r *partingRig) deal(weight int) {
	r.t.Helper()
	table, err := shard.NewTable([]shard.Member{
		{Name: "a", Weight: weight}, {Name: "b", Weight: shard.WeightMax},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.table.Store(table)
}

// send writes each series of both tenants anew, so many times, always at the same timestamp.
func (r *partingRig) send(rounds int) {
	r.t.Helper()
	for range rounds {
		r.rounds++
		for tenant := range uint16(2) {
			text := ""
			for n := range partingSeries {
				text += fmt.Sprintf("m,tenant=%d,n=%d v=%d 1\n", tenant, n, r.rounds)
			}
			feed(r.t, r.Worker, tenant, text)
		}
	}
}

// leave lets the first database leave as a reload does.
func (r *partingRig) leave() {
	r.t.Helper()
	if err := r.PartURL(0); err != nil {
		r.t.Fatal(err)
	}
	r.deal(0)
	if err := r.Reroute(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.LeaveURL(0); err != nil {
		r.t.Fatal(err)
	}
	r.spoolers[0].Turn(SpoolGive, Heirs{Spoolers: r.spoolers, Table: &r.table})
}

// parted sends on until the series have changed hands.
func (r *partingRig) parted() {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		r.send(1)
		parts, err := r.Parting(0)
		if err != nil {
			r.t.Fatal(err)
		}
		if !parts {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("never parted: %+v, %+v", r.spoolers[0].State(), r.spoolers[1].State())
		}
	}
}

// check looks at the values of each series at each database: none comes behind a newer one, the last of all
// is at the second, and all came to one or the other.
func (r *partingRig) check() {
	r.t.Helper()
	var last [2]map[string]int
	seen := map[string]bool{}
	for i, d := range r.databases {
		last[i] = map[string]int{}
		d.mutex.Lock()
		for _, line := range d.lines {
			var tenant, n, value int
			if line == "" {
				continue
			}
			if _, err := fmt.Sscanf(line, "m,tenant=%d,n=%d v=%d 1\n", &tenant, &n, &value); err != nil {
				r.t.Fatalf("%q: %v", line, err)
			}
			series := fmt.Sprint(tenant, n)
			if value < last[i][series] {
				r.t.Fatalf("database %d has %d of series %s behind %d", i, value, series, last[i][series])
			}
			last[i][series] = value
			seen[line] = true
		}
		d.mutex.Unlock()
	}
	for tenant := range 2 {
		for n := range partingSeries {
			if value := last[1][fmt.Sprint(tenant, n)]; value != r.rounds {
				r.t.Errorf("the last value of series %d of tenant %d is %d, want %d", n, tenant, value,
					r.rounds)
			}
		}
	}
	if len(seen) != 2*partingSeries*r.rounds {
		r.t.Fatalf("%d values of %d came", len(seen), 2*partingSeries*r.rounds)
	}
}

// settled waits until nothing waits, and checks the ledgers of lanes, tenants and spools.
func (r *partingRig) settled() {
	r.t.Helper()
	untilTrue(r.t, "nothing waits", func() bool {
		one, two := r.spoolers[0].State(), r.spoolers[1].State()
		c := r.Counters()
		return c.PointsInFlight == 0 && one.Pending() == 0 && two.Pending() == 0 &&
			one.Taken+two.Taken == c.PointsSpooled && one.Moved == two.Adopted
	})
	lanesBalance(r.t, r.Worker, 2)
	for i, l := range r.TenantLedgers() {
		if l.Residue() != 0 {
			r.t.Errorf("tenant %d: %+v", i, l)
		}
	}
}

// Goal: with an order kept, no write passes an older one of its series when a URL leaves and what waits for
// it goes to another, also while points go on coming, and afterwards points are written without the way over
// the disk. Method: series that are written anew at one timestamp, to two databases of which one is away, and
// the other, too, for a while; every value must arrive, at each database in order.
func TestSeriesPartInOrder(t *testing.T) {
	for _, always := range []bool{false, true} {
		t.Run(fmt.Sprintf("always %t", always), func(t *testing.T) {
			overRingAndSockets(t, func(t *testing.T, sockets bool) {
				r := newPartingRig(t, sockets, always)
				r.send(5)
				r.databases[0].sick.Store(true)
				r.send(20)
				untilTrue(t, "points wait for the first", func() bool {
					s := r.spoolers[0].State()
					return s.Pending() > 0
				})
				r.databases[1].sick.Store(true)
				r.send(5)
				r.leave()
				r.send(10)
				r.databases[1].sick.Store(false)
				r.parted()
				gone := len(r.databases[0].stored())
				r.databases[0].sick.Store(false)
				r.send(10)
				r.settled()
				r.check()
				if n := len(r.databases[0].stored()); n != gone {
					t.Errorf("the database that left got %d values", n-gone)
				}
				if s := r.spoolers[0].State(); s.Moved == 0 {
					t.Errorf("%+v", s)
				}
				untilTrue(t, "the way over the disk has an end", func() bool {
					before := r.spoolers[1].State().Taken
					r.send(1)
					r.settled()
					return r.spoolers[1].State().Taken == before
				})
				r.check()
			})
		})
	}
}
