package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// Goal: a gateway that stands still loses nothing it does not count. Method: stop the process for several
// times stall_after while packets come slowly, and let it go on.
func TestPrivStall(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ", stall_after: 100ms"))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	sent := uint64(0)
	send := func(n int, pause time.Duration) {
		t.Helper()
		for range n {
			sent++
			if _, err := fmt.Fprintf(conn, "m v=1 %d", sent); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pause)
		}
	}
	send(50, time.Millisecond)
	if err := g.command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	send(40, 20*time.Millisecond)
	if err := g.command.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	send(50, time.Millisecond)
	s := g.settled(sent)
	verdicts := interfaceOf(t, s, lab.GatewayInterface).Verdicts
	if verdicts["stalled"] == 0 || verdicts["stalled"] != s.Packets.Kernel {
		t.Fatalf("%d packets by the kernel, verdicts %v", s.Packets.Kernel, verdicts)
	}
	if s.Ledger.Written != sent || uint64(len(sink.all())) != sent {
		t.Fatalf("%d points sent, %d in the sink: %+v", sent, len(sink.all()), s.Ledger)
	}
}
