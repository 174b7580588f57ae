package gateway

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"culvert/dataplane"
	"culvert/dataplane/spsc"
)

// sampleInterval is how often the workers' samples of rejects are taken to the log.
const sampleInterval = time.Second

// logSamples writes what the workers rejected to the log: at most one line a second for each reason, the
// total beside it, so that a flood of bad lines cannot fill a disk. It ends with the context.
func logSamples(ctx context.Context, log *slog.Logger, rings []*spsc.Ring[dataplane.Sample],
	listeners []string) {
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		seen := map[string]bool{}
		for _, ring := range rings {
			for s := ring.Peek(); s != nil; s = ring.Peek() {
				logSample(log, s, listeners, seen)
				ring.Release()
			}
		}
	}
}

func logSample(log *slog.Logger, s *dataplane.Sample, listeners []string, seen map[string]bool) {
	source := netip.AddrPortFrom(netip.AddrFrom16(s.Source).Unmap(), s.SourcePort).String()
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
