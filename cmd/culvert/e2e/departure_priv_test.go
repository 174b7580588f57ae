package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// listenAtSender is a receiver of notifications in the sender's namespace.
func listenAtSender(t *testing.T, lab *testenv.Lab, address net.IP) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := lab.Sender.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: address})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// datagramsOut is how many datagrams the kernel's sockets sent out of the gateway's namespace.
func datagramsOut(t *testing.T, lab *testenv.Lab) (sent int) {
	t.Helper()
	err := lab.Gateway.Do(func() error {
		for file, name := range map[string]string{"snmp": "Udp:", "snmp6": "Udp6OutDatagrams"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				fields := strings.Fields(line)
				if len(fields) == 0 || fields[0] != name {
					continue
				}
				column := 1
				if file == "snmp" {
					column = 4 // Udp: InDatagrams NoPorts InErrors OutDatagrams …, names first, then numbers.
				}
				if n, err := strconv.Atoi(fields[column]); err == nil {
					sent += n
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

// departs waits until the gateway has found so many ways to a receiver.
func (g *gateway) departs(notifier string, ways int) {
	g.t.Helper()
	eventually(g.t, "the way is found", func() error {
		found := 0
		for line := range strings.Lines(g.output.String()) {
			if strings.Contains(line, "alerts leave by TX rings") &&
				strings.Contains(line, fmt.Sprintf("%q:%q", "notifier", notifier)) {
				found++
			}
		}
		if found >= ways {
			return nil
		}
		return fmt.Errorf("%q does not leave by TX rings", notifier)
	})
}

func readTold(t *testing.T, conn *net.UDPConn) (got told) {
	t.Helper()
	into := make([]byte, 2000)
	conn.SetReadDeadline(time.Now().Add(waitLimit))
	size, err := conn.Read(into)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(into[:size], &got); err != nil {
		t.Fatalf("%q: %v", into[:size], err)
	}
	return got
}

// stormOf sends rounds of points that make each machine's alert fire or end, in turn, and checks that every
// receiver is told of each change, once.
func stormOf(t *testing.T, sender net.Conn, machines, rounds int, receivers ...*net.UDPConn) {
	t.Helper()
	for round := range rounds {
		want, temperature := "firing", 96
		if round%2 == 1 {
			want, temperature = "resolved", 90
		}
		for m := range machines {
			fmt.Fprintf(sender, "motor,machine=m%d temperature=%d %d", m, temperature, round*machines+m+1)
		}
		for _, receiver := range receivers {
			seen := map[string]bool{}
			for range machines {
				got := readTold(t, receiver)
				machine := got.Labels["machine"]
				if got.State != want || seen[machine] || got.Annotations["summary"] !=
					fmt.Sprintf("%s is at %d", machine, temperature) {
					t.Fatalf("round %d: %+v", round, got)
				}
				seen[machine] = true
			}
		}
	}
}

// Goal: alerts leave by the TX rings of the workers, over IPv4 and IPv6, whole and each once, and the
// notifiers know of them. Method: changes of many keys on two queues; the receivers' kernel checks the sums,
// and the gateway's kernel counts what its own sockets sent: nothing.
func TestPrivAlertsByTXRing(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	four, six := listenAtSender(t, lab, lab.SenderIPv4), listenAtSender(t, lab, lab.SenderIPv6)
	g := start(t, lab, "run", "-c", configureAlerts(t, lab, sink.url, "        actions: [four, six]\n",
		fmt.Sprintf("{name: four, type: udp, address: %q, via: xdp, limit: 0}, "+
			"{name: six, type: udp, address: %q, via: xdp, limit: 0}", four.LocalAddr(), six.LocalAddr())))
	g.ready()
	g.departs("four", 1)
	g.departs("six", 1)
	before := datagramsOut(t, lab)
	const machines, rounds = 20, 10
	stormOf(t, udpSender(t, lab, lab.GatewayIPv4), machines, rounds, four, six)
	if after := datagramsOut(t, lab); after != before {
		t.Errorf("%d datagrams left by the kernel's sockets", after-before)
	}
	g.settled(machines * rounds)
	eventually(t, "the notifiers know", func() error {
		s, err := g.status()
		if err == nil && (s.Notifiers[0].Delivered != machines*rounds || s.Notifiers[0].Queued != 0 ||
			s.Notifiers[1].Delivered != machines*rounds || s.Latency["alert"].Count != 2*machines*rounds) {
			err = fmt.Errorf("%+v, %+v", s.Notifiers, s.Latency["alert"])
		}
		return err
	})
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("alert latency: %+v", s.Latency["alert"])
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// Goal: the way follows the network: a neighbour that got another hardware address, and a receiver that is
// behind another interface, which no worker serves. Method: the receiver's interface changes its MAC, then
// its address becomes the gateway's own host's.
func TestPrivWayOfAlertsFollows(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	receiver := listenAtSender(t, lab, nil)
	g := start(t, lab, "run", "-c", configureAlerts(t, lab, sink.url, "        actions: [plc]\n", fmt.Sprintf(
		"{name: plc, type: udp, address: \"%s:%d\", via: xdp}", lab.SenderIPv4,
		receiver.LocalAddr().(*net.UDPAddr).Port)))
	g.ready()
	g.departs("plc", 1)
	conn := udpSender(t, lab, lab.GatewayIPv4)
	atSender := func(change func(link netlink.Link) error) {
		t.Helper()
		err := lab.Sender.Do(func() error {
			link, err := netlink.LinkByName(lab.SenderInterface)
			if err != nil {
				return err
			}
			return change(link)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	number := 0
	alerts := func(want string) {
		t.Helper()
		temperature := map[string]int{"firing": 96, "resolved": 90}[want]
		number++
		fmt.Fprintf(conn, "motor,machine=m1 temperature=%d %d", temperature, number)
		if got := readTold(t, receiver); got.State != want {
			t.Fatalf("got %+v, want %s", got, want)
		}
	}
	alerts("firing")
	mac := net.HardwareAddr{2, 0, 0, 0, 0x77, 1}
	atSender(func(link netlink.Link) error { return netlink.LinkSetHardwareAddr(link, mac) })
	// The sender's own packets tell the gateway's kernel of the new address, as those of any host do.
	eventually(t, "the neighbour's new address is known", func() error {
		fmt.Fprint(conn, "other v=1 1")
		var known net.HardwareAddr
		err := lab.Gateway.Do(func() error {
			list, err := netlink.NeighList(0, netlink.FAMILY_V4)
			for _, n := range list {
				if n.IP.Equal(lab.SenderIPv4) {
					known = n.HardwareAddr
				}
			}
			return err
		})
		if err == nil && known.String() != mac.String() {
			err = fmt.Errorf("the neighbour is %s", known)
		}
		return err
	})
	g.departs("plc", 2)
	before := datagramsOut(t, lab)
	alerts("resolved")
	if after := datagramsOut(t, lab); after != before {
		t.Errorf("%d datagrams left by the kernel's sockets", after-before)
	}
	// The receiver's address moves to this host, so that its route leads to loopback.
	atSender(func(link netlink.Link) error {
		return netlink.AddrDel(link, &netlink.Addr{IPNet: &net.IPNet{IP: lab.SenderIPv4,
			Mask: net.CIDRMask(24, 32)}})
	})
	var local *net.UDPConn
	err := lab.Gateway.Do(func() error {
		link, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: lab.SenderIPv4,
			Mask: net.CIDRMask(32, 32)}}); err != nil {
			return err
		}
		local, err = net.ListenUDP("udp", &net.UDPAddr{IP: lab.SenderIPv4,
			Port: receiver.LocalAddr().(*net.UDPAddr).Port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	eventually(t, "the way is gone", func() error {
		if !strings.Contains(g.output.String(), "is not behind a neighbour") {
			return errors.New("it is not")
		}
		return nil
	})
	number++
	fmt.Fprintf(udpSender(t, lab, lab.GatewayIPv6), "motor,machine=m1 temperature=97 %d", number)
	if got := readTold(t, local); got.State != "firing" {
		t.Fatalf("got %+v", got)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// Goal: a storm of alerts, of which a TX ring takes but the first, comes whole: each change once, and each
// alert's end after its beginning. Method: 600 machines become hot in twelve packets, and cool down.
func TestPrivStormOfAlertsByBothWays(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	receiver := listenAtSender(t, lab, lab.SenderIPv4)
	raw, err := receiver.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		// All of a storm has room, so that none is lost behind the gateway.
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, lab, "run", "-c", configureAlerts(t, lab, sink.url, "        actions: [plc]\n",
		fmt.Sprintf("{name: plc, type: udp, address: %q, via: xdp, limit: 0}", receiver.LocalAddr())))
	g.ready()
	g.departs("plc", 1)
	before := datagramsOut(t, lab)
	conn := udpSender(t, lab, lab.GatewayIPv4)
	const packets, machines = 12, 50
	for round, want := range []string{"firing", "resolved"} {
		for p := range packets {
			var text strings.Builder
			for m := range machines {
				fmt.Fprintf(&text, "motor,machine=m%d temperature=%d %d\n", p*machines+m, 99-round*20,
					round+1)
			}
			fmt.Fprint(conn, text.String())
		}
		seen := map[string]bool{}
		for range packets * machines {
			got := readTold(t, receiver)
			if got.State != want || seen[got.Labels["machine"]] {
				t.Fatalf("after %d %s: %+v", len(seen), want, got)
			}
			seen[got.Labels["machine"]] = true
		}
	}
	byKernel := datagramsOut(t, lab) - before
	t.Logf("%d of %d datagrams left by the kernel's socket", byKernel, 2*packets*machines)
	if byKernel == 0 || byKernel == 2*packets*machines {
		t.Error("the storm went by one way alone")
	}
	eventually(t, "the notifier knows", func() error {
		s, err := g.status()
		if err == nil && (s.Notifiers[0].Delivered != 2*packets*machines || s.Notifiers[0].Queued != 0) {
			err = fmt.Errorf("%+v", s.Notifiers)
		}
		return err
	})
}
