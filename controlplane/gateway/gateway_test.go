package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"culvert/controlplane/config"
	"culvert/controlplane/telemetry"
)

// startOnLoopback starts a gateway that serves loopback by kernel sockets, towards a sink that takes all.
func startOnLoopback(t *testing.T) (*Gateway, int) {
	t.Helper()
	return startTowards(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusNoContent)
	}), "connections: 2")
}

// startTowards is the same towards any sink; more are keys of it.
func startTowards(t *testing.T, handler http.Handler, more string) (*Gateway, int) {
	t.Helper()
	return startWith(t, handler, more, "")
}

// startWith is the same with further sections of the configuration.
func startWith(t *testing.T, handler http.Handler, more, sections string) (*Gateway, int) {
	t.Helper()
	sink := httptest.NewServer(handler)
	t.Cleanup(sink.Close)
	free, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	port := free.LocalAddr().(*net.UDPAddr).Port
	free.Close()
	file := filepath.Join(t.TempDir(), "culvert.yaml")
	text := fmt.Sprintf("interfaces: [{name: lo, mode: socket}]\nlisteners: [{name: plant, port: %d}]\n"+
		"sinks: [{name: main, urls: [%q], database: telemetry, %s}]\n%s", port, sink.URL, more, sections)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, wrong := config.Load(file)
	if len(wrong) > 0 {
		t.Fatal(wrong[0])
	}
	g, err := Start(context.Background(), Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Stop() })
	return g, port
}

// Goal: whoever asks for the state while the gateway stops, and after, gets it; what came in is still shown
// then, and all of it accounted for. Method: several goroutines ask; the race detector watches.
func TestSnapshotDuringStop(t *testing.T) {
	g, port := startOnLoopback(t)
	conn := dial(t, port)
	for i := range 100 {
		if _, err := fmt.Fprintf(conn, "m v=%d %d", i, i+1); err != nil {
			t.Fatal(err)
		}
	}
	stopped := make(chan struct{})
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() {
			for {
				g.Snapshot()
				select {
				case <-stopped:
					return
				default:
				}
			}
		})
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
	close(stopped)
	asking.Wait()
	s := g.Snapshot()
	var received, out uint64
	for _, w := range s.Workers {
		received, out = received+w.Counters.PointsIn(), out+w.Counters.PointsOut()
	}
	if received != 100 || out != received {
		t.Fatalf("%d points received, %d accounted for, of 100", received, out)
	}
}

// Goal: what was rejected can be asked for, with its source and place.
func TestRejectsAreKept(t *testing.T) {
	g, port := startOnLoopback(t)
	conn := sendTo(t, port, "motor,machine=m1 t=1x")
	var kept []telemetry.Reject
	for deadline := time.Now().Add(20 * time.Second); len(kept) == 0; kept = g.Rejects(10) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is kept")
		}
		time.Sleep(10 * time.Millisecond)
	}
	r := kept[0]
	if len(kept) != 1 || r.Stage != "decode" || r.Reason == "" || r.Text != "motor,machine=m1 t=1x" ||
		r.Source != conn.LocalAddr().String() || r.Listener != "plant" || r.Column == 0 || r.Total != 1 ||
		time.Since(r.Taken) > time.Minute {
		t.Errorf("%+v", kept)
	}
}

// Goal: pinned workers and the rest of the gateway never take turns. Method: Go must let as many goroutines
// run at once as there are workers, and two more.
func TestWorkersDoNotTakeTurns(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	g, _ := startOnLoopback(t)
	if got, want := runtime.GOMAXPROCS(0), len(g.plan.Workers)+2; got < want {
		t.Fatalf("%d goroutines run at once, want %d", got, want)
	}
}
