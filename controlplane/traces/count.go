package traces

import (
	"context"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// waitingMax is how many spans wait for the exporter at most, and what the SDK's queue has room for, so that
// it drops none without a word.
const waitingMax = 2048

// Counts are spans by what became of them since the start. Those that wait are in none.
type Counts struct {
	// Exported are those that the collector or the file took, Failed those that it did not, as the log says,
	// and Dropped those that found as many waiting as there is room for.
	Exported, Failed, Dropped uint64
}

// counter counts spans on their way into the SDK's queue and out of it. The goroutine of Emit counts those
// that come, one of the SDK's those that go.
type counter struct {
	waiting                   atomic.Int64
	exported, failed, dropped atomic.Uint64
	told                      atomic.Bool // that spans are dropped, since the exporter last took some
}

// Counts may be asked from any goroutine.
func (t *Traces) Counts() Counts {
	c := &t.counter
	return Counts{Exported: c.exported.Load(), Failed: c.failed.Load(), Dropped: c.dropped.Load()}
}

// entrance stands before the SDK's queue.
type entrance struct {
	sdktrace.SpanProcessor
	traces *Traces
}

// OnEnd is sdktrace.SpanProcessor's.
func (e entrance) OnEnd(s sdktrace.ReadOnlySpan) {
	c := &e.traces.counter
	if c.waiting.Load() < waitingMax {
		c.waiting.Add(1)
		e.SpanProcessor.OnEnd(s)
		return
	}
	c.dropped.Add(1)
	if !c.told.Swap(true) {
		e.traces.config.Log.Warn("traces are dropped: the exporter does not take them as fast as they come",
			"waiting", waitingMax)
	}
}

// outlet stands behind the queue, before the exporter.
type outlet struct {
	sdktrace.SpanExporter
	counter *counter
}

// ExportSpans is sdktrace.SpanExporter's.
func (o outlet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := o.SpanExporter.ExportSpans(ctx, spans)
	o.counter.waiting.Add(-int64(len(spans)))
	if err != nil {
		o.counter.failed.Add(uint64(len(spans)))
		return err
	}
	o.counter.exported.Add(uint64(len(spans)))
	o.counter.told.Store(false)
	return nil
}
