package gateway

import (
	"context"
	"fmt"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/controlplane/traces"
	"culvert/dataplane"
)

const (
	// tracesInterval is how often finished traces are taken from the workers.
	tracesInterval = 200 * time.Millisecond
	// tracesTime bounds how long a stop waits for the exporter.
	tracesTime = 3 * time.Second
)

// openTraces opens the exporter and a ring for each worker, if traces are on.
func (g *Gateway) openTraces(ctx context.Context) (err error) {
	c := g.options.Config
	if c.Traces.Exporter == "off" {
		return nil
	}
	config := traces.Config{
		Exporter: c.Traces.Exporter, Endpoint: c.Traces.Endpoint, Gateway: c.Gateway.ID,
		Version: g.options.Version, Log: g.log,
		Wall: func() int64 { return time.Now().UnixNano() - g.clock.Now() },
	}
	for i := range c.Sinks {
		for _, url := range c.Sinks[i].URLs {
			config.Sinks = append(config.Sinks, traces.Sink{Name: c.Sinks[i].Name, URL: url})
		}
	}
	if g.exporter, err = traces.New(ctx, config); err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	for range len(g.plan.Workers) + 1 {
		g.traced = append(g.traced, dataplane.NewTraceRing())
	}
	return nil
}

// traceSpool is a ring for a spooler, or nil where traces are off.
func (g *Gateway) traceSpool() *dataplane.TraceRing {
	if g.exporter == nil {
		return nil
	}
	ring := dataplane.NewTraceRing()
	g.growing.Lock()
	g.replayed = append(g.replayed, ring)
	g.growing.Unlock()
	return ring
}

// carryTraces takes finished traces to the exporter until the context ends, and says it when some found no
// room before it came.
func (g *Gateway) carryTraces(ctx context.Context) {
	told := uint64(0)
	for range each(ctx, tracesInterval) {
		g.emitTraces()
		if n := g.tracesLeftOut(); n > told {
			g.log.Warn("traces are left out: more end at once than there is room for; raise traces.one_in",
				"spans", n-told)
			told = n
		}
	}
}

func (g *Gateway) emitTraces() {
	for i, ring := range g.traced {
		for t := ring.Peek(); t != nil; t = ring.Peek() {
			g.exporter.Emit(t, g.workers[i].Name())
			ring.Release()
		}
	}
	for _, ring := range g.spoolTraces() {
		for t := ring.Peek(); t != nil; t = ring.Peek() {
			g.exporter.Emit(t, "")
			ring.Release()
		}
	}
}

// spoolTraces are the rings of the spoolers that there are now.
func (g *Gateway) spoolTraces() []*dataplane.TraceRing {
	g.growing.RLock()
	defer g.growing.RUnlock()
	return g.replayed
}

// tracesLeftOut is how many spans found no room on their way to the exporter.
func (g *Gateway) tracesLeftOut() (spans uint64) {
	for _, ring := range g.traced {
		spans += ring.LeftOut()
	}
	for _, ring := range g.spoolTraces() {
		spans += ring.LeftOut()
	}
	return spans
}

// tracesShown is what became of spans; nil where traces are off.
func (g *Gateway) tracesShown() *telemetry.Traces {
	if g.exporter == nil {
		return nil
	}
	c := g.exporter.Counts()
	return &telemetry.Traces{
		Exported: c.Exported, Failed: c.Failed, Dropped: c.Dropped, LeftOut: g.tracesLeftOut(),
	}
}

// closeTraces sends what is left. The workers and spoolers have ended. What a collector does not take in time
// is lost, which is said; the stop does not fail by it, since no point depends on it.
func (g *Gateway) closeTraces() {
	if g.exporter == nil {
		return
	}
	if len(g.workers) == len(g.traced) {
		g.emitTraces()
	}
	ctx, cancel := context.WithTimeout(context.Background(), tracesTime)
	defer cancel()
	if err := g.exporter.Close(ctx); err != nil {
		g.log.Warn("traces are lost at the stop", "error", err)
	}
}
