package traces

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"culvert/dataplane"
	"culvert/dataplane/influx"
)

// oneCollector takes traces by HTTP and by gRPC, as a collector does, and notes what came.
type oneCollector struct {
	collector.UnimplementedTraceServiceServer
	mutex     sync.Mutex
	wrong     error
	taken     int // spans
	token     string
	encodings []string
	times     []time.Time // of requests
	// answers (optional) are the first answers over HTTP; 0 and all further ones mean that it takes all.
	answers []int
	wait    string // Retry-After of these
	// part (optional) is what it says of some that it does not take.
	part *collector.ExportTracePartialSuccess
}

// Export is the service of gRPC.
func (c *oneCollector) Export(ctx context.Context, request *collector.ExportTraceServiceRequest) (
	*collector.ExportTraceServiceResponse, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) == 1 {
		c.token = values[0]
	}
	c.count(request)
	return &collector.ExportTraceServiceResponse{PartialSuccess: c.part}, nil
}

func (c *oneCollector) count(request *collector.ExportTraceServiceRequest) {
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			c.taken += len(scope.Spans)
		}
	}
}

// ServeHTTP is the same over HTTP.
func (c *oneCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.times = append(c.times, time.Now())
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
		var unpacked io.Reader
		if unpacked, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(unpacked)
		}
	}
	c.encodings = append(c.encodings, r.Header.Get("Content-Encoding"))
	request := new(collector.ExportTraceServiceRequest)
	if err == nil {
		err = proto.Unmarshal(body, request)
	}
	if err == nil && (r.Method != http.MethodPost || r.URL.Path != "/v1/traces" ||
		r.Header.Get("Content-Type") != "application/x-protobuf") {
		err = fmt.Errorf("%s %s of %q", r.Method, r.URL, r.Header.Get("Content-Type"))
	}
	if err != nil {
		c.wrong = err
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.token = r.Header.Get("Authorization")
	if len(c.answers) > 0 {
		code := c.answers[0]
		c.answers = c.answers[1:]
		if code != 0 {
			if c.wait != "" {
				w.Header().Set("Retry-After", c.wait)
			}
			w.WriteHeader(code)
			return
		}
	}
	c.count(request)
	answer, err := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: c.part})
	if err != nil {
		c.wrong = err
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.Write(answer)
}

// overHTTP serves it on loopback, with TLS or without, and returns its URL.
func (c *oneCollector) overHTTP(t *testing.T, secure bool) string {
	t.Helper()
	server := httptest.NewUnstartedServer(c)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(server.Close)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	return server.URL + "/v1/traces"
}

// overGRPC is the same by gRPC.
func (c *oneCollector) overGRPC(t *testing.T, secure bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	scheme, options := "http://", []grpc.ServerOption(nil)
	if secure {
		scheme = "https://"
		own := &certificate(t).TLS.Certificates[0]
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(own)))
	}
	server := grpc.NewServer(options...)
	collector.RegisterTraceServiceServer(server, c)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return scheme + listener.Addr().String()
}

// certificate is a server whose certificate is for 127.0.0.1; all of them have the same one.
func certificate(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return server
}

