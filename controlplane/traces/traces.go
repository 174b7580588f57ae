// Package traces turns what workers noted of a batch into OpenTelemetry spans, after the fact, and gives them
// to an exporter. It measures nothing itself and runs beside the workers.
//
//	batch ─ receive ─ decode ─ rules ─ wait ─ (send ─ answer) ─ retry ─ (send ─ answer) …
//	      ─ spool ─ replay ─ (send ─ answer) …
//
// All but the first are children of "batch", but for a replay's requests, which are its own. What waits in
// the spool ends "batch"; the spans of the second line come whenever it goes on. The spans "send" have the
// numbers that went to the server in traceparent, so that its own spans stand below them.
package traces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says where traces go.
type Config struct {
	Exporter string // OTLP or File
	// Endpoint (optional) is a collector's URL, with a path for HTTP and without one for gRPC, or a file.
	Endpoint string
	// Gateway and Version are what the spans say they are from.
	Gateway, Version string
	// Log is told when the exporter fails, and what became of traced batches.
	Log *slog.Logger
	// Sinks are the names and URLs of all URLs of all sinks, by their place.
	Sinks []Sink
	// Wall is what wall time is ahead of CLOCK_MONOTONIC now, in nanoseconds.
	Wall func() int64
}

// Sink is where a batch went.
type Sink struct{ Name, URL string }

// AddSink makes a URL known that came later: the next place. Calls come one at a time.
func (t *Traces) AddSink(s Sink) {
	sinks := append(slices.Clone(*t.sinks.Load()), s)
	t.sinks.Store(&sinks)
}

// Traces gives spans to an exporter. Emit belongs to one goroutine.
type Traces struct {
	config   Config
	sinks    atomic.Pointer[[]Sink]
	counter  counter
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	file     *os.File // nil unless there is one
	// retryFirst is the pause after a first refusal.
	retryFirst time.Duration
}

// New opens the exporter. A collector that does not answer is no error: it is tried again.
func New(ctx context.Context, config Config) (*Traces, error) {
	t := newTraces(config)
	exporter, err := t.exporter(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.begin(exporter); err != nil {
		return nil, err
	}
	return t, nil
}

func newTraces(config Config) *Traces {
	t := &Traces{config: config, retryFirst: retryFirst}
	t.sinks.Store(&config.Sinks)
	// The SDK knows one place for its failures, which come from threads of its own.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		config.Log.Warn("traces are lost", "error", err)
	}))
	return t
}

// begin gives all spans to the exporter from now on.
func (t *Traces) begin(exporter sdktrace.SpanExporter) error {
	about, err := resource.Merge(resource.Default(), resource.NewSchemaless(
		attribute.String("service.name", "culvert"),
		attribute.String("service.version", t.config.Version),
		attribute.String("service.instance.id", t.config.Gateway)))
	if err != nil {
		return fmt.Errorf("describe the gateway in traces: %w", err)
	}
	queue := sdktrace.NewBatchSpanProcessor(outlet{exporter, t},
		sdktrace.WithMaxQueueSize(waitingMax))
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(entrance{queue, t}),
		sdktrace.WithResource(about), sdktrace.WithSampler(sdktrace.AlwaysSample()),
		sdktrace.WithIDGenerator(numbers{}))
	t.tracer = t.provider.Tracer("culvert")
	return nil
}

// Close sends what is left, for as long as the context lasts.
func (t *Traces) Close(ctx context.Context) error {
	err := t.provider.Shutdown(ctx)
	if t.file != nil {
		err = errors.Join(err, t.file.Close())
	}
	if err != nil {
		return fmt.Errorf("close traces: %w", err)
	}
	return nil
}
