package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/controlplane/telemetry"
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

// threadOn is the thread of a process that may run on one CPU alone: the worker's there.
func threadOn(t *testing.T, pid, cpu int) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("\nCpus_allowed_list:\t%d\n", cpu)
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), want) {
			tid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			return tid
		}
	}
	t.Fatalf("no thread of %d is pinned to CPU %d", pid, cpu)
	return 0
}

// Goal: while one worker stands still its queue's packets go by the kernel to the sink, the gateway answers
// and says which worker it is, its counters do not go backwards, and all is as before when it goes on.
// Method: the worker's thread alone is held by ptrace, as a debugger would.
func TestPrivOneWorkerStandsStill(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_SYS_PTRACE)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ", stall_after: 100ms"))
	g.ready()
	view, conn := watchScreen(t, g), udpSender(t, lab, lab.GatewayIPv4)
	sent := uint64(0)
	send := func() {
		sent++
		fmt.Fprintf(conn, "m v=1 %d", sent)
	}
	for range 50 {
		send()
	}
	before := g.settled(sent)
	thread := threadOn(t, g.command.Process.Pid, before.Workers[0].CPU)
	// Whoever holds a thread is a thread itself.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(thread); err != nil {
		t.Fatalf("seize thread %d: %v", thread, err)
	}
	if err := unix.PtraceInterrupt(thread); err != nil {
		t.Fatalf("hold thread %d: %v", thread, err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(thread, &status, unix.WALL, nil); err != nil {
		t.Fatalf("wait for thread %d to stand still: %v", thread, err)
	}
	stalled := func(s *telemetry.Status) uint64 {
		return interfaceOf(t, s, lab.GatewayInterface).Verdicts["stalled"]
	}
	eventually(t, "points go the kernel's way, and the gateway says why", func() error {
		send()
		s, err := g.status()
		if err != nil {
			return err
		}
		if s.Sinks[0].Requests["204"] < before.Sinks[0].Requests["204"] {
			t.Fatalf("answers went back from %v to %v", before.Sinks[0].Requests, s.Sinks[0].Requests)
		}
		if stalled(s) == 0 || s.Packets.Kernel == 0 || s.Ledger.Written <= before.Ledger.Written {
			return fmt.Errorf("%d packets by the kernel, %d written", s.Packets.Kernel, s.Ledger.Written)
		}
		return view.shows(stalled, "worker 0 shows no life since")
	})
	if err := unix.PtraceDetach(thread); err != nil {
		t.Fatalf("let thread %d go on: %v", thread, err)
	}
	eventually(t, "packets are steered again", func() error {
		send()
		s, err := g.status()
		if err == nil && s.Packets.Redirected <= before.Packets.Redirected+2 {
			err = fmt.Errorf("%d steered before, %d now", before.Packets.Redirected, s.Packets.Redirected)
		}
		return err
	})
	s := g.settled(sent)
	if s.Ledger.Written != sent || uint64(len(sink.all())) != sent || stalled(s) != s.Packets.Kernel {
		t.Fatalf("%d points sent, %d in the sink, %d stalled: %+v", sent, len(sink.all()), stalled(s),
			s.Packets)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
