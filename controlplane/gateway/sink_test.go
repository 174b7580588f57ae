package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Goal: a sink that stands still is not called up once all points for it are given up, although it accepts
// connections, and it is up again as soon as it is in order, without a point. Method: a server that holds its
// answers back, then refuses, then takes all.
func TestSinkInDoubt(t *testing.T) {
	const hold, refuse, take = 0, 1, 2
	var mode atomic.Int32
	var points atomic.Int32
	g, port := startTowards(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The server notices that a client has gone only once the body is read.
		size, _ := io.Copy(io.Discard, r.Body)
		for mode.Load() == hold {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(time.Millisecond):
			}
		}
		if mode.Load() == refuse {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if size > int64(len("#\n")) {
			points.Add(1)
		}
		w.WriteHeader(http.StatusNoContent)
	}), "timeout: 50ms, retry: {attempts: 1, first: 1ms, max: 1ms}")
	t.Cleanup(func() { mode.Store(take) }) // or the server would wait for its handlers
	sendTo(t, port, "m v=1 1")
	until(t, "the point is given up", func() bool {
		var lost uint64
		for _, w := range g.Snapshot().Workers {
			lost += w.Counters.PointsLost()
		}
		return lost == 1
	})
	until(t, "connected again", func() bool { return g.Snapshot().Sinks[0].Connections > 0 })
	down := func(why string) func() bool {
		return func() bool {
			s := g.Snapshot()
			return !s.Ready && !s.Sinks[0].Up && strings.Contains(s.Sinks[0].LastError, why)
		}
	}
	if !down("no answer within the timeout")() {
		t.Fatalf("a sink that stands still: %+v", g.Snapshot().Sinks[0])
	}
	mode.Store(refuse)
	if err := g.targets[0].ask(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
		t.Fatalf("asked a sink that refuses: %v", err)
	}
	if !down("")() {
		t.Fatalf("a sink that refuses: %+v", g.Snapshot().Sinks[0])
	}
	mode.Store(take)
	until(t, "up again", func() bool { return g.Snapshot().Sinks[0].Up })
	if points.Load() != 0 {
		t.Fatalf("%d points were written to find out", points.Load())
	}
}

// dial is a sender to a gateway's socket on loopback, until the test ends.
func dial(t *testing.T, port int) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// sendTo sends one datagram there.
func sendTo(t *testing.T, port int, text string) net.Conn {
	t.Helper()
	conn := dial(t, port)
	if _, err := fmt.Fprint(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// until polls for what takes milliseconds, or a second where the gateway looks once a second.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