// export sends one batch's spans to an endpoint and returns how many there were, what became of them, and
// what was logged.
func export(t *testing.T, endpoint string) (spans uint64, counts Counts, log string) {
	t.Helper()
	var lines bytes.Buffer
	traces := newTraces(Config{
		Exporter: OTLP, Endpoint: endpoint, Gateway: "gw-7",
		Log:   slog.New(slog.NewTextHandler(&lines, nil)),
		Sinks: []Sink{{}, {"main", "http://db:8086"}}, Wall: func() int64 { return 0 },
	})
	traces.retryFirst = time.Millisecond
	exporter, err := traces.exporter(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := traces.begin(exporter); err != nil {
		t.Fatal(err)
	}
	traces.Emit(traced(), "3")
	if err := traces.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return uint64(traced().Spans()), traces.Counts(), lines.String()
}

// Goal: spans reach a collector over HTTP, also when it refuses them for the moment, which says how long to
// wait; a refusal for good is no reason to try again. Method: OTLP's receiver over HTTP in this process.
func TestExportOverHTTP(t *testing.T) {
	f := func(c *oneCollector, taken bool, requests int, want string) {
		t.Helper()
		spans, counts, log := export(t, c.overHTTP(t, false))
		expected := Counts{Exported: spans}
		if !taken {
			expected = Counts{Failed: spans}
		}
		c.mutex.Lock()
		defer c.mutex.Unlock()
		if counts != expected || c.wrong != nil || taken && c.taken != int(spans) ||
			len(c.times) != requests || !strings.Contains(log, want) || want == "" && log != "" {
			t.Errorf("of %d spans %d are taken by %d requests, want %d: %+v, %v, log %q", spans, c.taken,
				len(c.times), requests, counts, c.wrong, log)
		}
	}
	f(&oneCollector{}, true, 1, "")
	f(&oneCollector{answers: []int{503, 429, 502, 504}}, true, 5, "")
	f(&oneCollector{answers: []int{400}}, false, 1, "400 Bad Request")
	f(&oneCollector{answers: []int{500}}, false, 1, "500 Internal Server Error")
	slow := &oneCollector{answers: []int{429}, wait: "1"}
	f(slow, true, 2, "")
	// It may take longer, on a machine that is busy, but not less.
	if waited := slow.times[1].Sub(slow.times[0]); waited < 990*time.Millisecond {
		t.Errorf("it waits %s, the collector asked for 1s", waited)
	}
}

// Goal: what the environment says of headers and compression is done.
func TestEnvironmentOfExporters(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hush")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	f := func(c *oneCollector, endpoint string) {
		t.Helper()
		spans, counts, log := export(t, endpoint)
		if c.taken != int(spans) || c.token != "Bearer hush" || counts.Exported != spans || log != "" {
			t.Errorf("%s: %d of %d spans taken with %q: %+v, log %q", endpoint, c.taken, spans, c.token,
				counts, log)
		}
	}
	h, g := new(oneCollector), new(oneCollector)
	f(h, h.overHTTP(t, false))
	f(g, g.overGRPC(t, false))
	if len(h.encodings) != 1 || h.encodings[0] != "gzip" {
		t.Errorf("the encodings are %q", h.encodings)
	}
}

