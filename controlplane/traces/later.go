package traces

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"culvert/dataplane"
)

func spoolPlace(where string) attribute.KeyValue { return attribute.String("culvert.spool", where) }

// below is a context whose next span stands below the batch's.
func (e *emission) below() context.Context {
	root := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: e.batch.ID, SpanID: spanID(e.batch.Root), TraceFlags: trace.FlagsSampled,
	})
	return withNumber(trace.ContextWithSpanContext(context.Background(), root), e.batch.ID, e.batch.Span)
}

func spanID(n uint64) (id trace.SpanID) {
	binary.BigEndian.PutUint64(id[:], n)
	return id
}

// spool is what was left of a batch on its way to where it waits.
func (e *emission) spool() {
	b := e.batch
	where := "disk"
	switch {
	case b.Undelivered > 0:
		where = "nowhere"
	case b.InMemory:
		where = "memory"
	}
	_, span := e.tracer.Start(e.below(), "spool", e.at(b.Opened), trace.WithAttributes(spoolPlace(where),
		attribute.String("culvert.sink", e.sink.Name), attribute.Int("culvert.points", b.Points),
		attribute.Int("culvert.bytes", b.Bytes)))
	if b.Undelivered > 0 {
		span.SetStatus(codes.Error, "the spool has no room")
	}
	span.End(e.at(max(b.Opened, b.Settled)))
}

// replay is one request from the spool. Its points are those of all records in it, and not this batch's
// alone; where the server was told another batch's number, there is a link to that.
func (e *emission) replay() {
	b := e.batch
	options := []trace.SpanStartOption{e.at(b.Sealed), trace.WithAttributes(
		attribute.String("culvert.sink", e.sink.Name), attribute.Int("culvert.points", b.Points),
		attribute.Int("culvert.bytes", b.Bytes), attribute.Int("culvert.points.written", b.Written),
		attribute.Int("culvert.points.rejected", b.Rejected))}
	if b.Told.Root != 0 {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: trace.NewSpanContext(
			trace.SpanContextConfig{TraceID: b.Told.ID, SpanID: spanID(b.Told.Root),
				TraceFlags: trace.FlagsSampled})}))
	}
	ctx, span := e.tracer.Start(e.below(), "replay", options...)
	if b.SetAside+b.Undelivered > 0 {
		span.SetStatus(codes.Error, "it waits for the next try")
	}
	e.attempts(ctx)
	span.End(e.at(max(b.Sealed, b.Settled)))
}

// log says what became of a traced batch: a warning where points are lost, and for debugging where all is
// well.
func (e *emission) log(worker string) {
	b := e.batch
	level, message := slog.LevelDebug, "batch settled"
	switch {
	case b.Kind == dataplane.TraceBatch && b.Undelivered+b.Rejected > 0:
		level, message = slog.LevelWarn, "batch lost points"
	case b.Kind == dataplane.TraceSpool && b.Undelivered > 0:
		level, message = slog.LevelWarn, "batch has no room in the spool"
	case b.Kind == dataplane.TraceSpool:
		message = "batch waits in the spool"
	case b.Kind == dataplane.TraceReplay && b.Rejected > 0:
		level, message = slog.LevelWarn, "batch lost points by replay"
	case b.Kind == dataplane.TraceReplay && b.SetAside+b.Undelivered > 0:
		message = "batch not replayed yet"
	case b.Kind == dataplane.TraceReplay:
		message = "batch replayed"
	}
	if !e.config.Log.Enabled(context.Background(), level) {
		return
	}
	attributes := []slog.Attr{
		slog.String("trace_id", hex.EncodeToString(b.ID[:])), slog.String("sink", e.sink.Name),
		slog.String("url", e.sink.URL), slog.Int("points", b.Points), slog.Int("written", b.Written),
		slog.Int("rejected", b.Rejected), slog.Int("undelivered", b.Undelivered),
		slog.Int("set_aside", b.SetAside), slog.Int("code", b.Code),
	}
	if worker != "" {
		attributes = append(attributes, slog.String("worker", worker))
	}
	e.config.Log.LogAttrs(context.Background(), level, message, attributes...)
}
