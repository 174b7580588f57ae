package telemetry

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"culvert/dataplane/hist"
)

// State is how the gateway is.
type State string

const (
	// Ready: points come in and go out.
	Ready State = "ready"
	// Degraded: they do, but some were lost lately, or they take long.
	Degraded State = "degraded"
	// Unready: they do not.
	Unready State = "unready"
)

const (
	// healthWindow is how far back a loss or a slow point makes the gateway degraded.
	healthWindow = 10 * time.Second
	// slowP99 is how long the slowest hundredth of points may take to the database: what a person who looks
	// at a graph begins to notice.
	slowP99 = time.Second
)

// HealthEvent is one event of the health stream. Figures that need two looks are null in the first one.
type HealthEvent struct {
	State   State     `json:"state"`
	Reasons []string  `json:"reasons"`
	Taken   time.Time `json:"taken"`
	// PointsPerSecond and WrittenPerSecond are since the event before.
	PointsPerSecond  *float64 `json:"points_per_second"`
	WrittenPerSecond *float64 `json:"written_per_second"`
	// P50 and P99 are by stage, in seconds, of what ended in the last ten seconds; stages without
	// any are left out.
	P50      map[string]float64 `json:"p50_seconds"`
	P99      map[string]float64 `json:"p99_seconds"`
	InFlight uint64             `json:"points_in_flight"`
}

// Health turns snapshots into events, each compared with those before. It belongs to one goroutine at a time.
type Health struct {
	window []look // of the last ten seconds and the one before these, oldest first
}

// look is what is kept of a snapshot.
type look struct {
	taken             time.Time
	received, written uint64
	lost              map[string]uint64 // by what the reason says
	stages            map[string]*hist.Snapshot
}

// Next is the event of a snapshot that was taken after the one before.
func (h *Health) Next(s *Snapshot) *HealthEvent {
	counters := s.total()
	now := look{taken: s.Taken, received: counters.PointsIn(), written: counters.PointsWritten,
		lost: lostOf(s, &counters), stages: s.Stages}
	now.written += s.spools(counters.PointsSpooled).Replayed
	e := &HealthEvent{State: Ready, Reasons: slices.Clone(s.Reasons), Taken: s.Taken,
		P50: map[string]float64{}, P99: map[string]float64{}, InFlight: counters.PointsInFlight}
	for len(h.window) > 1 && now.taken.Sub(h.window[1].taken) >= healthWindow {
		h.window = h.window[1:]
	}
	if n := len(h.window); n > 0 {
		e.rates(&now, &h.window[n-1])
		e.compare(&now, &h.window[0])
	}
	e.Reasons = append(e.Reasons, standing(s)...)
	h.window = append(h.window, now)
	switch {
	case !s.Ready:
		e.State = Unready
	case len(e.Reasons) > 0:
		e.State = Degraded
	}
	if e.Reasons == nil {
		e.Reasons = []string{}
	}
	return e
}

func (e *HealthEvent) rates(now, before *look) {
	seconds := now.taken.Sub(before.taken).Seconds()
	if seconds <= 0 {
		return
	}
	points := float64(now.received-before.received) / seconds
	written := float64(now.written-before.written) / seconds
	e.PointsPerSecond, e.WrittenPerSecond = &points, &written
}

// compare adds what went wrong since an earlier look.
func (e *HealthEvent) compare(now, before *look) {
	for _, what := range slices.Sorted(maps.Keys(now.lost)) {
		if n := now.lost[what]; n > before.lost[what] {
			e.Reasons = append(e.Reasons, fmt.Sprintf("%s: %d in the last %s", what, n-before.lost[what],
				now.taken.Sub(before.taken).Round(time.Second)))
		}
	}
	for stage, h := range now.stages {
		since := *h
		if earlier := before.stages[stage]; earlier != nil {
			for i, n := range earlier.Counts {
				since.Counts[i] -= n
			}
			since.Count -= earlier.Count
		}
		if since.Count > 0 {
			e.P50[stage] = float64(since.Quantile(0.50)) / second
			e.P99[stage] = float64(since.Quantile(0.99)) / second
		}
	}
	if p99 := e.P99["end_to_end"]; p99 > slowP99.Seconds() {
		e.Reasons = append(e.Reasons, fmt.Sprintf("the slowest points take %s to the database", Short(p99)))
	}
}