// Goal: a collector behind TLS gets traces when the environment names its authority, and none without.
// Method: a server with a certificate that the machine does not trust.
func TestExportOverTLS(t *testing.T) {
	f := func(endpoint func(*oneCollector) string) {
		t.Helper()
		c := new(oneCollector)
		spans, counts, log := export(t, endpoint(c))
		if c.taken != int(spans) || counts.Exported != spans || log != "" {
			t.Errorf("%d of %d spans: %+v, log %q", c.taken, spans, counts, log)
		}
	}
	strange := new(oneCollector)
	spans, counts, log := export(t, strange.overHTTP(t, true))
	if strange.taken != 0 || counts.Failed != spans || !strings.Contains(log, "unknown authority") {
		t.Errorf("%d of %d spans go to a stranger: %+v, log %q", strange.taken, spans, counts, log)
	}
	authority := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.Block{Type: "CERTIFICATE", Bytes: certificate(t).Certificate().Raw}
	if err := os.WriteFile(authority, pem.EncodeToMemory(&block), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", authority)
	f(func(c *oneCollector) string { return c.overHTTP(t, true) })
	f(func(c *oneCollector) string { return c.overGRPC(t, true) })
	// What the environment has for other programs does not make a plain connection another.
	f(func(c *oneCollector) string { return c.overHTTP(t, false) })
	f(func(c *oneCollector) string { return c.overGRPC(t, false) })
}

// Goal: what a collector takes only a part of is counted by parts, and what it only warns of is not lost.
// Method: a receiver that says so, over both transports.
func TestPartialSuccess(t *testing.T) {
	f := func(rejected int64, words string, failed uint64, want string) {
		t.Helper()
		for _, overHTTP := range []bool{false, true} {
			c := &oneCollector{part: &collector.ExportTracePartialSuccess{
				RejectedSpans: rejected, ErrorMessage: words}}
			endpoint := ""
			if overHTTP {
				endpoint = c.overHTTP(t, false)
			} else {
				endpoint = c.overGRPC(t, false)
			}
			spans, got, log := export(t, endpoint)
			if want := (Counts{Exported: spans - failed, Failed: failed}); got != want {
				t.Errorf("http %t, %d rejected: %+v, want %+v", overHTTP, rejected, got, want)
			}
			if !strings.Contains(log, want) || want == "" && log != "" {
				t.Errorf("http %t, %d rejected: log %q, want %q", overHTTP, rejected, log, want)
			}
		}
	}
	spans := int64(traced().Spans())
	f(0, "", 0, "")
	f(3, "too old (all of them)", 3, "traces are lost")
	f(3, "", 3, "traces are lost")
	f(spans, "quota", uint64(spans), "quota")
	f(spans+5, "it cannot count", uint64(spans), "it cannot count")
	f(0, "use a newer version", 0, "has a warning")
}

// Goal: a URL says by its path or port which transport it means.
func TestDestination(t *testing.T) {
	f := func(exporter, endpoint, want string) {
		t.Helper()
		if got, err := Destination(exporter, endpoint); err != nil || got != want {
			t.Errorf("%s to %q: %q, %v, want %q", exporter, endpoint, got, err, want)
		}
	}
	f(OTLP, "", "http://127.0.0.1:4317, OTLP over gRPC")
	f(OTLP, "http://c:4317", "http://c:4317, OTLP over gRPC")
	f(OTLP, "https://c", "https://c, OTLP over gRPC")
	f(OTLP, "http://c:4317/", "http://c:4317/, OTLP over gRPC")
	f(OTLP, "http://c:4318", "http://c:4318/v1/traces, OTLP over HTTP")
	f(OTLP, "https://[::1]:4318/", "https://[::1]:4318/v1/traces, OTLP over HTTP")
	f(OTLP, "https://c/v1/traces", "https://c/v1/traces, OTLP over HTTP")
	f(OTLP, "http://c:4317/otlp/v1/traces", "http://c:4317/otlp/v1/traces, OTLP over HTTP")
	f(File, "", "the file traces.json")
	f(File, "/t.json", "the file /t.json")
}

func TestDestinationFailure(t *testing.T) {
	f := func(exporter, endpoint string) {
		t.Helper()
		got, err := Destination(exporter, endpoint)
		if err == nil || got != "" || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s to %q: %q, %v", exporter, endpoint, got, err)
		}
	}
	f(OTLP, "c:4317")
	f(OTLP, "ftp://c:4317")
	f(OTLP, "http://user:hush@c:4317")
	f(OTLP, "http://user:hush@c:4x/v1/traces")
	f("jaeger", "http://c:4317")
}

// Goal: what is counted where a ring is full, before there are spans, is how many there would have been.
// Method: each kind of trace is made into spans.
func TestSpansAreAsManyAsCounted(t *testing.T) {
	f := func(change func(*dataplane.Traced)) {
		t.Helper()
		b := traced()
		change(b)
		if got, want := len(written(t, b)), b.Spans(); got != want || got == 0 {
			t.Errorf("%d spans, counted as %d", got, want)
		}
	}
	f(func(*dataplane.Traced) {})
	f(func(b *dataplane.Traced) { b.Measured = 0 })
	f(func(b *dataplane.Traced) { b.ToDisk, b.OnDisk, b.Count = 201, 205, 0 })
	f(func(b *dataplane.Traced) { b.Count, b.Attempts[0] = 1, influx.TraceAttempt{} })
	f(func(b *dataplane.Traced) { b.Attempts[1] = influx.TraceAttempt{} })
	f(func(b *dataplane.Traced) { b.Attempts[2].Ended = 0 })
	f(func(b *dataplane.Traced) { b.Kind, b.Root = dataplane.TraceSpool, 5 })
	f(func(b *dataplane.Traced) { b.Kind, b.Root = dataplane.TraceReplay, 5 })
	f(func(b *dataplane.Traced) { b.Kind, b.Root, b.Count = dataplane.TraceReplay, 5, 0 })
}
