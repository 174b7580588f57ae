package traces

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	traces *Traces
}

// ExportSpans is sdktrace.SpanExporter's. A collector may take some of the spans and refuse others.
func (o outlet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := o.SpanExporter.ExportSpans(ctx, spans)
	c, lost := &o.traces.counter, lost(err, len(spans))
	c.waiting.Add(-int64(len(spans)))
	c.failed.Add(uint64(lost))
	c.exported.Add(uint64(len(spans) - lost))
	if lost < len(spans) {
		c.told.Store(false)
	}
	if err != nil && lost == 0 {
		o.traces.config.Log.Warn("the collector of traces took all and has a warning", "warning", err)
		return nil
	}
	return err
}

// lost is how many of all spans an export did not bring. The exporters' error for a part of them is internal
// to each: it is told by its words, which both share and a test holds.
func lost(err error, all int) int {
	for e := err; e != nil; e = errors.Unwrap(e) {
		words, partial := strings.CutPrefix(e.Error(), "OTLP partial success: ")
		if !partial {
			continue
		}
		end, rejected := words[strings.LastIndexByte(words, '(')+1:], 0
		if _, err := fmt.Sscanf(end, "%d spans rejected)", &rejected); err != nil {
			return all
		}
		return min(max(rejected, 0), all)
	}
	if err != nil {
		return all
	}
	return 0
}
