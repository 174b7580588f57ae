package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"culvert/controlplane/telemetry"
)

// watch opens a stream. The reader ends with the test.
func watch(t *testing.T, s *Server) (*http.Response, *bufio.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.Addr().String()+"/health/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		response.Body.Close()
		cancel()
	})
	return response, bufio.NewReader(response.Body)
}

// nextEvent reads one event.
func nextEvent(t *testing.T, from *bufio.Reader) (name string, e telemetry.HealthEvent) {
	t.Helper()
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatalf("read an event: %v", err)
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "":
			return name, e
		case strings.HasPrefix(line, "event: "):
			name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			if err := json.Unmarshal([]byte(line[len("data: "):]), &e); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("a line that is no part of an event: %q", line)
		}
	}
}

// Goal: a viewer gets the state at once and then once a second, by its name, with figures and reasons.
func TestHealthStream(t *testing.T) {
	var ready atomic.Bool
	var points atomic.Uint64
	ready.Store(true)
	s := start(t, Config{Snapshot: func() *telemetry.Snapshot {
		b := busy()
		b.Taken, b.Ready = time.Now(), ready.Load()
		if !b.Ready {
			b.Reasons = []string{"the sink is away"}
		}
		b.Workers[0].Counters.PointsReceived[0] = points.Load()
		return b
	}})
	response, events := watch(t, s)
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("it is %s", kind)
	}
	name, first := nextEvent(t, events)
	if name != "ready" || first.State != telemetry.Ready || first.PointsPerSecond != nil {
		t.Errorf("first %s: %+v", name, first)
	}
	points.Store(1_000_000)
	name, second := nextEvent(t, events)
	gap := second.Taken.Sub(first.Taken)
	if name != "ready" || second.PointsPerSecond == nil || *second.PointsPerSecond < 1e6/limit.Seconds() {
		t.Errorf("second %s after %s: %+v", name, gap, second)
	}
	ready.Store(false)
	name, third := nextEvent(t, events)
	if name != "unready" || len(third.Reasons) != 1 || third.Reasons[0] != "the sink is away" {
		t.Errorf("third %s: %+v", name, third)
	}
}

// writesOf is a listener that counts what its connections write, in calls.
type writesOf struct {
	net.Listener
	writes *atomic.Int32
}

func (l writesOf) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countedConn{conn, l.writes}, err
}

type countedConn struct {
	net.Conn
	writes *atomic.Int32
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// Goal: an event is one write to its viewer, however long it is: writes wake the viewer, and are most of what
// one more viewer costs. Method: a stream whose events are longer than the server's buffers, read as bytes.
func TestAnEventIsOneWrite(t *testing.T) {
	var writes atomic.Int32
	reject := telemetry.Reject{Text: strings.Repeat("motor,machine=m1 temperature=1x ", 10)}
	config := Config{Snapshot: busy, Rejects: func(n int) []telemetry.Reject { return repeated(reject, n) }}
	s := start(t, config, func(s *Server) { s.listener = writesOf{s.listener, &writes} })
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /api/v1/stream HTTP/1.1\r\nHost: culvert\r\n\r\n")
	lines, length := bufio.NewReader(conn), 0
	event := func() {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if length = max(length, len(line)); strings.HasPrefix(line, "data: ") {
				return
			}
		}
	}
	event() // The first one has the answer's head before it.
	before := writes.Load()
	event()
	event()
	if got := writes.Load() - before; got != 2 || length < 10_000 {
		t.Errorf("two events of %d bytes took %d writes", length, got)
	}
}

// Goal: one event has all that the dashboard shows, and shows the same moment as the health events.
func TestPicturesShowEverything(t *testing.T) {
	s := start(t, Config{
		Snapshot: busy,
		Alerts:   func(n int) []telemetry.Alert { return make([]telemetry.Alert, n) },
		Rejects:  func(n int) []telemetry.Reject { return make([]telemetry.Reject, n) },
	})
	text, _, err := s.event(wholeState)
	if err != nil {
		t.Fatal(err)
	}
	body, found := strings.CutPrefix(string(text), "event: picture\ndata: ")
	var p telemetry.Picture
	if err := json.Unmarshal([]byte(body), &p); err != nil || !found {
		t.Fatalf("%v in %.100s", err, text)
	}
	if p.Health == nil || p.Status == nil || p.Status.Gateway != "gw-7" || p.Health.Taken != p.Status.Taken ||
		len(p.Alerts) != pictureList || len(p.Rejects) != pictureList {
		t.Errorf("%.300s", body)
	}
	again, _, err := s.event(wholeState)
	if err != nil || &again[0] != &text[0] {
		t.Errorf("an event was made anew for another viewer, %v", err)
	}
	health, _, err := s.event(healthOnly)
	if err != nil || !strings.HasPrefix(string(health), "event: degraded\n") &&
		!strings.HasPrefix(string(health), "event: ready\n") {
		t.Errorf("%v, %.100s", err, health)
	}
}

// Goal: viewers share snapshots, more than are allowed are told so, and a stop does not wait for them.
func TestHealthStreamIsBounded(t *testing.T) {
	var taken atomic.Int32
	s := start(t, Config{Snapshot: func() *telemetry.Snapshot {
		taken.Add(1)
		return &telemetry.Snapshot{Ready: true}
	}})
	begun := time.Now()
	for range viewersMax {
		_, events := watch(t, s)
		nextEvent(t, events)
	}
	most := int32(time.Since(begun)/streamShare) + 1
	if n := taken.Load(); n > most {
		t.Errorf("%d snapshots for %d viewers, want %d at most", n, viewersMax, most)
	}
	code, body, _ := ask(t, s, "GET", "/health/stream")
	if code != 503 || !strings.Contains(body, "viewers") {
		t.Errorf("one viewer more: %d %s", code, body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("stop with viewers: %v", err)
	}
}

// Goal: viewers who came at different times come to share each event: what twenty of them cost is what one
// costs, but for the sending. Method: two viewers half an interval apart; after their second events no
// snapshot is taken but one an interval.
func TestViewersComeToShareEvents(t *testing.T) {
	var taken atomic.Int32
	s := start(t, Config{Snapshot: func() *telemetry.Snapshot {
		taken.Add(1)
		return &telemetry.Snapshot{Ready: true}
	}})
	var streams []*bufio.Reader
	for i := range 2 {
		if i > 0 {
			time.Sleep(streamShare + streamShare/10)
		}
		_, events := watch(t, s)
		nextEvent(t, events)
		streams = append(streams, events)
	}
	rounds := func(n int) {
		for range n {
			for _, events := range streams {
				nextEvent(t, events)
			}
		}
	}
	rounds(1)
	begun, before := time.Now(), taken.Load()
	rounds(2)
	if n, most := taken.Load()-before, int32(time.Since(begun)/streamInterval)+1; n > most {
		t.Errorf("%d snapshots for two viewers, want %d at most", n, most)
	}
}

// Goal: the first question begins the recording, the second gets a trace, and the end of the server ends it.
func TestFlightRecorder(t *testing.T) {
	for range 2 {
		s := start(t, Config{})
		code, body, _ := ask(t, s, "GET", "/debug/flight")
		if code != 202 || !strings.Contains(body, `"recording": true`) {
			t.Errorf("first: %d %s", code, body)
		}
		code, body, header := ask(t, s, "GET", "/debug/flight")
		// The magic of Go's trace format.
		if code != 200 || !strings.HasPrefix(body, "go 1.") || len(body) < 1000 ||
			header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("second: %d, %d bytes: %.20q", code, len(body), body)
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
}
