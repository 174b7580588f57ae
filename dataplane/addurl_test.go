package dataplane

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"culvert/dataplane/shard"
	"culvert/dataplane/spool"
)

// Goal: a URL that comes while the worker runs gets its share of the series and nothing else moves, for each
// tenant; each point comes once and every ledger is exact. Method: a worker with one server and two tenants,
// then with another; the table names it only afterwards.
func TestURLComesToAWorker(t *testing.T) {
	overRingAndSockets(t, func(t *testing.T, sockets bool) {
		databases := []*database{newDatabase(t), newDatabase(t)}
		config := workerConfig(t, databases[0].server.URL, sockets)
		config.Sinks[0] = severalURLs(t, config.Sinks[0], RoutingHash, databases[0])
		config.TenantSinks = make([]uint8, 2)
		w, err := Start(config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		const n = 2000
		send := func() {
			all := series(n, 10)
			feed(t, w, 0, all[:len(all)/2]...)
			feed(t, w, 1, all[len(all)/2:]...)
		}
		send()
		lanesBalance(t, w, 1)

		u, err := url.Parse(databases[1].server.URL)
		if err != nil {
			t.Fatal(err)
		}
		writer := config.Sinks[0].Writers[0]
		writer.Host, writer.Address = u.Host, netip.MustParseAddrPort(u.Host)
		if err := w.AddURL(0, writer, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.Do(func() error { return registered(w, w.urls[1]) }); err != nil {
			t.Fatal(err)
		}
		send()
		if c := lanesBalance(t, w, 2)[1]; c.Stored != 0 {
			t.Fatalf("the table does not name it, and it has %+v", c)
		}
		members := []shard.Member{{Name: "db-0", Weight: 100}, {Name: "db-1", Weight: 100}}
		table, err := shard.NewTable(members)
		if err != nil {
			t.Fatal(err)
		}
		config.Sinks[0].Table.Store(table)
		if err := w.Reroute(); err != nil {
			t.Fatal(err)
		}
		send()
		counters := lanesBalance(t, w, 2)
		if c := counters[1]; c.Written != c.Stored || math.Abs(float64(c.Stored)-n/2) > n/10 ||
			len(databases[1].stored()) != int(c.Stored) {
			t.Fatalf("of %d series the new server has %+v", n, c)
		}
		if c := counters[0]; c.Stored+counters[1].Stored != 3*n {
			t.Fatalf("%+v, %+v", c, counters[1])
		}
		for i, l := range w.TenantLedgers() {
			if l.Residue() != 0 || l.Lanes.Written != 3*n/2 {
				t.Errorf("tenant %d: %+v", i, l)
			}
		}
		for line, times := range databases[1].stored() {
			if times != 1 {
				t.Fatalf("%q came %d times", line, times)
			}
		}
	})
}

// registered tells whether the ring, if there is one that sends in place, knows a lane's batches.
func registered(w *Worker, o *lane) error {
	b := o.pool.Take()
	defer o.pool.Release(b)
	if w.ring != nil && w.ring.ZeroCopy() && !w.ring.Registered(b.Body()[:1]) {
		return errors.New("the batches of a URL that came are not registered with the ring")
	}
	return nil
}

// Goal: a URL beyond the bound is refused with the figure, and the worker goes on as before.
func TestURLsAreBounded(t *testing.T) {
	d := newDatabase(t)
	config := workerConfig(t, d.server.URL, true)
	config.Sinks[0] = severalURLs(t, config.Sinks[0], RoutingHash, d)
	config.Sinks[0].Batches, config.Sinks[0].BatchBytes = 2, 1<<16
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	for n := 1; n < LanesMax; n++ {
		if err := w.AddURL(0, config.Sinks[0].Writers[0], nil); err != nil {
			t.Fatalf("URL %d: %v", n+1, err)
		}
	}
	if err := w.AddURL(0, config.Sinks[0].Writers[0], nil); err == nil {
		t.Fatalf("%d URLs are taken", LanesMax+1)
	}
	feed(t, w, 0, "m v=1 1\n")
	if c := lanesBalance(t, w, LanesMax)[0]; c.Written != 1 {
		t.Fatalf("%+v", c)
	}
}

// Goal: what a worker has for a URL that leaves goes to its spool, without a request more; a URL that comes
// back is written to. Method: a server that would take everything.
func TestURLLeavesAWorker(t *testing.T) {
	overRingAndSockets(t, func(t *testing.T, sockets bool) {
		d := newDatabase(t)
		config := workerConfig(t, d.server.URL, sockets)
		config.Sinks[0] = severalURLs(t, config.Sinks[0], RoutingHash, d)
		sink := &config.Sinks[0]
		sink.Linger, sink.Age = math.MaxInt64/4, math.MaxInt64/4
		port := NewSpoolPort(config.Exchange, 0, sink.Batches)
		sink.Spools = []*SpoolPort{port}
		spooler := keepingSpooler(t, config, port)
		w, err := Start(config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		spooler.Turn(SpoolKeep, Heirs{})
		feed(t, w, 0, "m v=1 1\nm v=2 2\n")
		if err := w.LeaveURL(0); err != nil {
			t.Fatal(err)
		}
		feed(t, w, 0, "m v=3 3\n")
		if err := w.LeaveURL(0); err != nil { // seals what came late
			t.Fatal(err)
		}
		untilTrue(t, "all is in the spool", func() bool {
			s := spooler.State()
			return s.Taken == 3 && s.Disk.Waiting == 3
		})
		untilTrue(t, "the connections are closed", func() bool {
			states, err := w.SinkStates()
			return err == nil && states[0].Stats.Connections == 0
		})
		if n := len(d.stored()); n != 0 {
			t.Fatalf("%d lines were sent", n)
		}
		if err := w.ReturnURL(0); err != nil {
			t.Fatal(err)
		}
		spooler.Turn(SpoolDeliver, Heirs{})
		untilTrue(t, "what waited is delivered", func() bool { return len(d.stored()) == 3 })
		err = w.Do(func() error {
			w.urls[0].linger, w.urls[0].age = 0, 0
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		feed(t, w, 0, "m v=4 4\n")
		untilTrue(t, "what comes is sent", func() bool { return len(d.stored()) == 4 })
		if c := lanesBalance(t, w, 1)[0]; c.Spooled != 3 || c.Written != 1 {
			t.Fatalf("%+v", c)
		}
	})
}

// keepingSpooler is the spooler of the first URL of a configuration.
func keepingSpooler(t *testing.T, config Config, port *SpoolPort) *Spooler {
	t.Helper()
	folder, sink := t.TempDir(), &config.Sinks[0]
	spooler, err := StartSpooler(SpoolerConfig{
		Open: func() (*spool.Log, spool.Recovery, error) {
			files, err := spool.OpenDirectory(folder)
			if err != nil {
				return nil, spool.Recovery{}, err
			}
			return spool.Open(spool.Config{Files: files, SegmentBytes: 8 << 20, MaxBytes: 64 << 20,
				Codec: spool.CodecSnappy})
		},
		Writer: sink.Writers[0], BatchBytes: sink.BatchBytes, Sync: time.Millisecond,
		MemoryBytes: 1 << 20, MemoryTTL: time.Minute, Ports: []*SpoolPort{port},
	})
	if err != nil {
		t.Fatal(fmt.Errorf("start a spooler: %w", err))
	}
	t.Cleanup(func() { spooler.Close() })
	return spooler
}
