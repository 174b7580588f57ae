package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/controlplane/telemetry"
	"culvert/numa"
	"culvert/scripts/testenv"
)

// remoteSink is a sink that decodes every line, at the other end of the cable.
func remoteSink(t *testing.T, lab *testenv.Lab) (url string, sink *fakesink.Sink) {
	t.Helper()
	sink, err := fakesink.New(fakesink.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	err = lab.Sender.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(lab.SenderIPv4.String(), "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: sink}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String(), sink
}

// Goal: on a real card every mode that its driver has takes points whole from all of its queues, with worker
// and memory on the card's node; and what goes to the database by the card is sent without a copy. Method:
// virtio_net in scripts/vm, whose zero-copy came with Linux 6.13. Flows are dealt out by the other end of the
// cable, as a card deals them out. On a machine without such cards nothing is looked at.
func TestPrivNICModes(t *testing.T) {
	need(t)
	f := func(mode string, since ...int) {
		t.Run(mode, func(t *testing.T) {
			name, _, _, ok := testenv.NICPair(t)
			if !ok {
				return
			}
			// In a namespace /sys shows it to nobody but those who mount it there.
			node := numa.NICNode("/", name)
			lab, queues := testenv.NewNICLab(t)
			url, sink := remoteSink(t, lab)
			path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s, mode: %s}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry, batch: {points: 1000, linger: 1s, age: 1s}}]
`, lab.GatewayInterface, mode, port, url))
			if len(since) > 0 && !testenv.AtLeast(since[0], since[1]) {
				g := startCommand(t, lab, withSysfs("run", "-c", path))
				if code := g.wait(); code != 69 {
					t.Fatalf("exit code %d, want 69", code)
				}
				return
			}
			g := startCommand(t, lab, withSysfs("run", "-c", path))
			g.ready()
			const points = 4000
			sent := load(t, lab, loadgen.Config{Rate: 2000, Count: points, PointsPerPacket: 10, Series: 640,
				Flows: 64, NoSegments: true})
			s := g.settled(sent.Points)
			if s.Ledger.Written != points || sink.Stats().Points != points || sink.Stats().Rejected != 0 {
				t.Fatalf("%d points sent: %+v, and the sink has %+v", points, s.Ledger, sink.Stats())
			}
			onAllQueues(t, s, lab, mode, queues)
			onTheCardsNode(t, s, g, node)
			notCopied(t, s)
			if code := g.stop(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
		})
	}
	f("native")
	f("zerocopy", 6, 13)
}

// onAllQueues checks the mode, and that each queue got some of the packets, and all of them together all.
func onAllQueues(t *testing.T, s *telemetry.Status, lab *testenv.Lab, mode string, queues int) {
	t.Helper()
	card := interfaceOf(t, s, lab.GatewayInterface)
	t.Logf("%s, driver %s, mode %s, zero-copy %t", card.Name, card.Driver, card.Mode, card.ZeroCopy)
	driver := os.Getenv("CULVERT_TEST_NIC_DRIVER")
	if card.Mode != mode || card.ZeroCopy != (mode == "zerocopy") || card.Driver != driver {
		t.Errorf("%+v", card)
	}
	if len(card.Queues) != queues {
		t.Errorf("%d queues, want %d", len(card.Queues), queues)
	}
	var received uint64
	for _, q := range card.Queues {
		t.Logf("queue %d: %d packets, worker %s on CPU %d", q.Queue, q.Received, q.Worker, q.CPU)
		received += q.Received
		if q.Received == 0 {
			t.Errorf("no packet came by queue %d", q.Queue)
		}
	}
	if received != s.Packets.Redirected || received != s.Packets.Received || s.Packets.Kernel != 0 {
		t.Errorf("%d packets by the queues: %+v", received, s.Packets)
	}
}

// onTheCardsNode checks that the workers are on the card's node, with their memory.
func onTheCardsNode(t *testing.T, s *telemetry.Status, g *gateway, node int) {
	t.Helper()
	for _, w := range s.Workers {
		if w.CPU >= 0 && w.Node != node {
			t.Errorf("worker %s is on node %d, the card on node %d", w.Name, w.Node, node)
		}
	}
	eventually(t, "memory on the card's node", func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		// The driver deals its interrupts out to all CPUs, whichever node the card is on; and igb's zero-copy
		// is warned of.
		s.Deviations = slices.DeleteFunc(s.Deviations, func(text string) bool {
			return strings.HasPrefix(text, "interrupt ") || strings.HasPrefix(text, "mode zerocopy of ")
		})
		return placedRight(s, boundMappings(t, g.command.Process.Pid), 1024, "frames", "sends")
	})
}

// withSysfs is a command that sees the interfaces of its namespace in /sys, as the host's own processes do.
func withSysfs(arguments ...string) *exec.Cmd {
	command := exec.Command("sh", append([]string{"-c", `mount -t sysfs sysfs /sys && ` +
		`mount -t bpf bpf /sys/fs/bpf && exec "$0" "$@"`, culvert}, arguments...)...)
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return command
}

// notCopied checks that all that was sent in place was sent without a copy.
func notCopied(t *testing.T, s *telemetry.Status) {
	t.Helper()
	sink := &s.Sinks[0]
	t.Logf("SEND_ZC: %d sends without a copy, %d copied", sink.ZeroCopySent, sink.ZeroCopyCopied)
	// Older kernels do not tell.
	if testenv.AtLeast(6, 2) && (sink.ZeroCopySent == 0 || sink.ZeroCopyCopied != 0) {
		t.Errorf("%d sends without a copy, %d copied", sink.ZeroCopySent, sink.ZeroCopyCopied)
	}
}
