package gateway

import (
	"fmt"
	"strings"
	"testing"

	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// leavingRig is a gateway with three servers, and how much was sent to it.
type leavingRig struct {
	*urlsRig
	servers []*lineServer
	urls    []string
	sent    int
}

func newLeavingRig(t *testing.T, more, spool string) *leavingRig {
	t.Helper()
	r := &leavingRig{}
	for range 3 {
		s := newLineServer(t, "t")
		r.servers, r.urls = append(r.servers, s), append(r.urls, s.URL)
	}
	r.urlsRig = idleURLsRig(t, more)
	r.spool = spool
	r.start(r.urls...)
	return r
}

// send sends a point of each of 300 series.
func (r *leavingRig) send() {
	r.t.Helper()
	const series = 300
	for n := range series {
		sendTo(r.t, r.port, fmt.Sprintf("m,host=h%d v=1 %d", n, 1+r.sent/series))
		r.sent++
	}
}

// came waits until all that was sent is settled, with so many points or more in spools.
func (r *leavingRig) came(waiting uint64) *telemetry.Status {
	r.t.Helper()
	var s *telemetry.Status
	until(r.t, "all is settled", func() bool {
		s = r.status()
		l := s.Ledger
		return l.Received == uint64(r.sent) && l.InFlight == 0 && (l.SpoolPending > 0) == (waiting > 0) &&
			l.SpoolPending >= waiting
	})
	if s.Ledger.Residue != 0 || len(s.Ledger.Dropped) > 0 {
		r.t.Fatalf("%+v", s.Ledger)
	}
	for i := range s.Sinks {
		if s.Sinks[i].Points.Residue != 0 {
			r.t.Fatalf("%+v", s.Sinks[i])
		}
	}
	return s
}

// lines are how many lines each server has; none came twice, whoever has it.
func (r *leavingRig) lines() (counts []int) {
	r.t.Helper()
	seen := map[string]int{}
	for i, s := range r.servers {
		lines, twice, _ := s.has()
		if twice > 0 {
			r.t.Fatalf("%d lines came twice to server %d", twice, i)
		}
		for line := range lines {
			if seen[line]++; seen[line] > 1 {
				r.t.Fatalf("%q came to two servers", line)
			}
		}
		counts = append(counts, len(lines))
	}
	return counts
}

// Goal: with rehash what waits for a URL that a reload takes out goes to the others, each point once, with an
// exact ledger; when the URL is back its series are, too. Method: a server that refuses its token.
func TestReloadRehashes(t *testing.T) {
	for _, row := range []struct{ mode, order string }{
		{"on_failure", "none"}, {"always", "none"}, {"on_failure", "series"}, {"always", "series"},
	} {
		t.Run(row.mode+" "+row.order, func(t *testing.T) {
			r := newLeavingRig(t, "on_remove: rehash, order: "+row.order, ", mode: "+row.mode)
			r.send()
			r.came(0)
			first := r.lines()
			r.servers[1].setToken("other")
			r.send()
			r.send()
			r.came(uint64(first[1]))
			r.reload("[] [1] [0 2] [] []", r.urls, r.urls[0], r.urls[2])
			r.send()
			s := r.came(0)
			counts := r.lines()
			gone := &s.Sinks[1]
			if counts[0]+counts[1]+counts[2] != r.sent || counts[1] != first[1] ||
				s.Ledger.Written != uint64(r.sent) {
				t.Fatalf("%d sent, the servers have %v: %+v", r.sent, counts, s.Ledger)
			}
			adopted := s.Sinks[0].Spool.Adopted + s.Sinks[2].Spool.Adopted
			if gone.Spool.Moved == 0 || gone.Spool.Moved != adopted || gone.Up ||
				gone.LastError != leftWords {
				t.Fatalf("%d points were adopted: %+v", adopted, gone)
			}
			if !s.Ready {
				t.Errorf("the gateway is not ready: %v", s.Reasons)
			}
			r.servers[1].setToken("t")
			r.reload("[1] [] [0 2] [] []", r.urls, r.urls...)
			r.send()
			s = r.came(0)
			after := r.lines()
			if after[1] != 2*first[1] || s.Ledger.Written != uint64(r.sent) || !s.Sinks[1].Up {
				t.Fatalf("the servers have %v, the first time %v: %+v", after, first, s.Sinks[1])
			}
		})
	}
}

// Goal: with keep what waits for a URL that a reload takes out stays, although its server would take it, and
// is delivered to it once it is back. Method: as above.
func TestReloadKeeps(t *testing.T) {
	r := newLeavingRig(t, "on_remove: keep", "")
	r.send()
	r.came(0)
	first := r.lines()
	r.servers[1].setToken("other")
	r.send()
	r.came(uint64(first[1]))
	r.reload("[] [1] [0 2] [] []", r.urls, r.urls[0], r.urls[2])
	until(t, "no request is under way", func() bool {
		spoolers, _ := r.spoolers()
		state := spoolers[1].State()
		return state.Disk.OutRecords == 0
	})
	r.servers[1].setToken("t")
	r.send()
	s := r.came(uint64(first[1]))
	if counts := r.lines(); counts[1] != first[1] || s.Sinks[1].Points.SpoolPending != uint64(first[1]) {
		t.Fatalf("the servers have %v, the first time %v: %+v", counts, first, s.Sinks[1])
	}
	r.reload("[1] [] [0 2] [] []", r.urls, r.urls...)
	s = r.came(0)
	if counts := r.lines(); counts[1] != 2*first[1] || s.Ledger.Written != uint64(r.sent) {
		t.Fatalf("the servers have %v, the first time %v: %+v", counts, first, s.Ledger)
	}
}

// Goal: what a URL keeps waits over a restart too, and is delivered when a reload adds the URL to a gateway
// that never had it.
func TestReloadAddsWhatWasKept(t *testing.T) {
	r := newLeavingRig(t, "on_remove: keep", "")
	r.servers[1].setToken("other")
	r.send()
	waiting := r.came(1).Ledger.SpoolPending
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	r.start(r.urls[0], r.urls[2])
	r.servers[1].setToken("t")
	before := r.lines()
	r.reload("[2] [] [0 1] [] []", []string{r.urls[0], r.urls[2], r.urls[1]}, r.urls...)
	until(t, "what was kept is delivered", func() bool {
		l := r.status().Ledger
		return l.Restored == waiting && l.Written == waiting && l.SpoolPending == 0 && l.Residue == 0
	})
	if counts := r.lines(); counts[1] != before[1]+int(waiting) || counts[0] != before[0] {
		t.Fatalf("the servers have %v, before %v", counts, before)
	}
}

// Goal: URLs beyond the bound are refused with one line, and what is there goes on. Method: reloads that each
// put other URLs in the place of those before.
func TestReloadOfURLsIsBounded(t *testing.T) {
	r := idleURLsRig(t, "on_remove: keep, batch: {bytes: 64KiB}, connections: 1")
	r.spool = ", segment: 1MiB"
	r.start("http://127.0.0.1:1")
	port := 2
	for len(r.targets) < dataplane.LanesMax {
		var urls []string
		for len(urls) < 9 {
			urls = append(urls, fmt.Sprintf("http://127.0.0.1:%d", port))
			port++
		}
		r.write(urls...)
		if report, err := r.Reload(); err != nil || len(report.Warnings)+len(report.Restart) > 0 ||
			len(report.URLs.Added) != 9 {
			t.Fatalf("%v: %+v", err, report)
		}
	}
	before := r.sinks[0].table.Load()
	r.write("http://127.0.0.1:1", "http://127.0.0.1:9999")
	report, err := r.Reload()
	if err != nil || len(report.Warnings) != 1 ||
		!strings.Contains(report.Warnings[0], "more than 64 since the start") ||
		r.sinks[0].table.Load() != before {
		t.Fatalf("%v: %+v", err, report)
	}
}
