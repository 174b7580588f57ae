package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"culvert/controlplane/traces"
	"culvert/dataplane"
	"culvert/dataplane/influx"
)

// addURL gives a sink a URL that was never there: its spool, a lane on each worker, and whatever else a URL
// has. No series is its own yet. On failure it is as if nobody had asked.
func (g *Gateway) addURL(s *sink, url string) error {
	if g.uneven != nil {
		return g.uneven
	}
	token, err := readToken(s.config.TokenFile)
	if err != nil {
		return err
	}
	t, err := newSinkTarget(g.life, s.config, url, token, len(g.targets), g.log)
	if err != nil {
		return err
	}
	var spooler *dataplane.Spooler
	var ports []*dataplane.SpoolPort
	if g.spools.dir != "" {
		for worker := range g.workers {
			batches, _ := s.batches(worker == g.slowWorker())
			ports = append(ports, dataplane.NewSpoolPort(g.exchange, worker, batches))
		}
		if spooler, err = g.openSpooler(s, t, ports); err != nil {
			return err
		}
	}
	if err := g.addLanes(s, t, ports); err != nil {
		if spooler != nil {
			err = errors.Join(err, spooler.Close())
		}
		return err
	}
	g.grow(s, t, spooler)
	return g.startTarget(s, t, token)
}

// addLanes gives each worker a lane to a URL.
func (g *Gateway) addLanes(s *sink, t *sinkTarget, ports []*dataplane.SpoolPort) error {
	for i, w := range g.workers {
		writer := s.writer(t)
		writer.Seed = uint64(g.started.UnixNano()) + uint64(i) + uint64(t.lane)<<32
		var port *dataplane.SpoolPort
		if ports != nil {
			port = ports[i]
		}
		err := w.AddURL(slices.Index(g.sinks, s), writer, port)
		if err == nil {
			continue
		}
		if i > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			// From here on workers count URLs differently.
			g.uneven = fmt.Errorf("not all workers took a URL over before, which a restart mends: %w", err)
		}
		return err
	}
	return nil
}

// grow makes a URL known to all who ask for them, and shares spool.max out anew.
func (g *Gateway) grow(s *sink, t *sinkTarget, spooler *dataplane.Spooler) {
	g.growing.Lock()
	g.targets = append(g.targets, t)
	if spooler != nil {
		g.spools.spoolers = append(g.spools.spoolers, spooler)
		g.spools.share = g.spoolShare()
	}
	s.deals.mutex.Lock()
	s.targets = append(s.targets, t)
	s.deals.mutex.Unlock()
	g.growing.Unlock()
	if spooler != nil {
		g.dealSpools()
	}
	if g.exporter != nil {
		g.exporter.AddSink(traces.Sink{Name: t.config.Name, URL: t.url})
	}
}

// startTarget starts what goes on beside the workers for a URL that was added with a token.
func (g *Gateway) startTarget(s *sink, t *sinkTarget, token string) error {
	// Whoever follows the token's file knew nothing of this URL until now.
	if now, err := readToken(s.config.TokenFile); err == nil && now != token {
		g.reauthorizeURL(s, t, now)
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.stopping {
		return fmt.Errorf("the gateway is stopping: %w", os.ErrClosed)
	}
	g.followTarget(g.life, t)
	return nil
}

// followTarget follows a URL's name until the context ends.
func (g *Gateway) followTarget(ctx context.Context, t *sinkTarget) {
	if t.current.IsValid() {
		g.probes.watchSink(t.current)
	}
	t.moved = g.probes.watchSink
	g.background.Go(func() { t.follow(ctx, g.workers, g.spoolerOf(t)) })
}

// urls are those of all sinks, by lane. A reload adds to them.
func (g *Gateway) urls() []*sinkTarget {
	g.growing.RLock()
	defer g.growing.RUnlock()
	return g.targets
}

// spoolerOf is the spooler of a URL, or nil.
func (g *Gateway) spoolerOf(t *sinkTarget) *dataplane.Spooler {
	g.growing.RLock()
	defer g.growing.RUnlock()
	if g.spools.dir == "" {
		return nil
	}
	return g.spools.spoolers[t.lane]
}

// spoolers are all URLs' spoolers, by lane, and what of spool.max each of them has, in bytes.
func (g *Gateway) spoolers() ([]*dataplane.Spooler, int64) {
	g.growing.RLock()
	defer g.growing.RUnlock()
	return g.spools.spoolers, g.spools.share
}

// leavingOf is what reloads made of a URL.
func (g *Gateway) leavingOf(t *sinkTarget) leaving {
	for _, s := range g.sinks {
		if s.config == t.config {
			urls := s.urls()
			return s.deals.all(len(urls))[slices.Index(urls, t)]
		}
	}
	return stays
}

// reauthorizeURL gives all workers, and the spooler, a URL's token.
func (g *Gateway) reauthorizeURL(s *sink, t *sinkTarget, token string) {
	value := influx.Authorization(&influx.TargetConfig{
		URL: t.parsed, Bucket: s.config.Bucket, Version: s.config.Version, Token: token,
	})
	t.setAuthorization(value)
	if spooler := g.spoolerOf(t); spooler != nil {
		spooler.Reauthorize(value)
	}
	for _, w := range g.workers {
		if err := w.Reauthorize(t.lane, value); err != nil {
			g.log.Error("change the token", "sink", s.config.Name, "url", t.url, "worker", w.Name(),
				"error", err)
		}
	}
}
