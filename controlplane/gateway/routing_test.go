package gateway

import (
	"slices"
	"testing"
)

// newcomer makes a server that the gateway never had.
func (r *leavingRig) newcomer() {
	r.t.Helper()
	s := newLineServer(r.t, "t")
	r.servers, r.urls = append(r.servers, s), append(r.urls, s.URL)
}

// have checks how many lines each server has, none of them twice, and that no URL's ledger lacks a point.
func (r *leavingRig) have(want ...int) {
	r.t.Helper()
	var counts []int
	for i, s := range r.servers {
		lines, twice, _ := s.has()
		if twice > 0 {
			r.t.Fatalf("%d lines came twice to server %d: %v", twice, i, r.status().Sinks[i].Requests)
		}
		counts = append(counts, len(lines))
	}
	if !slices.Equal(counts, want) {
		r.t.Fatalf("the servers have %v, want %v", counts, want)
	}
}

// still waits until the spool of a URL that left has nothing under way.
func (r *leavingRig) still(url int) {
	r.t.Helper()
	until(r.t, "no request is under way", func() bool {
		spoolers, _ := r.spoolers()
		state := spoolers[url].State()
		return state.Disk.OutRecords == 0
	})
}

// Goal: with replicate a URL that a reload adds has everything from then on, with a ledger of its own; one
// that a reload takes out gets nothing more, and what waits for it is still its own: it drains, or stays till
// the URL is back, with rehash too, since the others have it. Method: a server that refuses for a while.
func TestReloadReplicates(t *testing.T) {
	for _, onRemove := range []string{"rehash", "keep", "drain"} {
		t.Run(onRemove, func(t *testing.T) {
			r := newLeavingRig(t, "routing: replicate, on_remove: "+onRemove, "")
			r.send()
			r.came(0)
			r.newcomer()
			r.reload("[3] [] [0 1 2] [] []", r.urls, r.urls...)
			r.send()
			r.came(0)
			r.have(600, 600, 600, 300)
			r.servers[1].setToken("other")
			r.send()
			r.came(300)
			r.reload("[] [1] [0 2 3] [] []", r.urls, r.urls[0], r.urls[2], r.urls[3])
			r.send()
			s := r.came(300)
			r.have(1200, 600, 1200, 900)
			if p := &s.Sinks[1].Points; p.SpoolPending != 300 || !s.Ready {
				t.Fatalf("%v: %+v", s.Reasons, p)
			}
			if onRemove == "drain" {
				r.servers[1].setToken("t")
				r.came(0)
				r.have(1200, 900, 1200, 900)
			} else {
				r.still(1)
				r.servers[1].setToken("t")
				r.send()
				r.came(300)
				r.have(1500, 600, 1500, 1200)
			}
			r.reload("[1] [] [0 2 3] [] []", r.urls, r.urls...)
			r.send()
			s = r.came(0)
			more := 1500
			if onRemove != "drain" {
				more = 1800
			}
			r.have(more, 1200, more, more-300)
			l := &s.Ledger
			if l.Written != uint64(3*more+900) || l.Copied != l.Written-uint64(r.sent) {
				t.Fatalf("%+v", l)
			}
			for i := range s.Sinks {
				if p := &s.Sinks[i].Points; p.Moved+p.Adopted > 0 || p.Written != p.Stored {
					t.Errorf("%+v", s.Sinks[i])
				}
			}
		})
	}
}

// Goal: with failover a reload may add URLs, at any place, change their order, and take them out; points go
// to the first in the order that takes them, and what waits for one that left goes to the first, or stays for
// its return. Each point comes once and no ledger lacks one. Method: as above.
func TestReloadFailsOver(t *testing.T) {
	r := newLeavingRig(t, "routing: failover", "")
	r.send()
	r.came(0)
	r.have(300, 0, 0)
	r.newcomer()
	u := r.urls
	r.reload("[3] [] [0 1 2] [] []", u, u[3], u[0], u[1], u[2])
	r.send()
	r.came(0)
	r.have(300, 0, 0, 300)

	r.write(u[1], u[0], u[2], u[3])
	report, err := r.Reload()
	if err != nil || !slices.Equal(report.URLs.Changed, []string{"main " + u[1], "main " + u[2],
		"main " + u[3]}) || len(report.URLs.Kept) != 1 || len(report.Warnings)+len(report.Restart) > 0 {
		t.Fatalf("%v: %+v", err, report)
	}
	r.send()
	r.came(0)
	r.have(300, 300, 0, 300)
	r.servers[1].setToken("other")
	r.send()
	r.came(0)
	r.have(600, 300, 0, 300)

	r.reload("[] [0 2 3] [1] [] []", u, u[1])
	r.send()
	r.came(300)
	r.reload("[2 3] [1] [] [] []", u, u[2], u[3])
	r.send()
	s := r.came(0)
	r.have(600, 300, 600, 300)
	if s.Sinks[1].Spool.Moved != 300 || s.Sinks[2].Spool.Adopted != 300 ||
		s.Ledger.Written != uint64(r.sent) {
		t.Fatalf("%+v", s.Sinks)
	}

	// With keep it waits for the URL's return, at whichever place.
	r.servers[2].setToken("other")
	r.servers[3].setToken("other")
	r.send()
	r.came(300)
	r.more = "routing: failover, on_remove: keep"
	r.servers[1].setToken("t")
	r.reload("[1] [2 3] [] [] []", u, u[1])
	r.send()
	r.came(300)
	r.have(600, 600, 600, 300)
	r.still(2)
	r.still(3)
	r.servers[2].setToken("t")
	r.servers[3].setToken("t")
	r.reload("[2 3] [] [1] [] []", u, u[2], u[3], u[1])
	r.send()
	s = r.came(0)
	lines := r.lines()
	if lines[0] != 600 || lines[1] != 600 || lines[2]+lines[3] != 1500 ||
		s.Ledger.Written != 2700 || !s.Ready {
		t.Fatalf("the servers have %v: %+v", lines, s)
	}
}
