package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// limit is how long a test waits for what takes milliseconds.
const limit = 20 * time.Second

// start serves until the test ends; changes are made before.
func start(t *testing.T, c Config, changes ...func(*Server)) *Server {
	t.Helper()
	c.Listen, c.Log = "127.0.0.1:0", slog.New(slog.DiscardHandler)
	if c.Snapshot == nil {
		c.Snapshot = func() *telemetry.Snapshot { return &telemetry.Snapshot{Ready: true, Gateway: "gw-7"} }
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(s)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask makes a request over a connection of its own.
func ask(t *testing.T, s *Server, method, path string) (code int, body string, header http.Header) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: limit}
	request, err := http.NewRequest(method, "http://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text), response.Header
}

func TestPaths(t *testing.T) {
	s := start(t, Config{})
	f := func(method, path string, code int, kind, part string) {
		t.Helper()
		got, body, header := ask(t, s, method, path)
		is := header.Get("Content-Type")
		if got != code || !strings.HasPrefix(is, kind) || !strings.Contains(body, part) {
			t.Errorf("%s %s: %d, %q, want %d, %q and %q in\n%.300s",
				method, path, got, is, code, kind, part, body)
		}
	}
	const asJSON = "application/json"
	f("GET", "/", 200, "text/plain", "gateway gw-7")
	f("GET", "/metrics", 200, "text/plain", "\nculvert_ready 1\n")
	f("GET", "/metrics", 200, "text/plain", "\ngo_goroutines ")
	f("GET", "/metrics", 200, "text/plain", "\ngo_sched_latencies_seconds_count ")
	f("GET", "/metrics", 200, "text/plain", "\ngo_sched_pauses_total_gc_seconds_count ")
	f("GET", "/metrics", 200, "text/plain", "\ngo_memory_classes_heap_objects_bytes ")
	f("GET", "/metrics", 200, "text/plain", "\nprocess_open_fds ")
	f("HEAD", "/health/stream", 200, "text/event-stream", "")
	f("GET", "/health/live", 200, asJSON, `"live": true`)
	f("GET", "/health/ready", 200, asJSON, `"ready": true`)
	f("GET", "/api/v1/status", 200, asJSON, `"gateway": "gw-7"`)
	f("GET", "/api/v1/rules", 200, asJSON, `"rules": []`)
	f("GET", "/api/v1/alerts", 200, asJSON, `"alerts": []`)
	f("GET", "/api/v1/rejects", 200, asJSON, `"rejects": []`)
	f("HEAD", "/api/v1/stream", 200, "text/event-stream", "")
	f("GET", "/debug/pprof/", 200, "text/html", "goroutine")
	f("GET", "/debug/pprof/goroutine?debug=1", 200, "text/plain", "goroutine profile")
	f("GET", "/debug/pprof/cmdline", 200, "text/plain", "test")
	f("HEAD", "/api/v1/status", 200, asJSON, "")
	f("GET", "/nothing", 404, asJSON, `"error": "there is nothing at /nothing"`)
	f("GET", "/metrics/", 404, asJSON, "error")
	f("GET", "/debug/vars", 404, asJSON, "error")
	f("POST", "/api/v1/status", 405, asJSON, `"error": "/api/v1/status takes GET, not POST"`)
	f("DELETE", "/nothing", 404, asJSON, "error")
	if _, _, header := ask(t, s, "PUT", "/metrics"); header.Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow: %q", header.Get("Allow"))
	}
}

func TestStatusIsTheDocument(t *testing.T) {
	_, body, _ := ask(t, start(t, Config{}), "GET", "/api/v1/status")
	var status telemetry.Status
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&status); err != nil || status.Gateway != "gw-7" || !status.Ready {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestHealthSaysWhyNot(t *testing.T) {
	s := start(t, Config{
		Live: func() error { return errors.New("worker 0 shows no life for 7 s") },
		Snapshot: func() *telemetry.Snapshot {
			return &telemetry.Snapshot{Reasons: []string{"sink main does not take points"}}
		},
	})
	code, body, _ := ask(t, s, "GET", "/health/live")
	if code != 503 || !strings.Contains(body, "no life for 7 s") {
		t.Errorf("live: %d %s", code, body)
	}
	code, body, _ = ask(t, s, "GET", "/health/ready")
	var answer struct {
		Ready   bool
		Reasons []string
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != 503 || answer.Ready ||
		len(answer.Reasons) != 1 {
		t.Errorf("ready: %d %s, %v", code, body, err)
	}
	if code, _, _ = ask(t, s, "GET", "/"); code != 200 {
		t.Errorf("the page: %d", code)
	}
}

func TestBusyPortIsNamed(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	address := busy.Addr().String()
	_, err = New(Config{Listen: address, Log: slog.New(slog.DiscardHandler)})
	want := fmt.Sprintf("listen on http.listen %q: address already in use: another gateway runs, or another "+
		"program has the port", address)
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err = New(Config{Listen: "192.0.2.1:1", Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("an address of another host may be listened on")
	}
}

// Goal: a flood of requests takes one snapshot at a time.
func TestOneSnapshotAtATime(t *testing.T) {
	var inside, most atomic.Int32
	s := start(t, Config{Snapshot: func() *telemetry.Snapshot {
		now := inside.Add(1)
		for {
			seen := most.Load()
			if now <= seen || most.CompareAndSwap(seen, now) {
				break
			}
		}
		inside.Add(-1)
		return &telemetry.Snapshot{}
	}})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			ask(t, s, "GET", []string{"/metrics", "/api/v1/status", "/", "/health/ready"}[i%4])
		})
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d snapshots at once", most.Load())
	}
}

func TestShutdownFinishesRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := start(t, Config{Snapshot: func() *telemetry.Snapshot {
		once.Do(func() { close(entered) })
		<-release
		return &telemetry.Snapshot{Gateway: "last"}
	}})
	body := make(chan string)
	go func() {
		_, text, _ := ask(t, s, "GET", "/api/v1/status")
		body <- text
	}()
	<-entered
	done := make(chan error)
	go func() { done <- s.Shutdown(context.Background()) }()
	close(release)
	if text := <-body; !strings.Contains(text, "last") {
		t.Errorf("the request under way got %q", text)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Errorf("a second Shutdown: %v", err)
	}
}

func TestShutdownWithoutServeFreesThePort(t *testing.T) {
	s, err := New(Config{Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
}

func TestShutdownIsBounded(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := start(t, Config{Snapshot: func() *telemetry.Snapshot {
		close(entered)
		<-release
		return &telemetry.Snapshot{}
	}})
	t.Cleanup(func() { close(release) })
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown says %v", err)
	}
	conn.SetReadDeadline(time.Now().Add(limit))
	_, err = bufio.NewReader(conn).ReadByte()
	if err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection is still open: %v", err)
	}
}

// Goal: everything that is exposed, the runtime's metrics too, is clean by Prometheus' own tool.
func TestPromtoolFindsNothing(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		testenv.Skip(t, "promtool is missing (Debian: prometheus)")
	}
	_, body, _ := ask(t, start(t, Config{}), "GET", "/metrics")
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(body)
	if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
