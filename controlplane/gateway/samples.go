package gateway

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/dataplane"
	"culvert/dataplane/spsc"
)

// sampleInterval is how often the workers' samples of rejects are taken to the log.
const sampleInterval = time.Second

// logSamples writes what the workers rejected to the reject ring, and to the log: at most one line a second
// for each reason, the total beside it, so that a flood of bad lines cannot fill a disk. It ends with the
// context.
func logSamples(ctx context.Context, log *slog.Logger, rings []*spsc.Ring[dataplane.Sample],
	listeners []string, rejects *telemetry.Rejects) {
	for range each(ctx, sampleInterval) {
		seen := map[string]bool{}
		for _, ring := range rings {
			for s := ring.Peek(); s != nil; s = ring.Peek() {
				rejects.Add(rejectOf(s, listeners))
				logSample(log, s, listeners, seen)
				ring.Release()
			}
		}
	}
}

func logSample(log *slog.Logger, s *dataplane.Sample, listeners []string, seen map[string]bool) {
	source := sourceOf(s)
	if s.Frame != dataplane.FrameRejects {
		reason := s.Frame.String()
		if !seen[reason] {
			log.Warn("packet rejected", "reason", reason, "source", source, "total", s.Total)
		}
		seen[reason] = true
		return
	}
	reason := s.Line.String()
	if !seen[reason] {
		log.Warn("line rejected", "reason", reason, "column", s.Column, "source", source,
			"listener", listeners[s.Listener], "line", string(s.Text[:s.Length]), "total", s.Total)
	}
	seen[reason] = true
}

// rejectOf says in words what a sample shows.
func rejectOf(s *dataplane.Sample, listeners []string) telemetry.Reject {
	r := telemetry.Reject{Taken: time.Now(), Source: sourceOf(s), Total: s.Total}
	if s.Frame != dataplane.FrameRejects {
		r.Stage, r.Reason = "packet", s.Frame.String()
		return r
	}
	r.Stage, r.Reason, r.Column = "decode", s.Line.String(), s.Column
	r.Listener, r.Text = listeners[s.Listener], string(s.Text[:s.Length])
	return r
}

func sourceOf(s *dataplane.Sample) string {
	return netip.AddrPortFrom(netip.AddrFrom16(s.Source).Unmap(), s.SourcePort).String()
}
