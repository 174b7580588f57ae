package dataplane

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// A record that is longer than a request is delivered in parts, in order, through failures and refusals,
// from the disk and from memory, and each point counts once.
func TestSpoolerCutsRecords(t *testing.T) {
	for _, disk := range []bool{true, false} {
		r := newSpoolRig(t, func(r *spoolRig) {
			r.config.BatchBytes, r.config.Ordered = 80, true // some three lines
			if !disk {
				r.folder = "/proc/no-such-folder"
			}
		})
		requests := 0
		r.d.answer(func(body string) int {
			switch requests++; {
			case len(body) > 80:
				t.Errorf("a request of %d bytes", len(body))
			case requests%7 == 0:
				return http.StatusServiceUnavailable
			case strings.Contains(body, "v=44 "):
				return http.StatusBadRequest
			}
			return 0
		})
		r.send(10, "a")
		r.until("all is settled", func() bool {
			s := r.spooler.State()
			return s.Taken == 100 && s.Pending() == 0
		})
		if s := r.balance(); s.Replayed != 99 || s.Rejected[SinkRefused] != 1 || r.d.count() != 99 {
			t.Fatalf("%d lines, %+v", r.d.count(), s)
		}
		number := func(line string) string { return strings.Fields(line)[2] }
		if !slices.IsSortedFunc(r.d.order, func(a, b string) int {
			return len(number(a))*10 - len(number(b))*10 + strings.Compare(number(a), number(b))
		}) {
			t.Fatalf("out of order: %q", r.d.order)
		}
	}
}

// What has grown too old while it waited is dropped and told, to the point; what has not is delivered.
func TestSpoolerKeepsTTL(t *testing.T) {
	for _, size := range []int{rigBatch, 80} {
		r := newSpoolRig(t, func(r *spoolRig) {
			r.config.TTL, r.config.BatchBytes = time.Hour, size
			r.config.Tenants = []string{"a"}
			now := time.Now()
			r.stamp = func(n int) int64 {
				if n%10 < 3 || n > 100 {
					return now.Add(-2 * time.Hour).UnixNano() // also all of some batches
				}
				return now.UnixNano() + int64(n)
			}
		})
		r.send(20, "a")
		r.until("all is settled", func() bool {
			s := r.spooler.State()
			return s.Taken == 200 && s.Pending() == 0
		})
		if s := r.balance(); s.Replayed != 70 || s.Dropped[DropTTL] != 130 || r.d.count() != 70 ||
			s.Shares[0].Dropped[DropTTL] != 130 {
			t.Fatalf("%d lines, %+v", r.d.count(), s)
		}
		r.until("the disk is given back", func() bool { return r.spooler.State().Disk.Segments == 0 })
	}
}

// Tenants share requests, and each one's account is exact: over refusals, a restart after which one of them
// is not known any more, and where the spool is full.
func TestSpoolerSharesByTenant(t *testing.T) {
	r := newSpoolRig(t, func(r *spoolRig) { r.config.Tenants = []string{"a", "b", "c"} })
	down := func(string) int { return http.StatusServiceUnavailable }
	refuse := func(body string) int {
		if strings.Contains(body, "55 ") { // one line of each, in a request that has lines of all
			return http.StatusBadRequest
		}
		return 0
	}
	names := []string{"a", "b", "c"}
	some := func(batches int) {
		for i := range batches {
			r.tenant = uint16(i % 3)
			r.send(1, names[r.tenant])
		}
	}
	settled := func() bool {
		s := r.spooler.State()
		return s.Pending() == 0
	}
	r.d.answer(down)
	some(30)
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 300 })
	r.d.answer(refuse)
	r.until("all is settled", settled)
	for i, share := range r.balance().Shares[:3] {
		if share.Taken != 100 || share.Replayed != 99 || share.Rejected[SinkRefused] != 1 {
			t.Errorf("tenant %s: %+v", names[i], share)
		}
	}
	r.d.answer(down)
	some(33)
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 630 })
	if err := r.spooler.Close(); err != nil {
		t.Fatal(err)
	}
	r.config.Tenants = names[:2]
	r.d.answer(nil)
	r.start()
	r.until("all is settled", settled)
	for i, share := range r.balance().Shares {
		if share != (SpoolShare{Restored: 110, Replayed: 110}) {
			t.Errorf("tenant %s after the restart: %+v", names[i], share)
		}
	}
}

// What gives way, or finds no room in memory, is its tenant's loss alone.
func TestSpoolerLosesByTenant(t *testing.T) {
	r := newSpoolRig(t, func(r *spoolRig) {
		r.config.Tenants = []string{"a", "b"}
		r.folder, r.config.MemoryBytes = "/proc/no-such-folder", 1000
		r.d.answer(func(string) int { return http.StatusServiceUnavailable })
	})
	r.send(1, "a")
	r.tenant = 1
	r.send(9, "b")
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 100 })
	s := r.balance()
	if a, b := &s.Shares[0], &s.Shares[1]; s.Dropped[DropSpoolFull] == 0 || a.Pending() != 10 ||
		b.Dropped[DropSpoolFull] != s.Dropped[DropSpoolFull] || a.Pending()+b.Pending() != s.Pending() {
		t.Fatalf("%+v", s)
	}
	if _, err := os.Stat(r.folder); err == nil {
		t.Fatal("the folder that cannot be is there")
	}
}
