package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"culvert/scripts/testenv"
)

// Goal: after kill -9 under load nothing is left on the interface, and the next start works at once. Method:
// a sender that never stops, two lives of the gateway, the interface's XDP state in between.
func TestPrivKillAndStartAgain(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	config := configure(t, lab, sink.url, "")
	conn := udpSender(t, lab, lab.GatewayIPv4)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				// Refused while no gateway listens: that is what a sender sees.
				_, _ = fmt.Fprintf(conn, "m v=%d %d", n, n+1)
				time.Sleep(50 * time.Microsecond)
			}
		}
	}()
	for life := range 3 {
		g := start(t, lab, "run", "-c", config)
		g.ready()
		eventually(t, "points", func() error {
			s, err := g.status()
			if err == nil && (s.Ledger.Written < 100 || s.Packets.Redirected == 0) {
				err = fmt.Errorf("life %d: %d written, %d redirected", life, s.Ledger.Written,
					s.Packets.Redirected)
			}
			return err
		})
		g.kill()
		if attached := xdpOf(t, lab); attached {
			t.Fatalf("a program is still attached after kill -9")
		}
	}
}

// xdpOf tells whether any XDP program is on the lab's interface.
func xdpOf(t *testing.T, lab *testenv.Lab) (attached bool) {
	t.Helper()
	err := lab.Gateway.Do(func() error {
		found, err := netlink.LinkByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		attached = found.Attrs().Xdp != nil && found.Attrs().Xdp.Attached
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return attached
}

// Goal: TCP on the same interface, as an administrator's shell uses it, goes on across attach, load, detach.
// Method: one connection that echoes throughout.
func TestPrivTCPIsUndisturbed(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	var listener net.Listener
	err := lab.Gateway.Do(func() (err error) {
		listener, err = net.Listen("tcp", lab.GatewayIPv4.String()+":22")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
		}
	}()
	var shell net.Conn
	err = lab.Sender.Do(func() (err error) {
		shell, err = net.Dial("tcp", listener.Addr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer shell.Close()
	echo := func(when string) {
		t.Helper()
		shell.SetDeadline(time.Now().Add(waitLimit))
		text := []byte(strings.Repeat(when+"\n", 200))
		go shell.Write(text)
		back := make([]byte, len(text))
		if _, err := io.ReadFull(shell, back); err != nil || string(back) != string(text) {
			t.Fatalf("the connection is disturbed %s: %v", when, err)
		}
	}
	echo("before")
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	for n := range 1000 {
		_, _ = fmt.Fprintf(conn, "m v=1 %d", n+1)
		if n%100 == 0 {
			echo("under load")
		}
	}
	g.stop()
	echo("after")
}

// Goal: the gateway binds itself anew when the link goes down and up, when the number of queues changes, and
// when the interface goes and comes back. Method: do each to the veth, then send.
func TestPrivBindsAnew(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 4)
	setQueues(t, lab, 2)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	sent := 0
	steered := func(what string) {
		t.Helper()
		eventually(t, what, func() error {
			code, body, err := g.get("/health/ready")
			if err != nil || code != 200 {
				return fmt.Errorf("%d %s %v", code, body, err)
			}
			before, err := g.status()
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(conn, "m v=1 %d", sent+1); err != nil {
				return err
			}
			sent++
			time.Sleep(50 * time.Millisecond)
			after, err := g.status()
			if err == nil &&
				after.Packets.Received-after.Packets.Kernel <= before.Packets.Received-before.Packets.Kernel {
				err = fmt.Errorf("no packet came by AF_XDP: %+v", after.Packets)
			}
			return err
		})
	}
	steered("at the start")
	gatewayLink(t, lab, netlink.LinkSetDown)
	eventually(t, "not ready", func() error {
		if code, body, err := g.get("/health/ready"); err != nil || code != 503 {
			return fmt.Errorf("%d %s %v", code, body, err)
		}
		return nil
	})
	gatewayLink(t, lab, netlink.LinkSetUp)
	steered("after the link went down and up")

	// The kernel refuses fewer queues than have sockets, so they can only become more.
	setQueues(t, lab, 4)
	eventually(t, "four queues", func() error {
		s, err := g.status()
		if err == nil && len(interfaceOf(t, s, lab.GatewayInterface).Queues) != 4 {
			err = fmt.Errorf("%d queues", len(interfaceOf(t, s, lab.GatewayInterface).Queues))
		}
		return err
	})
	steered("after the number of queues changed")

	lab.Recreate(t)
	conn = udpSender(t, lab, lab.GatewayIPv4)
	steered("after the interface went and came back")
	s, err := g.status()
	if err != nil || s.Ledger.Residue != 0 {
		t.Fatalf("%v: %+v", err, s.Ledger)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// gatewayLink changes the lab's interface in the gateway's namespace.
func gatewayLink(t *testing.T, lab *testenv.Lab, change func(netlink.Link) error) {
	t.Helper()
	err := lab.Gateway.Do(func() error {
		found, err := netlink.LinkByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		return change(found)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// setQueues changes the number of queues in use at both ends of the veth. With XDP on it a veth needs as many
// queues as its peer sends from, so the gateway's end goes first.
func setQueues(t *testing.T, lab *testenv.Lab, n int) {
	t.Helper()
	if _, err := exec.LookPath("ethtool"); err != nil {
		testenv.Skip(t, "ethtool is not installed")
	}
	for _, end := range []struct {
		ns   *testenv.Namespace
		name string
	}{{lab.Gateway, lab.GatewayInterface}, {lab.Sender, lab.SenderInterface}} {
		err := end.ns.Do(func() error {
			out, err := exec.Command("ethtool", "-L", end.name, "rx", fmt.Sprint(n), "tx",
				fmt.Sprint(n)).CombinedOutput()
			if err != nil {
				return fmt.Errorf("ethtool -L %s: %w: %s", end.name, err, out)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Goal: another's program on the interface is named and not touched. Method: attach one, run culvert, look.
func TestPrivForeignProgramStays(t *testing.T) {
	need(t)
	rootAlone(t, "a program's name takes CAP_SYS_ADMIN to read")
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "somebody_else", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	var theirs link.Link
	gatewayLink(t, lab, func(l netlink.Link) (err error) {
		theirs, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: l.Attrs().Index})
		return err
	})
	defer theirs.Close()
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	if code := g.wait(); code != 69 || !strings.Contains(g.output.String(), "somebody_else") {
		t.Fatalf("exit code %d, output %q", code, g.output)
	}
	if !xdpOf(t, lab) {
		t.Fatal("the other's program is gone")
	}
}

// minimal is the shortest configuration there is.
func minimal(iface, url string) string {
	return fmt.Sprintf("interfaces: [{name: %s}]\nlisteners: [{name: p, port: 8089}]\n"+
		"sinks: [{name: m, urls: [%s], database: d}]\n", iface, url)
}

// publicDir is a folder that every user can read.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "culvert-public-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Goal: each obstacle at the start gives one clear line and the right exit code. Method: make each.
func TestPrivObstacles(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	good := configure(t, lab, sink.url, "")
	judge := func(name string, code int, want string, g *gateway) {
		t.Helper()
		got := g.wait()
		lines := strings.Split(strings.TrimSpace(g.output.String()), "\n")
		if last := lines[len(lines)-1]; got != code || !strings.Contains(last, want) {
			t.Fatalf("%s: exit code %d, want %d; the last line is %q, want it to say %q", name, got, code,
				last, want)
		}
	}
	f := func(name string, code int, want string, arguments ...string) {
		t.Helper()
		judge(name, code, want, start(t, lab, arguments...))
	}
	dir := t.TempDir()
	missing := write(t, dir, "missing.yaml",
		minimal("nowhere0", "http://127.0.0.1:1"))
	f("missing interface", 69, "nowhere0", "run", "-c", missing)
	f("no file", 78, "none.yaml", "run", "-c", filepath.Join(dir, "none.yaml"))
	wrong := write(t, dir, "wrong.yaml", "interfaces: [{name: gw0, mod: native}]\n")
	f("wrong key", 78, "does not start", "run", "-c", wrong)
	f("wrong usage", 2, "unknown", "run", "--nonsense")
	rule := write(t, dir, "rules.yaml", "groups: [{name: g, rules: [{alert: A, on: m, expr: \"v >\"}]}]\n")
	ruled := minimal("gw0", sink.url) + fmt.Sprintf("rules: {files: [%s]}\n", rule)
	f("wrong rule", 78, "does not start", "run", "-c", write(t, dir, "ruled.yaml", ruled))

	var taken net.PacketConn
	err := lab.Gateway.Do(func() (err error) {
		taken, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f("busy port", 69, fmt.Sprint(port), "run", "-c", good)
	taken.Close()
	var web net.Listener
	err = lab.Gateway.Do(func() (err error) {
		web, err = net.Listen("tcp", "127.0.0.1:9490")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f("busy HTTP port", 69, "9490", "run", "-c", good)
	web.Close()
	nobody := exec.Command(culvert, "run", "-c",
		write(t, publicDir(t), "culvert.yaml", minimal("gw0", sink.url)))
	nobody.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	judge("no privilege", 77, "CAP_", startCommand(t, lab, nobody))
}
