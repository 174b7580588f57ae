package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/controlplane/loadgen"
	"culvert/controlplane/nic"
	"culvert/controlplane/telemetry"
	"culvert/numa"
	"culvert/scripts/testenv"
)

// newCardLab is a lab whose cable joins two cards that igb drives, each queue of which has interrupts of its
// own: scripts/vm/run 6.18+igb makes the machine that has them (CULVERT_TEST_NIC_DRIVER), and there they must
// be found. Elsewhere a test says that it looked at nothing. The card chooses queues by ports, too.
func newCardLab(t *testing.T) (lab *testenv.Lab, queues int, ok bool) {
	t.Helper()
	need(t)
	if os.Getenv("CULVERT_TEST_NIC_DRIVER") != "igb" {
		t.Log("not run: there are no cards that igb drives (scripts/vm/run 6.18+igb)")
		return nil, 0, false
	}
	lab, queues = testenv.NewNICLab(t)
	for _, end := range []struct {
		in   *testenv.Namespace
		name string
	}{{lab.Gateway, lab.GatewayInterface}, {lab.Sender, lab.SenderInterface}} {
		var driver string
		err := end.in.Do(func() (err error) { driver, err = nic.Driver(end.name); return err })
		if err != nil || driver != "igb" {
			t.Fatalf("the driver of %s is %q, not igb: %v", end.name, driver, err)
		}
	}
	shell(t, lab, fmt.Sprintf("ethtool -N %s rx-flow-hash udp4 sdfn", lab.GatewayInterface))
	return lab, queues, true
}

// cardConfig has one worker, which takes every queue.
func cardConfig(t *testing.T, lab *testenv.Lab, url, iface, workers string) string {
	t.Helper()
	return write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s, %s}]
