package traces

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/dataplane"
	"culvert/dataplane/influx"
)

// span is what stdouttrace writes of one span, as far as it matters here.
type span struct {
	Name                string
	SpanContext, Parent struct{ TraceID, SpanID string }
	StartTime, EndTime  time.Time
	Attributes          []struct {
		Key   string
		Value struct{ Value any }
	}
	Status struct{ Code, Description string }
	Links  []struct{ SpanContext struct{ SpanID string } }
}

// traced is a batch that was lost once, refused once by 503, and then written.
func traced() *dataplane.Traced {
	t := &dataplane.Traced{Lane: 1, Sealed: 200, Settled: 900, Points: 10, Bytes: 500, Written: 10, Code: 204}
	t.ID, t.Span = [16]byte{0: 0xab, 15: 1}, 0x1000
	t.Opened, t.Seen, t.Measured, t.Decode, t.Rules = 100, 110, 120, 30, 5
	t.Attempts[0] = influx.TraceAttempt{Begun: 210, Ended: 300, Points: 10, Bytes: 500}
	t.Attempts[1] = influx.TraceAttempt{Begun: 400, Sent: 420, Ended: 500, Code: 503, Points: 10, Bytes: 500}
	t.Attempts[2] = influx.TraceAttempt{Begun: 700, Sent: 720, Ended: 890, Code: 204, Points: 10, Bytes: 500}
	t.Count = 3
	return t
}

// written makes the spans of a batch and reads them back from the exporter's file.
func written(t *testing.T, b *dataplane.Traced) []span {
	t.Helper()
	file := filepath.Join(t.TempDir(), "traces.json")
	traces, err := New(context.Background(), Config{Exporter: File, Endpoint: file, Gateway: "gw-7",
		Log:   slog.New(slog.DiscardHandler),
		Sinks: []Sink{{}, {"main", "http://db:8086"}},
		Wall:  func() int64 { return 1_700_000_000_000_000_000 }})
	if err != nil {
		t.Fatal(err)
	}
	traces.Emit(b, "3")
	if err := traces.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var spans []span
	decoder := json.NewDecoder(bytes.NewReader(text))
	for {
		var s span
		if err := decoder.Decode(&s); err == io.EOF {
			return spans
		} else if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		spans = append(spans, s)
	}
}

