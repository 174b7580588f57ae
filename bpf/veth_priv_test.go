package bpf

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"culvert/bpf/abi"
	"culvert/scripts/testenv"
)

// Goal: on a real interface, in both modes, and asking the driver for the card's time, telemetry of both
// families comes out of the AF_XDP socket with its metadata in front, and everything else reaches the kernel.
// Method: datagrams through the lab's veth, whose driver answers, but has no clock.
func TestPrivVeth(t *testing.T) {
	t.Run("native", func(t *testing.T) { testVeth(t, link.XDPDriverMode, false) })
	t.Run("generic", func(t *testing.T) { testVeth(t, link.XDPGenericMode, false) })
	t.Run("card time", func(t *testing.T) { testVeth(t, link.XDPDriverMode, true) })
}

// steerOnVeth attaches what load loads to the lab's interface and binds a socket to its queue.
func steerOnVeth(t *testing.T, lab *testenv.Lab, flags link.XDPAttachFlags,
	load func(SteerConfig) (*Steer, error)) (s *Steer, socket *testSocket) {
	t.Helper()
	check(t, lab.Gateway.Do(func() error {
		on, err := netlink.LinkByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		s, err = load(SteerConfig{
			MAC: [6]byte(on.Attrs().HardwareAddr), QueuesMax: 1, StallAfter: time.Hour,
			CardTime: on.Attrs().Index,
		})
		if err != nil {
			return err
		}
		attached, err := link.AttachXDP(link.XDPOptions{
			Program: s.Program(), Interface: on.Attrs().Index, Flags: flags,
		})
		if err != nil {
			return err
		}
		t.Cleanup(func() {
			if err := errors.Join(attached.Close(), s.Close()); err != nil {
				t.Error(err)
			}
		})
		socket = newTestSocket(t)
		socket.bind(t, on.Attrs().Index, 0)
		return s.SetXSK(0, socket.fd)
	}))
	return s, socket
}

func testVeth(t *testing.T, flags link.XDPAttachFlags, cardTime bool) {
	lab := testenv.NewLab(t, 1)
	if cardTime && !testenv.HasCardTimes(t) {
		check(t, lab.Gateway.Do(func() error {
			_, err := LoadSteer(SteerConfig{QueuesMax: 1, CardTime: 1})
			if err == nil {
				t.Error("loaded, although this kernel binds no program to an interface")
			}
			return nil
		}))
		return
	}
	s, socket := steerOnVeth(t, lab, flags, func(cfg SteerConfig) (*Steer, error) {
		if !cardTime {
			cfg.CardTime = 0
		}
		return LoadSteer(cfg)
	})
	v4, _ := netip.AddrFromSlice(lab.GatewayIPv4.To4())
	v6, _ := netip.AddrFromSlice(lab.GatewayIPv6)
	check(t, s.SetListeners([]Listener{{ID: 3, Port: ourPort, Addresses: []netip.Addr{v4, v6}}}))
	check(t, s.SetRedirect(true))

	// No heartbeat yet: the kernel's socket gets it.
	kernel := listen(t, lab, ourPort)
	send(t, lab, lab.GatewayIPv4, ourPort, "unserved v=1")
	receive(t, kernel, "unserved v=1")
	s.Heartbeats()[0].Store(nowMonotonic(t))

	for i, c := range []struct {
		to     net.IP
		family uint8
	}{{lab.GatewayIPv4, 4}, {lab.GatewayIPv6, 6}} {
		payload := "steered v=" + string(rune('1'+i))
		send(t, lab, c.to, ourPort, payload)
		area, packet := socket.next(t, i)
		meta, ok := abi.ReadMeta(area)
		if !ok || meta.Listener != 3 || meta.Family != c.family || int(meta.PacketLength) != len(packet) {
			t.Fatalf("metadata %+v, %t for %x", meta, ok, packet)
		}
		got := packet[meta.PayloadOffset:][:meta.PayloadLength]
		if !bytes.Equal(got, []byte(payload)) {
			t.Errorf("payload %q, want %q", got, payload)
		}
		if meta.Flags != 0 || meta.CardTime != 0 {
			t.Errorf("veth has no clock, and the metadata is %+v", meta)
		}
		if age := nowMonotonic(t) - meta.Arrival; age > uint64(time.Minute) {
			t.Errorf("arrived %d ns ago", age)
		}
	}

	// Another port is not ours, and a datagram larger than the MTU comes in fragments.
	other := listen(t, lab, ourPort+1)
	send(t, lab, lab.GatewayIPv4, ourPort+1, "other v=1")
	receive(t, other, "other v=1")
	large := string(bytes.Repeat([]byte("x"), 4000))
	send(t, lab, lab.GatewayIPv4, ourPort, large)
	receive(t, kernel, large)

	counts, err := s.Verdicts()
	check(t, err)
	if counts[abi.Redirected] != 2 || counts[abi.Unserved] != 1 || counts[abi.Fragment] != 3 ||
		counts[abi.NotOurs] < 1 || counts[abi.Malformed] != 0 || counts[abi.NoMetadata] != 0 {
		t.Errorf("verdicts %v", counts)
	}
}

func listen(t *testing.T, lab *testenv.Lab, port int) (receiver *net.UDPConn) {
	t.Helper()
	check(t, lab.Gateway.Do(func() (err error) {
		receiver, err = net.ListenUDP("udp", &net.UDPAddr{Port: port})
		return err
	}))
	t.Cleanup(func() { receiver.Close() })
	return receiver
}

func send(t *testing.T, lab *testenv.Lab, to net.IP, port int, payload string) {
	t.Helper()
	check(t, lab.Sender.Do(func() error {
		sender, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: to, Port: port})
		if err != nil {
			return err
		}
		defer sender.Close()
		_, err = sender.Write([]byte(payload))
		return err
	}))
}

func receive(t *testing.T, from *net.UDPConn, want string) {
	t.Helper()
	from.SetReadDeadline(time.Now().Add(10 * time.Second))
	into := make([]byte, 65536)
	n, err := from.Read(into)
	if err != nil || string(into[:n]) != want {
		t.Fatalf("received %.40q, %v, want %.40q", into[:n], err, want)
	}
}
