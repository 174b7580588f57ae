package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// figures are those of the log line that ends a drain.
type figures struct {
	Message  string `json:"msg"`
	Received uint64 `json:"points_received"`
	Written  uint64 `json:"points_written"`
	Dropped  uint64 `json:"points_dropped"`
	Residue  int64  `json:"residue"`
}

func drained(t *testing.T, g *gateway) figures {
	t.Helper()
	for line := range strings.Lines(g.output.String()) {
		var f figures
		if json.Unmarshal([]byte(line), &f) == nil && f.Message == "drained" {
			return f
		}
	}
	t.Fatalf("no line says what was drained: %q", g.output)
	return figures{}
}

// Goal: a stop under load ends and loses nothing that was received. Method: SIGTERM while packets come by XDP
// and, without a pause, by the kernel's socket; the sink's lines against the ledger's.
func TestPrivStopUnderLoad(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	// Nobody serves queue 1: those of the sender's flows that use it go to the slow path for ever.
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ", queues: [0]"))
	g.ready()
	for range 2 {
		newFlood(t, lab, 16, 0)
	}
	g.steers()
	eventually(t, "packets come by the kernel's socket", func() error {
		s, err := g.status()
		if err == nil && s.Packets.Kernel < 100 {
			err = fmt.Errorf("%d packets", s.Packets.Kernel)
		}
		return err
	})
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if xdpOf(t, lab) {
		t.Fatal("a program is still attached")
	}
	// Of such a flood some may have found no free batch; that was counted before the stop.
	f, lines := drained(t, g), uint64(len(sink.all()))
	if f.Dropped != 0 || f.Residue != 0 || lines != f.Written {
		t.Fatalf("%+v, %d lines in the sink", f, lines)
	}
}

// stuckSink is a sink that takes requests and does not answer until the test ends.
func stuckSink(t *testing.T, lab *testenv.Lab) (sink *recorder, stuck *atomic.Bool) {
	t.Helper()
	sink, stuck = newRecorder(t, lab), new(atomic.Bool)
	end := make(chan struct{})
	sink.refuse = func(http.ResponseWriter) bool {
		if stuck.Load() {
			<-end
		}
		return stuck.Load()
	}
	t.Cleanup(func() { close(end) })
	return sink, stuck
}

// Goal: a stuck sink holds a stop up for a bounded time, in which the gateway answers questions and says that
// it is stopping; what was not delivered is counted. Method: a sink that hangs, questions until the end.
func TestPrivStopWithAStuckSink(t *testing.T) {
	need(t)
	besideOthers(t)
	lab := testenv.NewLab(t, 1)
	sink, stuck := stuckSink(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	fmt.Fprint(conn, "m v=1 1")
	g.settled(1)
	stuck.Store(true)
	for n := range 10 {
		fmt.Fprintf(conn, "m v=1 %d", n+2)
	}
	eventually(t, "received", func() error {
		s, err := g.status()
		if err == nil && s.Ledger.Received != 11 {
			err = fmt.Errorf("%d points", s.Ledger.Received)
		}
		return err
	})
	g.command.Process.Signal(syscall.SIGTERM)
	eventually(t, "the gateway says that it is stopping", func() error {
		code, body, err := g.get("/health/ready")
		if err != nil || code != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
			return fmt.Errorf("%d %s %v", code, body, err)
		}
		return nil
	})
	answers := 0
	for running := true; running; {
		s, err := g.status()
		if err == nil && (s.Ledger.Received != 11 || s.Ledger.Residue != 0) {
			t.Fatalf("while draining: %+v", s.Ledger)
		}
		if err == nil {
			answers++
		}
		select {
		case <-g.exited:
			running = false
		case <-time.After(200 * time.Millisecond):
		}
	}
	if code := g.wait(); code != 0 || answers < 3 {
		t.Fatalf("exit code %d, %d answers while draining", code, answers)
	}
	if f := drained(t, g); f.Received != 11 || f.Written != 1 || f.Dropped != 10 || f.Residue != 0 {
		t.Fatalf("%+v", f)
	}
}

// Goal: a second signal ends a gateway at once that waits for a stuck sink. Method: as above, two signals.
func TestPrivSecondSignal(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink, stuck := stuckSink(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	stuck.Store(true)
	fmt.Fprint(udpSender(t, lab, lab.GatewayIPv4), "m v=1 1")
	eventually(t, "received", func() error {
		s, err := g.status()
		if err == nil && s.Ledger.InFlight != 1 {
			err = fmt.Errorf("%+v", s.Ledger)
		}
		return err
	})
	g.command.Process.Signal(syscall.SIGTERM)
	eventually(t, "stopping", func() error {
		if !strings.Contains(g.output.String(), "stopping") {
			return fmt.Errorf("%q", g.output)
		}
		return nil
	})
	g.command.Process.Signal(syscall.SIGTERM)
	g.wait()
	s := g.command.ProcessState.Sys().(syscall.WaitStatus)
	if !s.Signaled() || s.Signal() != syscall.SIGTERM {
		t.Fatalf("it ended by %v", g.command.ProcessState)
	}
	if strings.Contains(g.output.String(), "drained") || xdpOf(t, lab) {
		t.Fatalf("%q, still attached: %t", g.output, xdpOf(t, lab))
	}
}
