package e2e

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// privatePins gives what is started in the lab's gateway namespace from now on a BPF file system of its own:
// pins of this test and of others do not meet, and they vanish with the lab, however the test ends.
func privatePins(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	err := lab.Gateway.Do(func() error {
		// The namespace's thread ends with the lab, and so do these mounts.
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		return unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700")
	})
	if err != nil {
		t.Fatal(err)
	}
}

// once runs a command to its end in the gateway's namespace.
func once(t *testing.T, lab *testenv.Lab, arguments ...string) (code int, output string) {
	t.Helper()
	g := start(t, lab, arguments...)
	return g.wait(), g.output.String()
}

// passes checks that a plain socket on the listener's port gets what is sent to it.
func passes(t *testing.T, lab *testenv.Lab, when string) {
	t.Helper()
	var plain *net.UDPConn
	err := lab.Gateway.Do(func() (err error) {
		plain, err = net.ListenUDP("udp", &net.UDPAddr{Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	eventually(t, "packets pass to the kernel "+when, func() error {
		if _, err := fmt.Fprint(conn, when); err != nil {
			return err
		}
		plain.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		into := make([]byte, 100)
		for {
			n, err := plain.Read(into)
			if err != nil || string(into[:n]) == when {
				return err
			}
		}
	})
}

// flood is a sender that never pauses for long.
type flood struct {
	sent    atomic.Uint64
	end     sync.Once
	endless chan struct{} // closed to end it
	ended   chan struct{}
}

// newFlood starts one that sends from this many ports in turn, points with the timestamps 1, 2, 3, …
func newFlood(t *testing.T, lab *testenv.Lab, flows int, pause time.Duration) *flood {
	t.Helper()
	conns := make([]net.Conn, flows)
	for i := range conns {
		conns[i] = udpSender(t, lab, lab.GatewayIPv4)
	}
	return startFlood(t, pause, func(n uint64) error {
		_, err := fmt.Fprintf(conns[n%uint64(flows)], "flood v=1 %d", n+1)
		return err
	})
}

// startFlood starts one that sends point 0, 1 and so on; it ends with the test, or by stop. A point that
// cannot be sent is tried again: refused while nobody listens is what a sender sees.
func startFlood(t *testing.T, pause time.Duration, send func(n uint64) error) *flood {
	f := &flood{endless: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		for {
			select {
			case <-f.endless:
				return
			default:
			}
			if err := send(f.sent.Load()); err == nil {
				f.sent.Add(1)
			}
			time.Sleep(pause)
		}
	}()
	t.Cleanup(func() { f.stop() })
	return f
}

// stop ends the sender and returns how many points it has sent.
func (f *flood) stop() uint64 {
	f.end.Do(func() { close(f.endless) })
	<-f.ended
	return f.sent.Load()
}

// steers waits until points come by XDP and are written.
func (g *gateway) steers() {
	g.t.Helper()
	eventually(g.t, "points are steered", func() error {
		s, err := g.status()
		if err == nil && (s.Packets.Redirected == sum(s.Packets.Drops) || s.Ledger.Written == 0) {
			err = fmt.Errorf("%d packets redirected, %d points written", s.Packets.Redirected,
				s.Ledger.Written)
		}
		return err
	})
}

// Goal: a pinned link is adopted, outlives a gateway's clean end and its violent one with packets passing to
// the kernel, and leaves by detach alone. Method: attach, two lives under load, detach.
func TestPrivPinnedLink(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	privatePins(t, lab)
	sink := newRecorder(t, lab)
	config := configure(t, lab, sink.url, "")
	if code, output := once(t, lab, "attach", "-i", lab.GatewayInterface, "-c", config); code != 0 ||
		!strings.Contains(output, "native mode") {
		t.Fatalf("attach: exit code %d, %q", code, output)
	}
	passes(t, lab, "while no gateway runs")
	newFlood(t, lab, 1, time.Millisecond)
	for life, end := range []func(g *gateway){
		(*gateway).kill,
		(*gateway).kill,
		func(g *gateway) {
			if code := g.stop(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
		},
	} {
		g := start(t, lab, "run", "-c", config)
		g.ready()
		g.steers()
		s, err := g.status()
		if err != nil || !interfaceOf(t, s, lab.GatewayInterface).Adopted {
			t.Fatalf("life %d has not adopted the link: %+v, %v", life, s, err)
		}
		for _, arguments := range [][]string{{"-i", lab.GatewayInterface}, {"--all"}} {
			code, output := once(t, lab, append([]string{"detach"}, arguments...)...)
			if code != 69 || strings.Count(output, "\n") != 1 ||
				!strings.Contains(output, "running gateway") {
				t.Fatalf("detach %q below a running gateway: exit code %d, %q", arguments, code, output)
			}
		}
		end(g)
		if !xdpOf(t, lab) {
			t.Fatalf("the program went with life %d", life)
		}
		passes(t, lab, fmt.Sprintf("after life %d", life))
	}
	detach := func(want string, arguments ...string) {
		t.Helper()
		code, output := once(t, lab, append([]string{"detach"}, arguments...)...)
		if code != 0 || !strings.Contains(output, want) || xdpOf(t, lab) {
			t.Fatalf("detach %q: exit code %d, %q, attached: %t", arguments, code, output, xdpOf(t, lab))
		}
	}
	detach("detached program", "-i", lab.GatewayInterface)
	detach("nothing of culvert's", "-i", lab.GatewayInterface)
	for range 2 {
		// The second one gives the pinned link the present program.
		if code, output := once(t, lab, "attach", "-i", lab.GatewayInterface); code != 0 {
			t.Fatalf("attach: exit code %d, %q", code, output)
		}
	}
	detach("detached program", "--all")
	detach("nothing of culvert's", "--all")
}

// Goal: a pin in another mode than the configuration demands is an obstacle with a remedy, not a surprise.
// Method: attach in generic mode, run in native.
func TestPrivPinInAnotherMode(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	privatePins(t, lab)
	if code, output := once(t, lab, "attach", "-i", lab.GatewayInterface, "--mode", "generic"); code != 0 {
		t.Fatalf("attach: exit code %d, %q", code, output)
	}
	sink := newRecorder(t, lab)
	code, output := once(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	if code != 69 || !strings.Contains(output, "culvert detach -i "+lab.GatewayInterface) {
		t.Fatalf("run: exit code %d, %q", code, output)
	}
	if !xdpOf(t, lab) {
		t.Fatal("the pinned program is gone")
	}
}

// Goal: a second gateway on an interface ends with one clear line, and the first notices nothing, with a
// pinned link and without. Method: two configurations that share the interface alone.
func TestPrivSecondGateway(t *testing.T) {
	need(t)
	rootAlone(t, "a program's name takes CAP_SYS_ADMIN to read")
	for _, pinned := range []bool{false, true} {
		t.Run(fmt.Sprintf("pinned=%t", pinned), func(t *testing.T) {
			lab := testenv.NewLab(t, 1)
			privatePins(t, lab)
			sink := newRecorder(t, lab)
			if pinned {
				if code, output := once(t, lab, "attach", "-i", lab.GatewayInterface); code != 0 {
					t.Fatalf("attach: exit code %d, %q", code, output)
				}
			}
			g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
			g.ready()
			conn := udpSender(t, lab, lab.GatewayIPv4)
			send := func(n int) {
				t.Helper()
				for i := range n {
					if _, err := fmt.Fprintf(conn, "m v=%d", i); err != nil {
						t.Fatal(err)
					}
				}
			}
			send(10)
			g.settled(10)
			other := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s}]
listeners: [{name: plant, port: 9999}]
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry}]
http: {listen: "127.0.0.1:9491"}
`, lab.GatewayInterface, sink.url))
			code, output := once(t, lab, "run", "-c", other)
			lines := strings.Split(strings.TrimSpace(output), "\n")
			if last := lines[len(lines)-1]; code != 69 || !strings.Contains(last, lab.GatewayInterface) ||
				!strings.Contains(last, "gateway") || strings.Count(output, "culvert: ") != 1 {
				t.Fatalf("the second gateway: exit code %d, %q", code, output)
			}
			send(10)
			s := g.settled(20)
			if s.Packets.Redirected != 20 || s.Ledger.Written != 20 {
				t.Fatalf("the first gateway is disturbed: %+v", s.Packets)
			}
		})
	}
}

// Goal: a pinned link whose interface was deleted is in nobody's way. Method: delete and make the interface
// below a gateway that has adopted its link, and once more while none runs.
func TestPrivPinnedInterfaceGoes(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	privatePins(t, lab)
	sink := newRecorder(t, lab)
	config := configure(t, lab, sink.url, "")
	attach := func() {
		t.Helper()
		if code, output := once(t, lab, "attach", "-i", lab.GatewayInterface); code != 0 {
			t.Fatalf("attach: exit code %d, %q", code, output)
		}
	}
	attach()
	g := start(t, lab, "run", "-c", config)
	g.ready()
	lab.Recreate(t)
	conn := udpSender(t, lab, lab.GatewayIPv4)
	eventually(t, "points are steered on the new interface", func() error {
		if _, err := fmt.Fprint(conn, "m v=1 1"); err != nil {
			return err
		}
		s, err := g.status()
		if err == nil && (s.Packets.Redirected == 0 || s.Ledger.Written == 0 ||
			interfaceOf(t, s, lab.GatewayInterface).Adopted) {
			err = fmt.Errorf("%+v, %+v", s.Packets, s.Interfaces)
		}
		return err
	})
	if code := g.stop(); code != 0 || xdpOf(t, lab) {
		t.Fatalf("exit code %d, still attached: %t", code, xdpOf(t, lab))
	}
	attach()
	lab.Recreate(t)
	if code, output := once(t, lab, "detach", "--all"); code != 0 || !strings.Contains(output, "leftover") {
		t.Fatalf("detach: exit code %d, %q", code, output)
	}
	attach()
}

// takeOff detaches the program on the lab's interface, whosever link it is, as `bpftool link detach` does.
func takeOff(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	var program int
	gatewayLink(t, lab, func(l netlink.Link) error {
		program = int(l.Attrs().Xdp.ProgId)
		return nil
	})
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		about, err := links.Link.Info()
		if err != nil || int(about.Program) != program {
			continue
		}
		if err := links.Link.Detach(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no link of program %d: %v", program, links.Err())
}

// Goal: a gateway whose program an administrator takes off attaches it anew, its own or a pinned one, and
// goes on steering. Method: detach the link, then send.
func TestPrivProgramTakenOff(t *testing.T) {
	need(t)
	for _, pinned := range []bool{false, true} {
		lab := testenv.NewLab(t, 1)
		privatePins(t, lab)
		sink := newRecorder(t, lab)
		config := configure(t, lab, sink.url, "")
		if pinned {
			if code, output := once(t, lab, "attach", "-i", lab.GatewayInterface); code != 0 {
				t.Fatalf("attach: exit code %d, %q", code, output)
			}
		}
		g := start(t, lab, "run", "-c", config)
		g.ready()
		newFlood(t, lab, 1, time.Millisecond)
		g.steers()
		takeOff(t, lab)
		eventually(t, "attached anew", func() error {
			if !strings.Contains(g.output.String(), "attaching anew") || !xdpOf(t, lab) {
				return errors.New("no program")
			}
			return nil
		})
		before, err := g.status()
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "points are steered again", func() error {
			s, err := g.status()
			if err == nil && s.Packets.Redirected < before.Packets.Redirected+100 {
				err = fmt.Errorf("%d packets redirected", s.Packets.Redirected)
			}
			return err
		})
		if code := g.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
}
