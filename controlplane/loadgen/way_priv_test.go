package loadgen

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// passing attaches a program that lets everything through to the gateway's end: without one a veth takes no
// live frames.
func passing(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	const passes = 2 // XDP_PASS
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, passes), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	err = lab.Gateway.Do(func() error {
		found, err := net.InterfaceByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		attached, err := link.AttachXDP(link.XDPOptions{
			Program: program, Interface: found.Index, Flags: link.XDPDriverMode,
		})
		if err == nil {
			t.Cleanup(func() { attached.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// listenIn opens a socket in the gateway's namespace.
func listenIn(t *testing.T, lab *testenv.Lab, address net.IP) *receiver {
	t.Helper()
	r := &receiver{t: t}
	err := lab.Gateway.Do(func() (err error) {
		r.conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: address, Port: 8089})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.conn.Close() })
	raw, err := r.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// forget throws away what has come so far.
func (r *receiver) forget() {
	r.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	for into := make([]byte, 1<<16); ; {
		if _, err := r.conn.Read(into); err != nil {
			return
		}
	}
}

func runIn(t *testing.T, lab *testenv.Lab, c Config) (report Report, err error) {
	t.Helper()
	err = <-lab.Sender.Go(func() (err error) {
		report, err = Run(context.Background(), c)
		return err
	})
	return report, err
}

// Goal: each way brings every packet whole over a veth pair, by IPv4 and IPv6, and each flow has a source
// port of its own. Method: the kernel's stack receives. It drops a frame with a wrong sum, length or address,
// and with a socket's sum left to the card it would not look at it, which is why the count alone decides.
// What the cable lost, since its other end had no CPU for a while, never came that far.
func TestPrivWays(t *testing.T) {
	testenv.Need(t, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_BPF, unix.CAP_NET_RAW)
	lab := testenv.NewLab(t, 2)
	passing(t, lab)
	for _, c := range []struct {
		via, mode string
		noSum     bool
	}{
		{ViaSocket, "UDP sockets, segments cut by the kernel", false},
		{ViaXDP, "AF_XDP, copied by the kernel", false}, {ViaXDP, "AF_XDP, copied by the kernel", true},
		{ViaLive, "live frames, copied by a kernel program", false},
		{ViaAuto, "UDP sockets, segments cut by the kernel", false},
	} {
		for _, to := range []net.IP{lab.GatewayIPv4, lab.GatewayIPv6} {
			t.Run(fmt.Sprintf("%s/%s/%v", c.via, to, c.noSum), func(t *testing.T) {
				r := listenIn(t, lab, to)
				config := Config{
					To: []netip.AddrPort{r.address()}, Via: c.via, Interface: lab.SenderInterface,
					NoChecksum: c.noSum, Count: 20_003, PointsPerPacket: 7, Flows: 6, Sequence: true,
				}
				var report Report
				var err error
				var lost uint64
				// Nothing can be said of a run of which the cable lost more than half.
				for range 3 {
					before := lab.WireDrops(t)
					report, err = runIn(t, lab, config)
					if lost = lab.WireDrops(t) - before; lost <= report.Packets/2 {
						break
					}
					r.forget()
				}
				if err != nil || report.Points != config.Count || report.Mode != c.mode {
					t.Fatalf("%+v, %v", report, err)
				}
				if lost > report.Packets/2 {
					t.Fatalf("the cable lost %d packets of %d", lost, report.Packets)
				}
				lines, senders := r.lines(report.Packets - lost)
				seen, ports := map[string]bool{}, map[netip.AddrPort]bool{}
				for _, line := range lines {
					seen[line[strings.Index(line, ",seq="):]] = true
				}
				for _, sender := range senders {
					ports[sender] = true
				}
				// All packets but the last have seven points.
				least, most := 20_003-7*int(lost), 20_003-7*max(int(lost)-1, 0)
				if len(lines) < least || len(lines) > most || len(seen) != len(lines) || len(ports) != 6 {
					t.Fatalf("%d lines, %d of them different, by %d ports; %d packets lost by the cable",
						len(lines), len(seen), len(ports), lost)
				}
			})
		}
	}
}

// Goal: live frames hold a rate, end when told, and leave nothing behind to run; where nobody takes them it
// is an error that says why.
func TestPrivLiveEnds(t *testing.T) {
	testenv.Need(t, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_BPF)
	lab := testenv.NewLab(t, 1)
	r := listenIn(t, lab, lab.GatewayIPv4)
	c := Config{
		To: []netip.AddrPort{r.address()}, Via: ViaLive, Rate: 2000, Count: 400,
		ToMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	}
	_, err := runIn(t, lab, c)
	if err == nil || !strings.Contains(err.Error(), "needs an XDP program or GRO") {
		t.Fatalf("a veth whose peer takes no frames: %v", err)
	}
	passing(t, lab)
	c.ToMAC = nil
	report, err := runIn(t, lab, c)
	if err != nil || report.Points != 400 || report.Seconds < 0.2 {
		t.Fatalf("%+v, %v", report, err)
	}
	if lines, _ := r.lines(report.Packets); len(lines) != 400 {
		t.Fatalf("%d lines", len(lines))
	}
}

// Goal: what cannot be sent is refused before anything is.
func TestPrivWrongWays(t *testing.T) {
	testenv.Need(t, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_BPF, unix.CAP_NET_RAW)
	lab := testenv.NewLab(t, 1)
	to := func(text string) []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(text)} }
	f := func(want string, c Config) {
		t.Helper()
		for range 2 {
			if _, err := runIn(t, lab, c); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
	}
	for _, via := range []string{ViaXDP, ViaLive} {
		f("only sockets make fragments", Config{To: to("10.88.0.1:9"), Via: via, PointsPerPacket: 20})
		f("nobody answers; say it with --to-mac", Config{To: to("10.88.0.77:9"), Via: via})
		f("find the route", Config{To: to("10.99.0.1:9"), Via: via})
		f("no Ethernet interface", Config{To: to("127.0.0.1:9"), Via: via})
		f("is a group", Config{To: to("239.1.1.1:9"), Via: via})
	}
	f(`interface "absent"`, Config{To: to("10.88.0.1:9"), Interface: "absent"})
	f("leaves hardware addresses", Config{To: to("10.88.0.1:9"), NoChecksum: true})
	f(`way "x"`, Config{To: to("10.88.0.1:9"), Via: "x"})
	f("pin to CPU 1023", Config{To: to("10.88.0.1:9"), Pin: true, CPU: 1023})
}