listeners: [{name: plant, port: %d}]
workers: {huge_pages: off, %s}
sinks: [{name: main, urls: [%s], database: telemetry, batch: {points: 1000, linger: 1s, age: 1s}}]
`, lab.GatewayInterface, iface, port, workers, url))
}

// The frames of a queue, as large in all: those whose whole KiB hold Ethernet's longest packet, and others.
const largeFrames, smallFrames = "frames: 512, frame_size: 4096", "frames: 1024"

// sendCard sends so many points in packets of more than 1024 bytes, and checks that all of them came.
func sendCard(t *testing.T, lab *testenv.Lab, g *gateway, points, before uint64) *telemetry.Status {
	t.Helper()
	load(t, lab, loadgen.Config{Rate: 4000, Count: points, PointsPerPacket: 10, Series: 640, Flows: 64,
		NoSegments: true})
	s := g.settled(before + points)
	if s.Ledger.Written != before+points {
		t.Fatalf("%d points sent: %+v", before+points, s.Ledger)
	}
	return s
}

// Goal: on a card with interrupts and queues of its own mode auto, which does without its zero-copy, and mode
// zerocopy take points whole from all queues, each once; what zero-copy would break is refused. Method: igb,
// whose card is QEMU's, and packets that one frame of 2048 bytes does not hold there.
func TestPrivIGBModes(t *testing.T) {
	// In a namespace /sys shows it to nobody but those who mount it there.
	name, _, _, _ := testenv.NICPair(t)
	node := numa.NICNode("/", name)
	lab, queues, ok := newCardLab(t)
	if !ok {
		return
	}
	url, sink := remoteSink(t, lab)
	total := uint64(0)
	f := func(asked, workers, mode string) {
		t.Run(asked, func(t *testing.T) {
			path := cardConfig(t, lab, url, "mode: "+asked, workers)
			g := startCommand(t, lab, withSysfs("run", "-c", path))
			g.ready()
			g.bound(mode, queues)
			const points = 1200
			sendCard(t, lab, g, points, 0)
			// The sender's card has zero-copy, too, and no XDP program, without which it does not send by it.
			if report := load(t, lab, loadgen.Config{Via: loadgen.ViaXDP, Interface: lab.SenderInterface,
				Rate: 4000, Count: points, PointsPerPacket: 10, Series: 640, Flows: 64}); report.ZeroCopy {
				t.Errorf("sent with zero-copy: %v", report)
			}
			s := g.settled(2 * points)
			total += 2 * points
			if stats := sink.Stats(); stats.Points != total || stats.Rejected != 0 {
				t.Errorf("%d points sent, the sink has %+v", total, stats)
			}
			onAllQueues(t, s, lab, mode, queues)
			onTheCardsNode(t, s, g, node)
			notCopied(t, s)
			if code := g.stop(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
		})
	}
	f("auto", smallFrames, "native")
	f("zerocopy", largeFrames, "zerocopy")
	path := cardConfig(t, lab, url, "mode: zerocopy", smallFrames)
	for _, command := range []string{"check", "run"} {
		code, output := once(t, lab, command, "-c", path)
		if code != 69 || !strings.Contains(output, "longer than 1024 bytes into pieces") {
			t.Errorf("%s with frames that are too small: exit code %d: %s", command, code, output)
		}
	}
}

// Goal: with zero-copy nothing is lost or counted twice by what happens to a gateway and its card: the link
// goes down and up, the gateway stands still and is killed, queues are added, and fewer than are open are
// refused. Method: igb; after each of these as many points as were sent are in the ledger.
func TestPrivIGBLife(t *testing.T) {
	lab, queues, ok := newCardLab(t)
	if !ok {
		return
	}
	url, _ := remoteSink(t, lab)
	path := cardConfig(t, lab, url, "mode: zerocopy, stall_after: 300ms", largeFrames)
	begin := func() *gateway {
		t.Helper()
		g := startCommand(t, lab, withSysfs("run", "-c", path))
		g.ready()
		g.bound("zerocopy", queues)
		return g
	}
	card := func(s *telemetry.Status) *telemetry.InterfaceStatus {
		return interfaceOf(t, s, lab.GatewayInterface)
	}
	g := begin()
	const points = 400
	sendCard(t, lab, g, points, 0)
	shell(t, lab, "ip link set "+lab.GatewayInterface+" down")
	g.says("link is down")
	shell(t, lab, "ip link set "+lab.GatewayInterface+" up")
	g.bound("zerocopy", queues)
	sendCard(t, lab, g, points, points)

	g.command.Process.Signal(syscall.SIGSTOP)
	time.Sleep(400 * time.Millisecond) // longer than stall_after
	load(t, lab, loadgen.Config{Rate: 4000, Count: points, PointsPerPacket: 10, Series: 640, Flows: 64,
		NoSegments: true})
	g.command.Process.Signal(syscall.SIGCONT)
	s := sendCard(t, lab, g, points, 3*points)
	if stalled := card(s).Verdicts["stalled"]; stalled == 0 || stalled != s.Packets.Kernel {
		t.Errorf("%d packets of a gateway that stood still by the kernel's sockets: %+v", stalled, s.Packets)
	}
	g.kill()

	g = begin()
	channels := func(n int) error {
		return lab.Gateway.Do(func() error {
			return nic.SetChannels(lab.GatewayInterface, nic.Channels{Combined: uint32(n)})
		})
	}
	t.Cleanup(func() {
		if err := channels(queues); err != nil {
			t.Error(err)
		}
	})
	sendCard(t, lab, g, points, 0)
	if err := channels(1); err == nil || !strings.Contains(err.Error(), "stop the gateway first") {
		t.Errorf("queues of zero-copy sockets were to go: %v", err)
	}
	if err := channels(queues + 2); err != nil {
		t.Fatal(err)
	}
	g.bound("zerocopy", queues+2)
	s = sendCard(t, lab, g, points, points)
	if len(card(s).Queues) != queues+2 || card(s).Mode != "zerocopy" || s.Packets.Kernel != 0 {
		t.Errorf("after queues were added: %+v, %+v", card(s), s.Packets)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// says waits for a message in the log.
func (g *gateway) says(message string) {
	g.t.Helper()
	eventually(g.t, message, func() error {
		if !strings.Contains(g.output.String(), message) {
			return errors.New("it is not in the log")
		}
		return nil
	})
}

// bound waits until the interface has been up with so many queues in a mode for a second, in which the log
// was quiet: a link that comes up has the queues bound anew, more than once where the card was reset before.
func (g *gateway) bound(mode string, queues int) {
	g.t.Helper()
	size, since := 0, time.Now()
	eventually(g.t, "bound", func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		i := interfaceOf(g.t, s, g.lab.GatewayInterface)
		as := i.State == "up" && i.Mode == mode && len(i.Queues) == queues
		// The status waits while queues are bound, so the log is looked at behind it.
		if now := len(g.output.String()); !as || now != size {
			size, since = now, time.Now()
		}
		if same := time.Since(since); same < time.Second {
			return fmt.Errorf("for %v: %s, mode %s, %d queues", same, i.State, i.Mode, len(i.Queues))
		}
		return nil
	})
}

// Goal: alerts leave by the card's own rings, without a copy on the way, each once. Method: igb with
// zero-copy; the gateway's kernel counts what its own sockets sent: nothing.
func TestPrivIGBAlerts(t *testing.T) {
	lab, queues, ok := newCardLab(t)
	if !ok {
		return
	}
	url, _ := remoteSink(t, lab)
	receiver := listenAtSender(t, lab, lab.SenderIPv4)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", hot("        actions: [plc]\n"))
	g := startCommand(t, lab, withSysfs("run", "-c", write(t, dir, "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: zerocopy}]
listeners: [{name: plant, port: %d}]
workers: {huge_pages: off, %s}
rules: {files: [rules.yaml]}
notifiers: [{name: plc, type: udp, address: %q, via: xdp, limit: 0}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, largeFrames, receiver.LocalAddr(), url))))
	g.ready()
	g.departs("plc", 1)
	// A datagram that leaves while the card is reset is lost.
	g.bound("zerocopy", queues)
	before := datagramsOut(t, lab)
	const machines, rounds = 20, 4
	stormOf(t, udpSender(t, lab, lab.GatewayIPv4), machines, rounds, receiver)
	if after := datagramsOut(t, lab); after != before {
		t.Errorf("%d datagrams left by the kernel's sockets", after-before)
	}
	s := g.settled(machines * rounds)
	if mode := interfaceOf(t, s, lab.GatewayInterface).Mode; mode != "zerocopy" {
		t.Errorf("mode %s", mode)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// Goal: tune changes a card that has everything to change, once; doctor is content then, and revert leaves it
// exactly as it was. Method: igb, whose interrupts go and come back with the number of its queues.
func TestPrivIGBTune(t *testing.T) {
	lab, queues, ok := newCardLab(t)
	if !ok {
		return
	}
	name := lab.GatewayInterface
	shell(t, lab, fmt.Sprintf("ethtool -N %s rx-flow-hash udp4 sd", name))
	path := cardConfig(t, lab, "http://127.0.0.1:8086", "mode: native", smallFrames)
	state := filepath.Join(t.TempDir(), "state")
	run := func(command *exec.Cmd) string {
		t.Helper()
		var output bytes.Buffer
		command.Stdout, command.Stderr = &output, &output
		if err := lab.Gateway.Do(command.Run); err != nil {
			t.Fatalf("%v: %v: %s", command.Args, err, output.String())
		}
		return output.String()
	}
	settings := func() string {
		t.Helper()
		return run(exec.Command("sh", "-c", fmt.Sprintf("for w in k l g x c; do ethtool -$w %[1]s; done; "+
			"for f in 4 6; do ethtool -n %[1]s rx-flow-hash udp$f; done; "+
			"for i in $(sed -n 's/^ *\\([0-9]*\\):.* %[1]s\\(-.*\\)*$/\\1/p' /proc/interrupts); do "+
			"echo $i /proc/irq/$i/%[1]s* $(cat /proc/irq/$i/smp_affinity_list); done; "+
			"cat /proc/sys/kernel/numa_balancing", name)))
	}
	tune := func(step string) string {
		t.Helper()
		arguments := []string{"tune", step, "-i", name, "-c", path}
		if step != "plan" {
			arguments = append(arguments, "--state-dir", state)
		}
		return run(withSysfs(arguments...))
	}
	before := settings()
	if n := strings.Count(before, name+"-rx-"); n != queues {
		t.Fatalf("%d interrupts for receiving, want %d:\n%s", n, queues, before)
	}
	applied := tune("apply")
	for _, want := range []string{"rx-vlan-hw-parse", "channels", "rings", "hash udp4", "/proc/irq/"} {
		if !strings.Contains(applied, want) {
			t.Errorf("apply changes no %q:\n%s", want, applied)
		}
	}
	if again := tune("plan"); !strings.Contains(again, "all is as it should be") {
		t.Errorf("after apply:\n%s", again)
	}
	tune("revert")
	if after := settings(); after != before {
		t.Errorf("before:\n%s\nafter revert:\n%s", before, after)
	}
}
