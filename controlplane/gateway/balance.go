package gateway

import (
	"context"
	"strconv"
	"time"

	"culvert/dataplane"
	"culvert/dataplane/hist"
	"culvert/dataplane/influx"
	"culvert/dataplane/shard"
)

// balanceInterval is how often the loads of a sink's servers are looked at.
const balanceInterval = time.Second

// balance makes a sink's table anew whenever the loads of its servers ask for it, until the context ends.
func (g *Gateway) balance(ctx context.Context, s *sink) {
	weigher := shard.NewWeigher(0)
	var before []servedSoFar
	for range each(ctx, balanceInterval) {
		targets := s.urls()
		if len(targets) < 2 {
			continue
		}
		// One that has come begins with its whole weight.
		weigher.Grow(len(targets))
		before = append(before, make([]servedSoFar, len(targets)-len(before))...)
		loads := make([]shard.Load, len(targets))
		states := sinkStates(g.looks(), len(g.urls()))
		for i, t := range targets {
			now := g.served(t.lane, states)
			loads[i] = now.load(&before[i], s.config.Timeout)
			before[i] = now
		}
		if !weigher.Update(loads) {
			continue
		}
		if err := s.weigh(weigher.Weights()); err != nil {
			g.log.Error("share series out anew", "sink", s.config.Name, "error", err)
			continue
		}
		var urls []string
		for _, t := range targets {
			urls = append(urls, t.url)
		}
		g.log.Info("series are shared out anew", "sink", s.config.Name, "urls", urls,
			"weights", weigher.Weights())
	}
}

// servedSoFar is what all workers have seen of one URL.
type servedSoFar struct {
	requests, failed uint64
	open             bool
	backlog          float64
	writes           hist.Snapshot
}

// served adds up what the workers have seen of a URL.
func (g *Gateway) served(lane int, states [][]dataplane.SinkState) (sum servedSoFar) {
	for i, w := range g.workers {
		stats := &states[i][lane].Stats
		for code, n := range stats.Requests {
			sum.requests += n
			if failure(code) {
				sum.failed += n
			}
		}
		// Half-open is no recovery: a look that falls between two probes in vain must not begin the count of
		// bad looks anew.
		sum.open = sum.open || stats.Breaker != influx.BreakerClosed
		sum.backlog = max(sum.backlog, float64(stats.Waiting)/float64(batchesSlow))
		w.LaneWrites(lane).AddTo(&sum.writes)
	}
	sum.backlog = min(sum.backlog, 1)
	return sum
}

// failure tells whether an answer speaks against the server, and not against the points that it was sent.
func failure(code string) bool {
	n, err := strconv.Atoi(code)
	return err != nil || n >= 500 || n == 408 || n == 425 || n == 429
}

// load is what happened since before.
func (s *servedSoFar) load(before *servedSoFar, timeout time.Duration) (l shard.Load) {
	if n := s.requests - before.requests; n > 0 {
		l.Errors = float64(s.failed-before.failed) / float64(n)
	}
	if s.open {
		l.Errors = 1
	}
	l.Backlog = s.backlog
	writes := s.writes
	writes.Count -= before.writes.Count
	for i := range writes.Counts {
		writes.Counts[i] -= before.writes.Counts[i]
	}
	l.Write = min(float64(writes.Quantile(0.95))/float64(timeout), 1)
	return l
}
