package gateway

import (
	"strings"
	"testing"
)

// Goal: with order: series a URL may leave by a reload with rehash, too; until all that waits for it is with
// the others, the sink's urls change no more, which one line says, and then they do. Method: servers that
// refuse, and an heir whose spool has no room for a while.
func TestReloadRehashesInOrder(t *testing.T) {
	r := newLeavingRig(t, "on_remove: rehash, order: series", "")
	r.send()
	r.came(0)
	first := r.lines()
	for _, s := range r.servers[1:] {
		s.setToken("other")
	}
	r.send()
	r.came(uint64(first[1] + first[2]))
	spoolers, _ := r.spoolers()
	spoolers[0].Limit(1)
	r.reload("[] [1] [0 2] [] []", r.urls, r.urls[0], r.urls[2])
	r.send()
	r.write(r.urls...)
	report, err := r.Reload()
	if err != nil || len(report.Warnings) != 1 || len(report.URLs.Added) != 0 ||
		!strings.Contains(report.Warnings[0], "goes to the others first; reload once that is over") {
		t.Fatalf("%v: %+v", err, report)
	}
	// What changes nothing waits for nothing.
	r.reload("[] [] [0 2] [] []", r.urls, r.urls[0], r.urls[2])
	spoolers[0].Limit(256 << 20)
	r.servers[2].setToken("t")
	s := r.came(0)
	lines := r.lines()
	if lines[0]+lines[1]+lines[2] != r.sent || lines[1] != first[1] || s.Ledger.Written != uint64(r.sent) {
		t.Fatalf("%d points sent, the servers have %v: %+v", r.sent, lines, s.Ledger)
	}
	adopted := s.Sinks[0].Spool.Adopted + s.Sinks[2].Spool.Adopted
	if moved := s.Sinks[1].Spool.Moved; moved == 0 || moved != adopted {
		t.Fatalf("%d points moved, %d were adopted", moved, adopted)
	}
	r.servers[1].setToken("t")
	r.reload("[1] [] [0 2] [] []", r.urls, r.urls...)
	r.send()
	r.came(0)
	if after := r.lines(); after[1] != 2*first[1] {
		t.Fatalf("the servers have %v, the first time %v", after, first)
	}
}

// Goal: with order: series what waits for a URL that left before stays, whatever a later reload makes of it,
// which one line says: it is older than what the others have by then.
func TestReloadKeepsWhatIsTooOld(t *testing.T) {
	r := newLeavingRig(t, "on_remove: keep, order: series", "")
	r.servers[1].setToken("other")
	r.send()
	waiting := r.came(1).Ledger.SpoolPending
	r.reload("[] [1] [0 2] [] []", r.urls, r.urls[0], r.urls[2])
	r.more = "on_remove: rehash, order: series"
	r.write(r.urls[0], r.urls[2])
	report, err := r.Reload()
	if err != nil || len(report.Warnings) != 1 ||
		!strings.Contains(report.Warnings[0], "with order: series") {
		t.Fatalf("%v: %+v", err, report)
	}
	r.send()
	if s := r.came(waiting); s.Ledger.SpoolPending != waiting || s.Sinks[1].Spool.Moved != 0 {
		t.Fatalf("%d points waited: %+v", waiting, s.Ledger)
	}
}
