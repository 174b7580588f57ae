package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// notifySocket plays systemd: it takes what a service says of itself, with the moment it came.
type notifySocket struct {
	path     string
	messages chan string
}

func newNotifySocket(t *testing.T) *notifySocket {
	t.Helper()
	s := &notifySocket{path: filepath.Join(publicDir(t), "notify"), messages: make(chan string, 1000)}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.path, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		defer close(s.messages)
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			s.messages <- string(buffer[:n])
		}
	}()
	return s
}

// next is the next message that begins so.
func (s *notifySocket) next(t *testing.T, prefix string) {
	t.Helper()
	var others []string
	limit := time.After(waitLimit)
	for {
		select {
		case message := <-s.messages:
			if strings.HasPrefix(message, prefix) {
				return
			}
			others = append(others, message)
		case <-limit:
			t.Fatalf("no %s, but %q", prefix, others)
		}
	}
}

// Goal: the gateway does its part of the unit: it says that it is ready when packets are steered and not
// before, feeds the watchdog at least twice in its time, and says that it stops; with the unit's user rights.
func TestPrivService(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_PERFMON, unix.CAP_IPC_LOCK)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	config := write(t, publicDir(t), "culvert.yaml", minimal(lab.GatewayInterface, sink.url))
	socket := newNotifySocket(t)
	const watchdog = time.Second
	command := nobodyWith([]uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW,
		unix.CAP_IPC_LOCK}, "run", "-c", config)
	command.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket.path,
		fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()))
	g := startCommand(t, lab, command)
	socket.next(t, "READY=1")
	if !xdpOf(t, lab) {
		t.Fatal("it says that it is ready, and no program is attached")
	}
	socket.next(t, "WATCHDOG=1")
	began := time.Now()
	const fed = 4
	for range fed {
		socket.next(t, "WATCHDOG=1")
	}
	if took := time.Since(began); took > fed*watchdog {
		t.Errorf("%d signs of life took %v", fed, took)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	socket.next(t, "STOPPING=1")
	var late []string
	for len(socket.messages) > 0 {
		late = append(late, <-socket.messages)
	}
	if slices.Contains(late, "READY=1") {
		t.Errorf("after stopping it says %q", late)
	}
}
