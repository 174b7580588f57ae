package gateway

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// receiver is OTLP's trace service, which every collector has.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mutex   sync.Mutex
	spans   []*tracepb.Span
	service string
}

func (r *receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (
	*collector.ExportTraceServiceResponse, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				r.service = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			r.spans = append(r.spans, scope.Spans...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// ServeHTTP is the same over HTTP.
func (r *receiver) ServeHTTP(w http.ResponseWriter, post *http.Request) {
	request := new(collector.ExportTraceServiceRequest)
	body, err := io.ReadAll(post.Body)
	if err == nil {
		err = proto.Unmarshal(body, request)
	}
	if err != nil || post.URL.Path != "/v1/traces" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.Export(post.Context(), request)
}

// transports are OTLP's, as names of tests.
var transports = [...]string{"grpc", "http"}

// newReceiver serves OTLP on loopback over one of its transports and returns its URL.
func newReceiver(t *testing.T, transport string) (*receiver, string) {
	t.Helper()
	if transport == "http" {
		received := new(receiver)
		server := httptest.NewServer(received)
		t.Cleanup(server.Close)
		return received, server.URL + "/v1/traces"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	received := new(receiver)
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, received)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return received, "http://" + listener.Addr().String()
}

// tracedServer is a database that refuses as many writes by 503 as it is told, and notes what it was told of
// traces.
type tracedServer struct {
	mutex   sync.Mutex
	refuse  int
	parents []string
}

func (s *tracedServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if r.URL.Path != "/write" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.parents = append(s.parents, r.Header.Get("Traceparent"))
	if s.refuse--; s.refuse >= 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// sendTwoPoints has a gateway write two points and stops it, which sends what is left of traces.
func sendTwoPoints(t *testing.T, g *Gateway, port int) {
	t.Helper()
	sendTo(t, port, "motor,machine=m1 t=1 5\nmotor,machine=m2 t=2 6")
	for deadline := time.Now().Add(20 * time.Second); ; {
		snapshot, written := g.Snapshot(), uint64(0)
		for _, w := range snapshot.Workers {
			written += w.Counters.PointsWritten
		}
		for i := range snapshot.Sinks {
			if spool := snapshot.Sinks[i].Spool; spool != nil {
				written += spool.Replayed
			}
		}
		if written == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the points do not arrive")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := g.Stop(); err != nil {
		t.Fatal(err)
	}
}

// Goal: a batch that the server refuses once becomes one trace, from its packet to its retry, in a real OTLP
// receiver, and the server is told its place in it. Method: the receiver's services in this process; a
// server that answers 503 once and notes the header.
func TestTracesReachACollector(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			received, endpoint := newReceiver(t, transport)
			server := &tracedServer{refuse: 1}
			before := time.Now()
			g, port := startWith(t, server, "retry: {first: 10ms}",
				"traces: {exporter: otlp, one_in: 1, endpoint: '"+endpoint+"'}\n")
			sendTwoPoints(t, g, port)
			received.mutex.Lock()
			defer received.mutex.Unlock()
			if received.service != "culvert" || len(server.parents) != 2 {
				t.Fatalf("service %q, requests %q", received.service, server.parents)
			}
			checkTrace(t, received.spans, server.parents, before,
				"answer answer batch decode receive retry rules send send wait")
		})
	}
}

// Goal: the trace of a batch that no attempt delivers goes on through the spool to the request that does,
// with the same number, and the server is told it there too. Method: as above; the server refuses all
// attempts of the worker, so that the third request is the spool's.
func TestTracesGoThroughTheSpool(t *testing.T) {
	for _, mode := range []string{"on_failure", "always"} {
		t.Run(mode, func(t *testing.T) {
			received, endpoint := newReceiver(t, "grpc")
			server := &tracedServer{refuse: 2}
			before := time.Now()
			g, port := startWith(t, server, "retry: {attempts: 2, first: 10ms, max: 10ms}",
				"traces: {exporter: otlp, one_in: 1, endpoint: '"+endpoint+"'}\n"+
					"spool: {dir: '"+t.TempDir()+"', mode: "+mode+"}\n")
			sendTwoPoints(t, g, port)
			received.mutex.Lock()
			defer received.mutex.Unlock()
			checkTrace(t, received.spans, server.parents, before,
				"answer answer answer batch decode receive replay retry rules send send send spool wait")
		})
	}
}

// checkTrace looks at one trace with these spans. What the spool does comes after the batch's own end.
func checkTrace(t *testing.T, spans []*tracepb.Span, parents []string, before time.Time, want string) {
	t.Helper()
	var names, told []string
	var root, replay *tracepb.Span
	for _, s := range spans {
		names = append(names, s.Name)
		switch s.Name {
		case "batch":
			root = s
		case "replay":
			replay = s
		}
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != want || root == nil {
		t.Fatalf("the spans are %s, want %s", got, want)
	}
	slices.SortFunc(spans, func(a, b *tracepb.Span) int {
		return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano)
	})
	for _, s := range spans {
		begun, ended := time.Unix(0, int64(s.StartTimeUnixNano)), time.Unix(0, int64(s.EndTimeUnixNano))
		if string(s.TraceId) != string(root.TraceId) || ended.Before(begun) ||
			begun.Before(before.Add(-time.Second)) || ended.After(time.Now().Add(time.Second)) ||
			s.StartTimeUnixNano < root.StartTimeUnixNano ||
			replay == nil && s.EndTimeUnixNano > root.EndTimeUnixNano {
			t.Errorf("%s from %s to %s in a trace from %d to %d", s.Name, begun, ended,
				root.StartTimeUnixNano, root.EndTimeUnixNano)
		}
		parent := root
		if replay != nil && (s.Name == "send" || s.Name == "retry") &&
			s.StartTimeUnixNano >= replay.StartTimeUnixNano {
			parent = replay
		}
		if s.Name != "batch" && s.Name != "answer" && string(s.ParentSpanId) != string(parent.SpanId) {
			t.Errorf("%s stands below %x", s.Name, s.ParentSpanId)
		}
		if s.Name == "send" {
			told = append(told, "00-"+hex.EncodeToString(s.TraceId)+"-"+hex.EncodeToString(s.SpanId)+"-01")
		}
	}
	if !slices.Equal(told, parents) {
		t.Errorf("the server was told %q, the spans are %q", parents, told)
	}
}

// Goal: a collector that is not there loses traces and nothing else: points arrive, and the stop is none that
// failed. Method: a port that nobody listens on,
// by both transports.
func TestTracesWithoutACollector(t *testing.T) {
	for _, path := range []string{"", "/v1/traces"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		endpoint := "http://" + listener.Addr().String() + path
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		g, port := startWith(t, &tracedServer{}, "retry: {first: 10ms}",
			"traces: {exporter: otlp, one_in: 1, endpoint: '"+endpoint+"'}\n")
		// Fails the test if the stop fails.
		sendTwoPoints(t, g, port)
		if shown := g.Snapshot().Traces; shown == nil || shown.Exported != 0 {
			t.Errorf("spans that nobody took: %+v", shown)
		}
	}
}

// Goal: traces that find no room on their way to the exporter are counted and shown, and all others arrive.
// Method: whoever takes them from the workers is held up until the ring of one of them is full.
func TestTracesLeftOutAreShown(t *testing.T) {
	received, endpoint := newReceiver(t, "http")
	g, port := startWith(t, &tracedServer{}, "retry: {first: 10ms}",
		"traces: {exporter: otlp, one_in: 1, endpoint: '"+endpoint+"'}\n")
	if shown := g.Snapshot().Traces; shown == nil || *shown != (telemetry.Traces{}) {
		t.Fatalf("before the first packet: %+v", shown)
	}
	conn := dial(t, port)
	full := func() bool {
		for _, ring := range g.traced {
			if ring.LeftOut() > 0 {
				return true
			}
		}
		return false
	}
	// What takes traces needs it, too; workers do not.
	g.growing.Lock()
	deadline := time.Now().Add(30 * time.Second)
	for i := 0; !full() && time.Now().Before(deadline); i++ {
		fmt.Fprintf(conn, "m v=%d %d", i, i+1)
		time.Sleep(time.Millisecond)
	}
	g.growing.Unlock()
	if err := g.Stop(); err != nil {
		t.Fatal(err)
	}
	shown := g.Snapshot().Traces
	received.mutex.Lock()
	defer received.mutex.Unlock()
	if shown.LeftOut == 0 || shown.Dropped+shown.Failed != 0 ||
		shown.Exported < 5*dataplane.TraceSlots || int(shown.Exported) != len(received.spans) {
		t.Errorf("%+v, the collector has %d spans", *shown, len(received.spans))
	}
}
