package telemetry

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/dataplane"
)

// later is the full snapshot, ready, so many seconds after it began.
func later(seconds int, change func(*Snapshot)) *Snapshot {
	s := full()
	s.Ready, s.Reasons = true, nil
	s.Taken = s.Taken.Add(time.Duration(seconds) * time.Second)
	if change != nil {
		change(s)
	}
	return s
}

func TestHealthOfAQuietGateway(t *testing.T) {
	var h Health
	first := h.Next(later(0, nil))
	// What was lost before anybody looked is no reason.
	if first.State != Ready || first.PointsPerSecond != nil || len(first.Reasons) != 0 ||
		len(first.P99) != 0 || first.InFlight != 100 {
		t.Errorf("%+v", first)
	}
	second := h.Next(later(2, func(s *Snapshot) {
		s.Workers[0].Counters.PointsReceived[0] += 500
		s.Workers[0].Counters.PointsWritten += 300
		s.Stages["end_to_end"] = recorded(1_200_000, 3_000_000_000, 5_000_000)
	}))
	if second.State != Ready || *second.PointsPerSecond != 250 || *second.WrittenPerSecond != 150 ||
		math.Abs(second.P99["end_to_end"]-5e-3) > 1e-4 || len(second.P99) != 1 {
		t.Errorf("%+v", second)
	}
}

func TestHealthUnready(t *testing.T) {
	var h Health
	s := full()
	e := h.Next(s)
	if e.State != Unready || !slices.Equal(e.Reasons, s.Reasons) {
		t.Errorf("%+v", e)
	}
}

// Goal: each loss degrades the gateway for ten seconds, with its number, and so do slow points.
func TestHealthDegraded(t *testing.T) {
	f := func(reason string, change func(*Snapshot)) {
		t.Helper()
		var h Health
		h.Next(later(0, nil))
		for second := 1; second <= 10; second++ {
			e := h.Next(later(second, change))
			if e.State != Degraded || len(e.Reasons) != 1 || !strings.Contains(e.Reasons[0], reason) {
				t.Errorf("%s, second %d: %+v", reason, second, e)
			}
		}
		if e := h.Next(later(11, change)); e.State != Ready {
			t.Errorf("%s, after ten seconds: %+v", reason, e)
		}
	}
	f("points dropped, overload: 4 in the last", func(s *Snapshot) {
		s.Workers[0].Counters.PointsDropped[dataplane.DropOverload] += 4
	})
	f("packets lost on eth1, ring_full: 3 in", func(s *Snapshot) {
		s.Interfaces[0].Queues[0].Drops["ring_full"] += 3
	})
	f("kernel's socket of plant: 2 in", func(s *Snapshot) { s.Listeners[0].KernelDrops += 2 })
	f("slowest points take 1.", func(s *Snapshot) {
		s.Stages["end_to_end"] = recorded(1_200_000, 3_000_000_000, 1_500_000_000)
	})
}

// Goal: after a pause without viewers, rates are over the pause and what is old is forgotten.
func TestHealthAfterAPause(t *testing.T) {
	var h Health
	h.Next(later(0, nil))
	h.Next(later(1, nil))
	e := h.Next(later(101, func(s *Snapshot) { s.Workers[0].Counters.PointsReceived[0] += 1000 }))
	if *e.PointsPerSecond != 10 || len(h.window) != 2 {
		t.Errorf("%v points/s, %d looks kept", *e.PointsPerSecond, len(h.window))
	}
}
