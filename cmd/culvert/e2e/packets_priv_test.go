package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// counts waits until the packets' counts meet a condition.
func (g *gateway) counts(what string, complaint func(verdicts, rejected map[string]uint64) string) {
	g.t.Helper()
	eventually(g.t, what, func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		verdicts := interfaceOf(g.t, s, g.lab.GatewayInterface).Verdicts
		if wrong := complaint(verdicts, s.Packets.Rejected); wrong != "" {
			return fmt.Errorf("%s: verdicts %v, rejected %v", wrong, verdicts, s.Packets.Rejected)
		}
		return nil
	})
}

// tagged puts VLAN tags between a frame's addresses and its type, the outermost first.
func tagged(frame []byte, tags ...[2]uint16) []byte {
	b := append([]byte(nil), frame[:12]...)
	for _, tag := range tags {
		b = binary.BigEndian.AppendUint16(b, tag[0])
		b = binary.BigEndian.AppendUint16(b, tag[1])
	}
	return append(b, frame[12:]...)
}

// The types of VLAN tags: IEEE 802.1Q, 802.1ad.
const (
	vlanTag    = 0x8100
	serviceTag = 0x88a8
)

// frame6 builds Ethernet, IPv6, extension headers and UDP around a payload, the sum final. kind is what comes
// first behind the IPv6 header, and each extension's first byte what comes behind it.
func (s *rawSender) frame6(destination net.IP, payload []byte, kind byte, extensions ...[]byte) []byte {
	segment := binary.BigEndian.AppendUint16(nil, 40000)
	segment = binary.BigEndian.AppendUint16(segment, port)
	segment = binary.BigEndian.AppendUint16(segment, uint16(8+len(payload)))
	segment = append(append(segment, 0, 0), payload...)
	pseudo := append(append([]byte(nil), s.lab.SenderIPv6.To16()...), destination.To16()...)
	pseudo = append(pseudo, 0, 0, segment[4], segment[5], 0, 0, 0, 17)
	sum := ^wordSum(append(pseudo, segment...))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(segment[6:], sum)
	length := len(segment)
	for _, e := range extensions {
		length += len(e)
	}
	b := append(append([]byte(nil), s.gateway...), s.from...)
	b = binary.BigEndian.AppendUint16(b, 0x86dd)
	b = binary.BigEndian.AppendUint32(b, 6<<28)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, kind, 64)
	b = append(append(b, s.lab.SenderIPv6.To16()...), destination.To16()...)
	for _, e := range extensions {
		b = append(b, e...)
	}
	return append(b, segment...)
}

// Goal: frames of every lawful shape arrive by AF_XDP with exactly their payload. Method: raw frames with
// VLAN tags, IP options, extension headers, padding.
func TestPrivFramesOfEveryShape(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	raw := newRawSender(t, lab)
	var want []string
	line := func(name string) []byte {
		want = append(want, name+" v=1 1")
		return []byte(name + " v=1 1")
	}
	v4, v6 := lab.GatewayIPv4, lab.GatewayIPv6
	raw.send(tagged(raw.frame(v4, line("vlan")), [2]uint16{vlanTag, 5}))
	raw.send(tagged(raw.frame(v4, line("qinq")), [2]uint16{serviceTag, 7}, [2]uint16{vlanTag, 5}))
	raw.send(tagged(raw.frame6(v6, line("vlan6"), 17), [2]uint16{vlanTag, 5}))
	// Behind the datagram of a tiny packet the sender's card pads to 60 bytes, with whatever it has.
	raw.send(append(raw.frame(v4, line("p")), "\nzz v=9 9 9"...))
	raw.send(append(raw.frame6(v6, line("p6"), 17), "\nzz v=9"...))
	// A destination option of eight bytes that is all padding (PadN), and a hop-by-hop one before it.
	option := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	raw.send(raw.frame6(v6, line("destination"), 60, option(17)))
	raw.send(raw.frame6(v6, line("hop"), 0, option(60), option(17)))
	withOptions := raw.frame(v4, line("options"))
	header := append(append([]byte(nil), withOptions[ipAt:udpAt]...), 1, 1, 1, 0) // three NOPs and the end
	header[0] = 0x46
	binary.BigEndian.PutUint16(header[2:], uint16(len(withOptions)-ipAt+4))
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], ^wordSum(header))
	raw.send(slices.Concat(withOptions[:ipAt], header, withOptions[udpAt:]))
	s := g.settled(uint64(len(want)))
	got := sink.all()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("the sink has %q, want %q", got, want)
	}
	if s.Packets.Redirected != uint64(len(want)) || s.Packets.ResidueRedirect != 0 {
		t.Fatalf("%+v", s.Packets)
	}
}

