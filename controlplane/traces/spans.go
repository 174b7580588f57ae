package traces

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"culvert/dataplane"
)

// Emit makes the spans of one batch, or of what came of it later, and says in the log what did not go well.
// worker is empty for the latter.
func (t *Traces) Emit(b *dataplane.Traced, worker string) {
	e := emission{Traces: t, batch: b, wall: t.config.Wall(), next: b.Span + 1 + uint64(b.Count),
		sink: (*t.sinks.Load())[b.Lane]}
	switch b.Kind {
	case dataplane.TraceBatch:
		e.whole(worker)
	case dataplane.TraceSpool:
		e.spool()
	case dataplane.TraceReplay:
		e.replay()
	}
	e.log(worker)
}

// whole is a batch from its first packet to its outcome.
func (e *emission) whole(worker string) {
	b := e.batch
	ctx, root := e.tracer.Start(withNumber(context.Background(), b.ID, b.Span), "batch", e.at(b.Opened),
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.String("culvert.worker", worker), attribute.String("culvert.sink", e.sink.Name),
			attribute.Int("culvert.points", b.Points), attribute.Int("culvert.bytes", b.Bytes),
			attribute.Int("culvert.points.written", b.Written),
			attribute.Int("culvert.points.rejected", b.Rejected),
			attribute.Int("culvert.points.undelivered", b.Undelivered),
			attribute.Int("culvert.points.set_aside", b.SetAside)))
	if b.Undelivered+b.Rejected > 0 {
		root.SetStatus(codes.Error, fmt.Sprintf("points rejected: %d, undelivered: %d", b.Rejected,
			b.Undelivered))
	}
	e.stages(ctx)
	e.attempts(ctx)
	root.End(e.at(b.Settled))
}

// emission is one batch's spans in the making.
type emission struct {
	*Traces
	batch *dataplane.Traced
	wall  int64  // what wall time is ahead of the monotonic clock
	next  uint64 // the number of the next span that went to nobody
	sink  Sink
}

func (e *emission) at(monotonic int64) trace.SpanEventOption {
	return trace.WithTimestamp(time.Unix(0, e.wall+monotonic))
}

// span makes one span from its beginning to its end, which are not out of order.
func (e *emission) span(ctx context.Context, name string, number uint64, from, to int64,
	options ...trace.SpanStartOption) trace.Span {
	if number == 0 {
		number = e.next
		e.next++
	}
	_, span := e.tracer.Start(withNumber(ctx, e.batch.ID, number), name, append(options, e.at(from))...)
	span.End(e.at(max(from, to)))
	return span
}

// stages are what came before the batch was sealed. One packet's decoding and rules stand for all: these take
// turns, point by point, and are shown one behind the other.
func (e *emission) stages(ctx context.Context) {
	b := e.batch
	e.span(ctx, "receive", 0, b.Opened, b.Seen)
	if b.Measured != 0 {
		one := trace.WithAttributes(attribute.String("culvert.of", "one packet"))
		e.span(ctx, "decode", 0, b.Measured, b.Measured+b.Decode, one)
		e.span(ctx, "rules", 0, b.Measured+b.Decode, b.Measured+b.Decode+b.Rules, one)
	}
	e.span(ctx, "wait", 0, b.Seen, b.Sealed)
	if b.OnDisk != 0 {
		e.span(ctx, "spool", 0, b.ToDisk, b.OnDisk, trace.WithAttributes(spoolPlace("disk")))
	}
}

// attempts are the requests, and the pauses between them.
func (e *emission) attempts(ctx context.Context) {
	b, before := e.batch, int64(0)
	for i := range b.Attempts[:b.Count] {
		a := &b.Attempts[i]
		if a.Begun == 0 {
			continue // its head was written, and no more
		}
		if before != 0 {
			e.span(ctx, "retry", 0, before, a.Begun)
		}
		before = a.Ended
		if a.Ended == 0 {
			before = b.Settled
		}
		sent, failure := a.Sent, ""
		switch {
		case a.Sent == 0:
			sent = before
			if a.Code == 0 {
				failure = "the connection was lost"
			}
		case a.Code == 0:
			failure = "no answer came"
		case a.Code >= 300:
			failure = fmt.Sprintf("the server answers %d", a.Code)
		}
		attributes := []attribute.KeyValue{
			attribute.String("url.full", e.sink.URL), attribute.Int("culvert.points", a.Points),
			attribute.Int("http.request.body.size", a.Bytes),
		}
		if a.Code != 0 {
			attributes = append(attributes, attribute.Int("http.response.status_code", a.Code))
		}
		number := b.Span + 1 + uint64(i)
		e.request(ctx, number, a.Begun, sent, before, failure, attributes)
	}
}

// request is one attempt: sending, with the number that the server was told, and below it the wait for the
// answer.
func (e *emission) request(ctx context.Context, number uint64, begun, sent, ended int64, failure string,
	attributes []attribute.KeyValue) {
	below, span := e.tracer.Start(withNumber(ctx, e.batch.ID, number), "send", e.at(begun),
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	if failure != "" {
		span.SetStatus(codes.Error, failure)
	}
	e.span(below, "answer", 0, sent, ended)
	span.End(e.at(max(begun, ended)))
}

// numberKey is the key of a context's number.
type numberKey struct{}

// number is what the next span of a context gets.
type number struct {
	trace trace.TraceID
	span  trace.SpanID
}

func withNumber(ctx context.Context, id [16]byte, span uint64) context.Context {
	return context.WithValue(ctx, numberKey{}, number{trace: id, span: spanID(span)})
}

// numbers gives spans the numbers that workers chose, since servers were told them already.
type numbers struct{}

// NewIDs is the SDK's question for a trace's first span.
func (numbers) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	n := ctx.Value(numberKey{}).(number)
	return n.trace, n.span
}

// NewSpanID is the SDK's question for every other one.
func (numbers) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	return ctx.Value(numberKey{}).(number).span
}
