package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"culvert/scripts/testenv"
)

// linesOf is lines of Line Protocol, each another one, of exactly so many bytes together.
func linesOf(n, size int) (lines []string) {
	for size > 0 {
		line := fmt.Sprintf("m,n=%d v=%d %d", n, len(lines), 1+n<<16+len(lines))
		if rest := size - len(line) - 1; rest < 64 {
			// The last one takes what is left, as the value of a tag.
			line = fmt.Sprintf("m,n=%d,pad=x v=%d %d", n, len(lines), 1+n<<16+len(lines))
			line = strings.Replace(line, "pad=x", "pad="+strings.Repeat("x", size-len(line)), 1)
		}
		lines = append(lines, line)
		size -= len(line) + 1
	}
	return lines
}

// Goal: datagrams longer than a frame arrive whole, of both families and of every length around the frames'
// edges, in auto and in native mode, with the sums checked and both balances exact. Method: veth with an MTU
// of 9000; a frame of 2048 bytes holds 1792 of a packet. On kernels before 6.6, which give such packets to no
// AF_XDP socket, they come by the kernel's.
func TestPrivJumboFrames(t *testing.T) {
	need(t)
	const frame, headers4, headers6, largest = 1792, 14 + 20 + 8, 14 + 40 + 8, 8192
	mode := "native"
	if !testenv.AtLeast(6, 6) {
		mode = "auto"
	}
	lab := testenv.NewLab(t, 1)
	privatePins(t, lab)
	setMTU(t, lab, 9000)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configureMode(t, lab, sink.url, mode))
	g.ready()
	sizes := []int{100, 1400, largest, 9000 - 28}
	for _, headers := range []int{headers4, headers6} {
		for frames := 1; frames <= 4; frames++ {
			for off := -1; off <= 1; off++ {
				sizes = append(sizes, frames*frame-headers+off)
			}
		}
	}
	var lines []string
	long := uint64(0)
	send := func(conn net.Conn, n, size, headers int) {
		t.Helper()
		text := linesOf(n, size)
		if _, err := fmt.Fprint(conn, strings.Join(text, "\n")+"\n"); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, text...)
		if size+headers > frame {
			long++
		}
		// One at a time: the rings are small.
		g.settled(uint64(len(lines)))
	}
	v4, v6 := udpSender(t, lab, lab.GatewayIPv4), udpSender(t, lab, lab.GatewayIPv6)
	for n, size := range sizes {
		send(v4, 2*n, size, headers4)
		if size+headers6 <= 9000+14 {
			send(v6, 2*n+1, size, headers6)
		}
	}
	s := g.settled(uint64(len(lines)))
	got := sink.all()
	slices.Sort(got)
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		t.Fatalf("the sink has %d lines, want %d", len(got), len(lines))
	}
	if mode == "native" {
		in := interfaceOf(t, s, lab.GatewayInterface)
		if in.Mode != "native" || s.Packets.Assembled != long || s.Packets.Kernel != 0 {
			t.Fatalf("mode %s, %d long packets: %+v, %v", in.Mode, long, s.Packets, in.Verdicts)
		}
		hostileJumbos(t, lab, g, uint64(len(lines)))
	}
	if code := g.stop(); code != 0 || xdpOf(t, lab) {
		t.Fatalf("exit code %d, a program is still attached: %t", code, xdpOf(t, lab))
	}
}

// hostileJumbos sends long packets whose lengths or sums lie: each is counted as what it is, none gives a
// point, and the gateway goes on.
func hostileJumbos(t *testing.T, lab *testenv.Lab, g *gateway, points uint64) {
	t.Helper()
	raw := newRawSender(t, lab)
	send := func(change func(ip, udp []byte)) {
		b := raw.frame(lab.GatewayIPv4, []byte(strings.Repeat("m v=1 1\n", 1000)))
		change(b[14:], b[34:])
		raw.send(b)
	}
	for _, lie := range []uint16{0, 7, 8 + 8001, 65535} {
		send(func(_, udp []byte) { binary.BigEndian.PutUint16(udp[4:], lie) })
	}
	for _, lie := range []uint16{20, 27, 28 + 8001, 65535} {
		send(func(ip, _ []byte) { binary.BigEndian.PutUint16(ip[2:], lie) })
	}
	send(func(_, udp []byte) { udp[len(udp)-1] ^= 1 })
	eventually(t, "the lies are counted", func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		malformed := interfaceOf(t, s, lab.GatewayInterface).Verdicts["malformed"]
		sums := s.Packets.Rejected["checksum"] + s.Packets.Rejected["header_checksum"]
		if malformed != 8 || sums != 1 {
			return fmt.Errorf("%d malformed, %v rejected", malformed, s.Packets.Rejected)
		}
		return nil
	})
	s := g.settled(points)
	if s.Packets.ResidueRedirect != 0 || s.Packets.ResidueDecode != 0 {
		t.Fatalf("%+v", s.Packets)
	}
}