// Goal: unlawful frames are counted under their names and reach nobody. Method: an IPv6 datagram without sum,
// a wrong IPv4 header, three VLAN tags, then a good frame.
func TestPrivUnlawfulFrames(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	raw := newRawSender(t, lab)
	payload := []byte("m v=1 1")
	unsummed := raw.frame6(lab.GatewayIPv6, payload, 17)
	copy(unsummed[14+40+6:], []byte{0, 0})
	raw.send(unsummed)
	bent := raw.frame(lab.GatewayIPv4, payload)
	bent[ipAt+8]++
	raw.send(bent)
	raw.send(tagged(raw.frame(lab.GatewayIPv4, payload), [2]uint16{serviceTag, 1}, [2]uint16{serviceTag, 2},
		[2]uint16{vlanTag, 3}))
	raw.send(raw.frame(lab.GatewayIPv4, []byte("good v=1 1")))
	g.counts("counted", func(verdicts, rejected map[string]uint64) string {
		if rejected["no_checksum"] != 1 || rejected["header_checksum"] != 1 || verdicts["vlan_depth"] != 1 ||
			verdicts["redirected"] != 3 {
			return "want one each"
		}
		return ""
	})
	g.settled(1)
	if got := sink.all(); !slices.Equal(got, []string{"good v=1 1"}) {
		t.Fatalf("the sink has %q", got)
	}
}