// Goal: a batch's stages and attempts become spans with their times, numbers, parents and failures. Method:
// they are read back from the file.
func TestSpans(t *testing.T) {
	var got strings.Builder
	numbers := map[string]bool{}
	for _, s := range written(t, traced()) {
		if s.SpanContext.TraceID != "ab000000000000000000000000000001" || numbers[s.SpanContext.SpanID] {
			t.Errorf("%s has the numbers %+v", s.Name, s.SpanContext)
		}
		numbers[s.SpanContext.SpanID] = true
		base := time.Unix(1_700_000_000, 0)
		line := fmt.Sprintf("%s %s below %s, %d to %d %s", s.Name,
			strings.TrimLeft(s.SpanContext.SpanID, "0"),
			strings.TrimLeft(s.Parent.SpanID, "0"), s.StartTime.Sub(base), s.EndTime.Sub(base),
			s.Status.Description)
		got.WriteString(strings.TrimSpace(line) + "\n")
	}
	want := strings.Join([]string{
		"receive 1004 below 1000, 100 to 110",
		"decode 1005 below 1000, 120 to 150",
		"rules 1006 below 1000, 150 to 155",
		"wait 1007 below 1000, 110 to 200",
		"answer 1008 below 1001, 300 to 300",
		"send 1001 below 1000, 210 to 300 the connection was lost",
		"retry 1009 below 1000, 300 to 400",
		"answer 100a below 1002, 420 to 500",
		"send 1002 below 1000, 400 to 500 the server answers 503",
		"retry 100b below 1000, 500 to 700",
		"answer 100c below 1003, 720 to 890",
		"send 1003 below 1000, 700 to 890",
		"batch 1000 below , 100 to 900",
	}, "\n") + "\n"
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

// Goal: what could not be delivered is a failure of the whole, and a batch that was never sent has no
// request.
func TestSpansOfALoss(t *testing.T) {
	b := traced()
	b.Count, b.Measured, b.Written, b.Undelivered = 1, 0, 0, 10
	b.Attempts[0] = influx.TraceAttempt{}
	var names []string
	for _, s := range written(t, b) {
		names = append(names, s.Name)
		attributes := map[string]any{}
		for _, a := range s.Attributes {
			attributes[a.Key] = a.Value.Value
		}
		if s.Name != "batch" {
			continue
		}
		want := map[string]any{"culvert.worker": "3", "culvert.sink": "main", "culvert.points": 10.0,
			"culvert.bytes": 500.0, "culvert.points.written": 0.0, "culvert.points.rejected": 0.0,
			"culvert.points.undelivered": 10.0, "culvert.points.set_aside": 0.0}
		if !maps.Equal(attributes, want) || s.Status.Code != "Error" ||
			s.Status.Description != "points rejected: 0, undelivered: 10" {
			t.Errorf("%v, %+v", attributes, s.Status)
		}
	}
	if got := strings.Join(names, " "); got != "receive wait batch" {
		t.Errorf("the spans are %s", got)
	}
}

func TestNewFailure(t *testing.T) {
	f := func(c Config, want string) {
		t.Helper()
		if _, err := New(context.Background(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	f(Config{Exporter: "jaeger"}, `there is none named "jaeger"`)
	f(Config{Exporter: OTLP, Endpoint: "localhost:4317"}, "want http://HOST:PORT")
	f(Config{Exporter: OTLP, Endpoint: "ftp://localhost:4317"}, "want http://HOST:PORT")
	f(Config{Exporter: File, Endpoint: "/nowhere/traces.json"}, "open the file of traces")
}

// Goal: what the spool does of a batch stands below it with its numbers, and a request that carried several
// traces is linked to the one that the server was told. Method: they are read back from the file.
func TestSpansOfTheSpool(t *testing.T) {
	f := func(b *dataplane.Traced, want string) {
		t.Helper()
		var got strings.Builder
		base := time.Unix(1_700_000_000, 0)
		for _, s := range written(t, b) {
			fmt.Fprintf(&got, "%s %s below %s, %d to %d %s", s.Name,
				strings.TrimLeft(s.SpanContext.SpanID, "0"), strings.TrimLeft(s.Parent.SpanID, "0"),
				s.StartTime.Sub(base), s.EndTime.Sub(base), s.Status.Description)
			for _, a := range s.Attributes {
				if a.Key == "culvert.spool" {
					fmt.Fprintf(&got, "%v", a.Value.Value)
				}
			}
			for _, l := range s.Links {
				fmt.Fprintf(&got, "linked to %s", strings.TrimLeft(l.SpanContext.SpanID, "0"))
			}
			got.WriteString("\n")
			if s.SpanContext.TraceID != "ab000000000000000000000000000001" {
				t.Errorf("%s is of trace %s", s.Name, s.SpanContext.TraceID)
			}
		}
		if got.String() != want {
			t.Errorf("got\n%swant\n%s", got.String(), want)
		}
	}
	always := traced()
	always.ToDisk, always.OnDisk, always.Count, always.Measured = 201, 205, 0, 0
	f(always, "receive 1001 below 1000, 100 to 110 \nwait 1002 below 1000, 110 to 200 \n"+
		"spool 1003 below 1000, 201 to 205 disk\nbatch 1000 below , 100 to 900 \n")
	part := func(kind dataplane.TraceKind) *dataplane.Traced {
		b := &dataplane.Traced{Kind: kind, Root: 0x1000, Lane: 1, Settled: 990, Points: 4}
		b.ID, b.Span, b.Opened, b.Sealed = [16]byte{0: 0xab, 15: 1}, 0x2000, 900, 950
		return b
	}
	f(part(dataplane.TraceSpool), "spool 2000 below 1000, 900 to 990 disk\n")
	memory := part(dataplane.TraceSpool)
	memory.InMemory = true
	f(memory, "spool 2000 below 1000, 900 to 990 memory\n")
	full := part(dataplane.TraceSpool)
	full.Undelivered = 4
	f(full, "spool 2000 below 1000, 900 to 990 the spool has no roomnowhere\n")
	replay := part(dataplane.TraceReplay)
	replay.Attempts[0] = influx.TraceAttempt{Begun: 951, Sent: 952, Ended: 960, Code: 503}
	replay.Attempts[1] = influx.TraceAttempt{Begun: 970, Sent: 971, Ended: 980, Code: 204}
	replay.Count = 2
	const requests = "answer 2003 below 2001, 952 to 960 \n" +
		"send 2001 below 2000, 951 to 960 the server answers 503\nretry 2004 below 2000, 960 to 970 \n" +
		"answer 2005 below 2002, 971 to 980 \nsend 2002 below 2000, 970 to 980 \n"
	f(replay, requests+"replay 2000 below 1000, 950 to 990 \n")
	replay.Told, replay.SetAside = dataplane.TraceOf{ID: [16]byte{2}, Root: 0x3000}, 4
	f(replay, requests+"replay 2000 below 1000, 950 to 990 it waits for the next trylinked to 3000\n")
}

// Goal: log lines about a traced batch name its trace, as warnings where points are lost. Method: a log into
// memory at each level.
func TestLogOfTracedBatches(t *testing.T) {
	f := func(level slog.Level, change func(*dataplane.Traced), want ...string) {
		t.Helper()
		var log bytes.Buffer
		traces, err := New(context.Background(), Config{
			Exporter: File, Endpoint: filepath.Join(t.TempDir(), "traces.json"),
			Log:   slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level})),
			Sinks: []Sink{{}, {"main", "http://db:8086"}}, Wall: func() int64 { return 0 },
		})
		if err != nil {
			t.Fatal(err)
		}
		b := traced()
		change(b)
		traces.Emit(b, "3")
		if err := traces.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(log.String(), w) {
				t.Errorf("the log says %q, want %q in it", log.String(), w)
			}
		}
		if len(want) == 0 && log.Len() > 0 {
			t.Errorf("the log says %q", log.String())
		}
	}
	const trace = "trace_id=ab000000000000000000000000000001 sink=main url=http://db:8086 points=10"
	f(slog.LevelInfo, func(*dataplane.Traced) {})
	f(slog.LevelDebug, func(*dataplane.Traced) {}, `level=DEBUG msg="batch settled"`, trace, "worker=3")
	f(slog.LevelInfo, func(b *dataplane.Traced) { b.Rejected = 2 }, `level=WARN msg="batch lost points"`,
		trace, "rejected=2")
	f(slog.LevelInfo, func(b *dataplane.Traced) { b.Kind, b.Undelivered = dataplane.TraceSpool, 1 },
		`level=WARN msg="batch has no room in the spool"`, trace)
	f(slog.LevelDebug, func(b *dataplane.Traced) { b.Kind = dataplane.TraceSpool },
		`level=DEBUG msg="batch waits in the spool"`, trace)
	f(slog.LevelDebug, func(b *dataplane.Traced) { b.Kind = dataplane.TraceReplay },
		`level=DEBUG msg="batch replayed"`, trace)
	f(slog.LevelInfo, func(b *dataplane.Traced) { b.Kind, b.Rejected = dataplane.TraceReplay, 1 },
		`level=WARN msg="batch lost points by replay"`, trace)
}
