package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// Goal: a signal that comes while the gateway starts ends it cleanly, wherever it was. Method: SIGTERM after
// ever longer times, until one comes after the start.
func TestPrivSignalWhileStarting(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	config := configure(t, lab, sink.url, "")
	for wait := time.Duration(0); ; wait += 3 * time.Millisecond {
		g := start(t, lab, "run", "-c", config)
		time.Sleep(wait)
		code := g.stop()
		ended := g.command.ProcessState.Sys().(syscall.WaitStatus)
		// In its first moments nothing is there yet that would have to be undone.
		early := ended.Signaled() && ended.Signal() == syscall.SIGTERM && g.output.String() == ""
		if code != 0 && !early {
			t.Fatalf("SIGTERM after %s: %v, %q", wait, g.command.ProcessState, g.output)
		}
		if xdpOf(t, lab) {
			t.Fatalf("SIGTERM after %s: a program is still attached", wait)
		}
		if strings.Contains(g.output.String(), "running") {
			return
		}
	}
}

// Goal: packets that come while the gateway starts are taken, by the slow path until XDP takes over, and none
// is turned away because its listener is not known yet. Method: a sender that never pauses, several starts.
func TestPrivPacketsWhileStarting(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	config := configure(t, lab, sink.url, "")
	conn := udpSender(t, lab, lab.GatewayIPv4)
	// An emulated CPU would do nothing else.
	pause := testenv.Sized(0, 200*time.Microsecond)
	var stop atomic.Bool
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for !stop.Load() {
			// Refused while no gateway runs.
			_, _ = conn.Write([]byte("early v=1 1"))
			time.Sleep(pause)
		}
	}()
	defer func() { stop.Store(true); <-sent }()
	// A sender without a CPU at the right moment leaves a start untested; then there are more of them.
	for tested, starts := 0, 0; starts < 2 || tested == 0; starts++ {
		if starts == 40 {
			t.Fatalf("in none of %d starts a packet came by the kernel's socket", starts)
		}
		g := start(t, lab, "run", "-c", config)
		g.ready()
		var s *telemetry.Status
		eventually(t, "packets are counted", func() (err error) {
			if s, err = g.status(); err == nil && s.Packets.Received+s.Packets.Kernel == 0 {
				err = errors.New("none")
			}
			return err
		})
		if s.Packets.Kernel > 0 {
			tested++
		}
		if len(s.Packets.Rejected) != 0 {
			t.Fatalf("packets were rejected: %+v", s.Packets)
		}
		if code := g.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
	if !slices.Contains(sink.all(), "early v=1 1") {
		t.Fatal("nothing reached the sink")
	}
}

// Goal: SIGHUP, by which services are told to reload and which a closed terminal sends, does not end the
// gateway, nor what came in before it. Method: SIGHUP while it runs, then a point and a stop.
func TestPrivHangUp(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	g.command.Process.Signal(syscall.SIGHUP)
	eventually(t, "the log says what became of it", func() error {
		if !strings.Contains(g.output.String(), `"msg":"reloaded"`) {
			return errors.New("not a word of a reload")
		}
		return nil
	})
	fmt.Fprint(udpSender(t, lab, lab.GatewayIPv4), "m v=1 1")
	g.settled(1)
	if code := g.stop(); code != 0 || drained(t, g).Written != 1 || xdpOf(t, lab) {
		t.Fatalf("%v, %q", g.command.ProcessState, g.output)
	}
}
