package telemetry

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/bpf/abi"
	"culvert/dataplane"
	"culvert/dataplane/influx"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/spool"
)

// later is the full snapshot, ready and with nothing wrong, so many seconds after it began.
func later(seconds int, change func(*Snapshot)) *Snapshot {
	s := full()
	s.Ready, s.Reasons, s.Sinks[0].Breaker = true, nil, influx.BreakerClosed
	s.Sinks[0].Spool.DiskError, s.Sinks[0].Spool.Disk.BadBytes, s.Sinks[0].Up = "", 0, true
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
	// Why it is not ready comes first, then what else is wrong.
	if n := len(s.Reasons); e.State != Unready || len(e.Reasons) != n+2 ||
		!slices.Equal(e.Reasons[:n], s.Reasons) || !strings.Contains(e.Reasons[n], "does not get to disk") {
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
	f("lines rejected, bad_number: 6 in", func(s *Snapshot) {
		s.Workers[0].Counters.PointsRejected[lineproto.BadNumber] += 6
	})
	f("points rejected at the sink, partial_write: 7 in", func(s *Snapshot) {
		s.Workers[0].Counters.PointsSinkRejected[dataplane.SinkPartial] += 7
	})
	f("packets rejected, checksum: 8 in", func(s *Snapshot) {
		s.Workers[0].Counters.FramesRejected[dataplane.FrameChecksum] += 8
	})
	f("packets dropped by XDP on eth1, source_limit: 9 in", func(s *Snapshot) {
		s.Interfaces[0].Verdicts = append(s.Interfaces[0].Verdicts, Verdict{abi.SourceLimit.String(), 9})
	})
	f("slowest points take 1.", func(s *Snapshot) {
		s.Stages["end_to_end"] = recorded(1_200_000, 3_000_000_000, 1_500_000_000)
	})
}

// Goal: what is wrong now is told as long as it is, from the first event on.
func TestHealthOfWhatStands(t *testing.T) {
	f := func(reason string, change func(*Snapshot)) {
		t.Helper()
		var h Health
		for second := range 12 {
			e := h.Next(later(second, change))
			if e.State != Degraded || !slices.Equal(e.Reasons, []string{reason}) {
				t.Fatalf("second %d: %+v, want %q", second, e, reason)
			}
		}
		if e := h.Next(later(12, nil)); e.State != Ready {
			t.Errorf("%q, when it is over: %+v", reason, e)
		}
	}
	f("worker kernel shows no life since 1.2 s", func(s *Snapshot) {
		s.Workers[1].Heartbeat = 1200 * time.Millisecond
	})
	const url = "http://127.0.0.1:8086"
	f("sink main: the breaker of "+url+" is half open", func(s *Snapshot) {
		s.Sinks[0].Breaker = influx.BreakerHalfOpen
	})
	f("sink main: "+url+" does not take points: connection refused", func(s *Snapshot) {
		s.Sinks[0].Up, s.Sinks[0].Breaker = false, influx.BreakerOpen
		s.Impaired = []string{"sink main: " + url + " does not take points: connection refused"}
	})
	f("sink main: the spool of "+url+" takes 51 % of its room", func(s *Snapshot) {
		s.Sinks[0].SpoolMax, s.Sinks[0].Spool = 1000, &dataplane.SpoolerState{Disk: spool.Stats{Bytes: 510}}
	})
	f("sink main: the spool of "+url+" does not get to disk: no space left", func(s *Snapshot) {
		s.Sinks[0].Spool = &dataplane.SpoolerState{DiskError: "no space left"}
	})
	f("sink main: the spool of "+url+" was damaged: 99 bytes are kept aside in its folder as *.bad",
		func(s *Snapshot) {
			s.Sinks[0].Spool = &dataplane.SpoolerState{Disk: spool.Stats{BadBytes: 99}}
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