// Goal: a listener takes what is sent to its multicast group, steered where XDP can and by the kernel where
// it cannot, and nothing of other groups. Method: raw frames to three groups, and a fragmented datagram.
func TestPrivMulticast(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d, address: [%s, 239.1.2.3, "ff05::8089"]}]
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, lab.GatewayIPv4, sink.url)))
	g.ready()
	raw := newRawSender(t, lab)
	// RFC 1112 section 6.4 and RFC 2464 section 7: a group's MAC.
	mac4, mac6 := []byte{1, 0, 0x5e, 1, 2, 3}, []byte{0x33, 0x33, 0, 0, 0x80, 0x89}
	to := func(mac, frame []byte) []byte { return slices.Concat(mac, frame[6:]) }
	raw.send(to(mac4, raw.frame(net.IPv4(239, 1, 2, 3), []byte("four v=1 1"))))
	raw.send(to(mac6, raw.frame6(net.ParseIP("ff05::8089"), []byte("six v=1 1"), 17)))
	raw.send(to(mac4, raw.frame(net.IPv4(239, 1, 2, 4), []byte("other v=1 1"))))
	raw.send(raw.frame(lab.GatewayIPv4, []byte("one v=1 1")))
	// IPv6 was not listed.
	raw.send(raw.frame6(lab.GatewayIPv6, []byte("unlisted v=1 1"), 17))
	large := "large s=\"" + strings.Repeat("x", 4000) + "\" 1"
	err := lab.Sender.Do(func() error {
		conn, err := net.ListenPacket("udp4", lab.SenderIPv4.String()+":0")
		if err != nil {
			return err
		}
		defer conn.Close()
		// Without a route to the group the sender names the interface by its address.
		if err := setMulticastInterface(conn.(*net.UDPConn), lab.SenderIPv4); err != nil {
			return err
		}
		_, err = conn.WriteTo([]byte(large), &net.UDPAddr{IP: net.IPv4(239, 1, 2, 3), Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := g.settled(4)
	got := sink.all()
	slices.Sort(got)
	if want := []string{"four v=1 1", large, "one v=1 1", "six v=1 1"}; !slices.Equal(got, want) {
		t.Fatalf("the sink has %q, want %q", got, want)
	}
	verdicts := interfaceOf(t, s, lab.GatewayInterface).Verdicts
	if s.Packets.Redirected != 3 || verdicts["not_ours"] < 2 || verdicts["fragment"] < 2 {
		t.Fatalf("verdicts %v, %+v", verdicts, s.Packets)
	}
}

func setMulticastInterface(conn *net.UDPConn, address net.IP) error {
	control, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = control.Control(func(fd uintptr) {
		failed = unix.SetsockoptInet4Addr(int(fd), unix.SOL_IP, unix.IP_MULTICAST_IF, [4]byte(address.To4()))
	})
	if err != nil {
		return err
	}
	return failed
}

// Goal: `sources` keeps others out on both ways in, over both families. Method: allowed and other senders by
// raw frames, and from loopback by the kernel's socket.
func TestPrivSources(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d, sources: [%s/32, "%s/128"]}]
tenants: [{name: others}, {name: line-a, sources: [10.88.0.0/24], listeners: [plant]}]
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, lab.SenderIPv4, lab.SenderIPv6, sink.url)))
	g.ready()
	raw := newRawSender(t, lab)
	raw.send(raw.frame(lab.GatewayIPv4, []byte("four v=1 1")))
	raw.send(raw.frame6(lab.GatewayIPv6, []byte("six v=1 1"), 17))
	stranger := *lab
	stranger.SenderIPv4, stranger.SenderIPv6 = net.IPv4(10, 88, 0, 3), net.ParseIP("fd00:88::3")
	raw.lab = &stranger
	raw.send(raw.frame(lab.GatewayIPv4, []byte("bad v=1 1")))
	raw.send(raw.frame6(lab.GatewayIPv6, []byte("bad v=1 1"), 17))
	err := lab.Gateway.Do(func() error {
		for _, to := range []string{"127.0.0.1", "::1"} {
			conn, err := net.Dial("udp", net.JoinHostPort(to, fmt.Sprint(port)))
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("local v=1 1")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	g.counts("counted", func(verdicts, rejected map[string]uint64) string {
		if verdicts["source"] != 2 || rejected["source"] != 2 || verdicts["redirected"] != 2 {
			return "want two each"
		}
		return ""
	})
	g.settled(2)
	got := sink.all()
	slices.Sort(got)
	if want := []string{"four v=1 1", "six v=1 1"}; !slices.Equal(got, want) {
		t.Fatalf("the sink has %q, want %q", got, want)
	}
}

// Goal: listeners on one port are told apart by their addresses, whichever way packets come. Method: one
// for each family, in native mode and by sockets; a datagram in one piece and one in fragments to each.
func TestPrivListenersShareAPort(t *testing.T) {
	need(t)
	for _, mode := range []string{"native", "socket"} {
		lab := testenv.NewLab(t, 1)
		sink := newRecorder(t, lab)
		g := start(t, lab, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
			`interfaces: [{name: %s, mode: %s}]
listeners:
  - {name: four, port: %d, address: [%s], tags: {ip: "4"}}
  - {name: six, port: %d, address: ["%s"], tags: {ip: "6"}}
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, mode, port, lab.GatewayIPv4, port, lab.GatewayIPv6, sink.url)))
		g.ready()
		var want []string
		for ip, to := range map[string]net.IP{"4": lab.GatewayIPv4, "6": lab.GatewayIPv6} {
			conn := udpSender(t, lab, to)
			for n, text := range []string{"x", strings.Repeat("x", 4000)} {
				if _, err := fmt.Fprintf(conn, "m s=%q %d", text, n+1); err != nil {
					t.Fatal(err)
				}
				want = append(want, fmt.Sprintf("m,ip=%s s=%q %d", ip, text, n+1))
			}
		}
		g.settled(4)
		got := sink.all()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("mode %s: the sink has %.200q, want %.200q", mode, got, want)
		}
		if code := g.stop(); code != 0 {
			t.Fatalf("mode %s: exit code %d", mode, code)
		}
	}
}
