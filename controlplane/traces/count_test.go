package traces

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// stuck is an exporter that takes nothing until it is let go, and then fails.
type stuck struct{ release chan struct{} }

func (s stuck) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return errors.New("refused")
}

func (stuck) Shutdown(context.Context) error { return nil }

// Goal: what the exporter took is counted. Method: one batch into a file, whose spans are known.
func TestExportedSpansAreCounted(t *testing.T) {
	traces, err := New(context.Background(), Config{
		Exporter: File, Endpoint: filepath.Join(t.TempDir(), "traces.json"),
		Log:   slog.New(slog.DiscardHandler),
		Sinks: []Sink{{}, {"main", "http://db:8086"}}, Wall: func() int64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	traces.Emit(traced(), "3")
	if err := traces.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := Counts{Exported: uint64(len(written(t, traced())))}
	if got := traces.Counts(); got != want || got.Exported == 0 {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// Goal: an exporter that stands still holds nobody up; what finds no room is counted and said once, and what
// fails is counted, so that each span is under one of three. Method: an exporter that is let go at the end.
func TestLostSpansAreCounted(t *testing.T) {
	const batches = 200
	all := uint64(batches * len(written(t, traced())))
	var log bytes.Buffer
	traces := newTraces(Config{Log: slog.New(slog.NewTextHandler(&log, nil)),
		Sinks: []Sink{{}, {"main", "http://db:8086"}}, Wall: func() int64 { return 0 }})
	exporter := stuck{make(chan struct{})}
	if err := traces.begin(exporter); err != nil {
		t.Fatal(err)
	}
	for range batches {
		traces.Emit(traced(), "3")
	}
	if got, want := traces.Counts(), (Counts{Dropped: all - waitingMax}); all <= waitingMax || got != want {
		t.Errorf("of %d spans while the exporter stands still: %+v, want %+v", all, got, want)
	}
	close(exporter.release)
	if err := traces.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got, want := traces.Counts(), (Counts{Failed: waitingMax, Dropped: all - waitingMax}); got != want {
		t.Errorf("of %d spans: %+v, want %+v", all, got, want)
	}
	if n := strings.Count(log.String(), "traces are dropped"); n != 1 {
		t.Errorf("the log says %d times that traces are dropped:\n%.500s", n, log.String())
	}
	if !strings.Contains(log.String(), "traces are lost") || !strings.Contains(log.String(), "refused") {
		t.Errorf("the log does not say that traces are lost:\n%.500s", log.String())
	}
}
