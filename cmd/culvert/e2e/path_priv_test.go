package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// configure writes a gateway's configuration: native XDP on the lab's interface, one listener, one sink.
func configure(t *testing.T, lab *testenv.Lab, url, more string) string {
	t.Helper()
	return write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s, mode: native%s}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, more, port, url))
}

func interfaceOf(t *testing.T, s *telemetry.Status, name string) *telemetry.InterfaceStatus {
	t.Helper()
	for i := range s.Interfaces {
		if s.Interfaces[i].Name == name {
			return &s.Interfaces[i]
		}
	}
	t.Fatalf("interface %q is not in the status", name)
	return nil
}

// Goal: points of ordinary senders, over both families, arrive byte for byte, by AF_XDP. Method: a UDP
// socket, a sink that keeps its lines.
func TestPrivPointsArriveByXDP(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	var want []string
	for i, to := range []net.IP{lab.GatewayIPv4, lab.GatewayIPv6} {
		conn := udpSender(t, lab, to)
		for n := range 50 {
			line := fmt.Sprintf(`motor,line=a\ b,n=%d v=%d.5,s="x y, \"z\"",ok=t,i=%di %d`, i, n, n,
				1700000000000000000+n)
			want = append(want, line)
			if _, err := conn.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := g.settled(100)
	got := sink.all()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("the sink has %d lines, want %d; the first: %q", len(got), len(want), got[0])
	}
	// IPv6 senders ask for our MAC first and may get the first packet in by the slow path's socket only if
	// XDP passed it; it must not.
	if s.Packets.Redirected != 100 || s.Packets.Kernel != 0 {
		t.Fatalf("%d packets redirected, %d by the kernel: %+v", s.Packets.Redirected, s.Packets.Kernel,
			s.Packets)
	}
	if s.Packets.ResidueRedirect != 0 || s.Packets.ResidueDecode != 0 {
		t.Fatalf("the packet balance does not close: %+v", s.Packets)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// Goal: what XDP cannot steer reaches the sink by the kernel's socket: a fragmented datagram, a sender on the
// same host, a queue without a socket. Method: queue 1 is not served; each is sent and counted.
func TestPrivSlowPath(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ", queues: [0]"))
	g.ready()

	large := []byte("big s=\"" + strings.Repeat("x", 4000) + "\" 1")
	if _, err := udpSender(t, lab, lab.GatewayIPv4).Write(large); err != nil {
		t.Fatal(err)
	}
	g.settled(1)

	err := lab.Gateway.Do(func() error {
		for _, to := range []string{"127.0.0.1", lab.GatewayIPv4.String(), "::1"} {
			conn, err := net.Dial("udp", net.JoinHostPort(to, fmt.Sprint(port)))
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("local v=1 2")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	g.settled(4)

	// The sender's queue follows the flow: of sixteen flows some use the queue that nobody serves.
	for range 16 {
		if _, err := udpSender(t, lab, lab.GatewayIPv4).Write([]byte("flow v=1 3")); err != nil {
			t.Fatal(err)
		}
	}
	s := g.settled(20)
	verdicts := interfaceOf(t, s, lab.GatewayInterface).Verdicts
	if verdicts["fragment"] == 0 || s.Packets.Kernel < 4 {
		t.Fatalf("%d packets by the kernel, verdicts %v", s.Packets.Kernel, verdicts)
	}
	if verdicts["unserved"]+verdicts["redirected"] != 16 || verdicts["unserved"]+4 != s.Packets.Kernel {
		t.Fatalf("%d packets by the kernel, verdicts %v", s.Packets.Kernel, verdicts)
	}
	if lines := sink.all(); len(lines) != 20 || !slices.Contains(lines, string(large)) {
		t.Fatalf("the sink has %d lines, or the large one is not whole", len(lines))
	}
}

// Goal: packets that are not ours are not touched, and hostile ones change nothing. Method: raw frames, one
// of each kind, then good ones.
func TestPrivForeignAndHostilePackets(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	raw := newRawSender(t, lab)
	payload := []byte("m v=1 1")

	raw.send(raw.frame(net.IPv4(192, 0, 2, 7), payload)) // routed: another host's port 8089
	flipped := raw.frame(lab.GatewayIPv4, payload)
	flipped[payloadAt] ^= 1
	raw.send(flipped)
	partial := raw.frame(lab.GatewayIPv4, payload) // what a local sender leaves to its card
	segment := partial[udpAt:]
	pseudo := append(append([]byte(nil), partial[ipAt+12:udpAt]...), 0, 17, segment[4], segment[5])
	binary.BigEndian.PutUint16(segment[6:], wordSum(pseudo))
	raw.send(partial)
	unsummed := raw.frame(lab.GatewayIPv4, payload)
	copy(unsummed[udpAt+6:], []byte{0, 0})
	raw.send(unsummed)
	lying := raw.frame(lab.GatewayIPv4, payload)
	binary.BigEndian.PutUint16(lying[udpAt+4:], 5000)
	raw.send(lying)
	headerless := raw.frame(lab.GatewayIPv4, payload)
	headerless[ipAt] = 0x43
	raw.send(headerless)
	raw.send(raw.frame(lab.GatewayIPv4, bytes.Repeat([]byte{0xff, 0, '\n', '"'}, 100)))
	raw.send(raw.frame(lab.GatewayIPv4, []byte("good v=1 1\nbad\ngood v=2 2")))

	eventually(t, "counted", func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		v := interfaceOf(t, s, lab.GatewayInterface).Verdicts
		if v["not_ours"] != 1 || v["malformed"] != 2 || s.Packets.Rejected["checksum"] != 1 ||
			s.Ledger.Written != 4 {
			return fmt.Errorf("verdicts %v, packets rejected %v, %d points written", v, s.Packets.Rejected,
				s.Ledger.Written)
		}
		return nil
	})
	s, err := g.status()
	if err != nil || s.Ledger.Residue != 0 || s.Ledger.Received < 6 {
		t.Fatalf("%v, ledger %+v", err, s.Ledger)
	}
	got := sink.all()
	slices.Sort(got)
	if want := []string{"good v=1 1", "good v=2 2", "m v=1 1", "m v=1 1"}; !slices.Equal(got, want) {
		t.Fatalf("the sink has %q, want %q", got, want)
	}
}
