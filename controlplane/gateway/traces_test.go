package gateway

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
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

// Goal: a batch that the server refuses once becomes one trace, from its packet to its retry, in a real OTLP
// receiver, and the server is told its place in it. Method: the receiver's gRPC service in this process; a
// server that answers 503 once and notes the header.
func TestTracesReachACollector(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var received receiver
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, &received)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	var mutex sync.Mutex
	var parents []string
	sink := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		if r.URL.Path != "/write" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		parents = append(parents, r.Header.Get("Traceparent"))
		if len(parents) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	g, port := startWith(t, sink, "retry: {first: 10ms}",
		"traces: {exporter: otlp, one_in: 1, endpoint: 'http://"+listener.Addr().String()+"'}\n")
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := time.Now()
	if _, err := fmt.Fprint(conn, "motor,machine=m1 t=1 5\nmotor,machine=m2 t=2 6"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); len(g.Snapshot().Workers) > 0; {
		var written uint64
		for _, w := range g.Snapshot().Workers {
			written += w.Counters.PointsWritten
		}
		if written == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the points do not arrive")
		}
		time.Sleep(10 * time.Millisecond)
	}
	// The stop sends what is left.
	if err := g.Stop(); err != nil {
		t.Fatal(err)
	}
	received.mutex.Lock()
	defer received.mutex.Unlock()
	mutex.Lock()
	defer mutex.Unlock()
	if received.service != "culvert" || len(parents) != 2 {
		t.Fatalf("service %q, requests %q", received.service, parents)
	}
	checkTrace(t, received.spans, parents, before)
}

// checkTrace looks at one trace with two attempts.
func checkTrace(t *testing.T, spans []*tracepb.Span, parents []string, before time.Time) {
	t.Helper()
	var names, told []string
	var root *tracepb.Span
	for _, s := range spans {
		names = append(names, s.Name)
		if s.Name == "batch" {
			root = s
		}
	}
	slices.Sort(names)
	const want = "answer answer batch decode receive retry rules send send wait"
	if got := strings.Join(names, " "); got != want || root == nil {
		t.Fatalf("the spans are %s, want %s", got, want)
	}
	for _, s := range spans {
		begun, ended := time.Unix(0, int64(s.StartTimeUnixNano)), time.Unix(0, int64(s.EndTimeUnixNano))
		if string(s.TraceId) != string(root.TraceId) || ended.Before(begun) ||
			begun.Before(before.Add(-time.Second)) || ended.After(time.Now().Add(time.Second)) ||
			s.StartTimeUnixNano < root.StartTimeUnixNano || s.EndTimeUnixNano > root.EndTimeUnixNano {
			t.Errorf("%s from %s to %s in a trace from %d to %d", s.Name, begun, ended,
				root.StartTimeUnixNano, root.EndTimeUnixNano)
		}
		if s.Name != "batch" && s.Name != "answer" && string(s.ParentSpanId) != string(root.SpanId) {
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
