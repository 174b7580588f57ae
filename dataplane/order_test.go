package dataplane

import (
	"fmt"
	"testing"
	"time"

	"culvert/dataplane/influx"
	"culvert/dataplane/spool"
)

// Goal: with an order kept, what a database has last of a series and a timestamp is what was sent last,
// through outages, and afterwards points are written without the way over the disk again. Method: one series
// and one timestamp, a value that counts, a database that falls sick and heals; every value must arrive, in
// order.
func TestOrderOutlivesOutages(t *testing.T) {
	overRingAndSockets(t, func(t *testing.T, sockets bool) {
		d := newDatabase(t)
		config := workerConfig(t, d.server.URL, sockets)
		sink := &config.Sinks[0]
		writer := &sink.Writers[0]
		writer.Ordered, writer.Connections = true, 1
		writer.Retry = influx.Retry{Attempts: 2, First: time.Millisecond, Max: 10 * time.Millisecond}
		port := NewSpoolPort(config.Exchange, 0, sink.Batches)
		sink.Spools = []*SpoolPort{port}
		folder, replayed := t.TempDir(), *writer
		replayed.Ordered = false
		spooler, err := StartSpooler(SpoolerConfig{
			Open: func() (*spool.Log, spool.Recovery, error) {
				files, err := spool.OpenDirectory(folder)
				if err != nil {
					return nil, spool.Recovery{}, err
				}
				return spool.Open(spool.Config{
					Files: files, SegmentBytes: 1 << 20, MaxBytes: 16 << 20, Codec: spool.CodecNone,
				})
			},
			Writer: replayed, BatchBytes: sink.BatchBytes, Sync: time.Millisecond, MemoryBytes: 1 << 20,
			MemoryTTL: time.Minute, Ports: sink.Spools, Ordered: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { spooler.Close() })
		w, err := Start(config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		sent := 0
		stored := func() (lines []string) {
			d.mutex.Lock()
			defer d.mutex.Unlock()
			for _, line := range d.lines {
				if line != "" {
					lines = append(lines, line)
				}
			}
			return lines
		}
		wait := func(what string, condition func() bool) {
			t.Helper()
			for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("never: %s; %d of %d are stored, spooler %+v", what, len(stored()), sent,
						spooler.State())
				}
			}
		}
		send := func(n int) {
			for range n {
				feed(t, w, 0, fmt.Sprintf("m v=%d 1\n", sent))
				sent++
			}
		}
		for range 2 {
			send(20)
			d.sick.Store(true)
			send(20)
			wait("the spool has some", func() bool {
				s := spooler.State()
				return s.Pending() > 0
			})
			send(5)
			d.sick.Store(false)
			send(20)
			wait("all are stored", func() bool { return len(stored()) >= sent })
		}
		taken := spooler.State().Taken
		wait("the way over the disk has an end", func() bool {
			before := spooler.State().Taken
			send(1)
			wait("it is stored", func() bool { return len(stored()) >= sent })
			return spooler.State().Taken == before
		})
		if taken == 0 || taken == uint64(sent) {
			t.Errorf("%d of %d points went over the disk", taken, sent)
		}
		last := -1
		for _, line := range stored() {
			var n int
			if _, err := fmt.Sscanf(line, "m v=%d 1\n", &n); err != nil || n != last && n != last+1 {
				t.Fatalf("after %d comes %q", last, line)
			}
			last = n
		}
		if last != sent-1 {
			t.Fatalf("the last value is %d, want %d", last, sent-1)
		}
	})
}
