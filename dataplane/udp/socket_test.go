package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// waitLimit is how long a test waits for a datagram that takes microseconds.
const waitLimit = 10 * time.Second

func openSocket(t testing.TB, slots int, config Config) *Socket {
	t.Helper()
	if config.Memory == nil {
		config.Memory = make([]byte, MemorySize(slots))
	}
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func dial(t testing.TB, host string, port uint16) *net.UDPConn {
	t.Helper()
	conn, err := net.Dial("udp", net.JoinHostPort(host, fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UDPConn)
}

func send(t testing.TB, conn *net.UDPConn, payload []byte) {
	t.Helper()
	if _, err := conn.Write(payload); err != nil {
		t.Fatal(err)
	}
}

// wait polls until the socket is readable.
func wait(t testing.TB, s *Socket) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(s.FD()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(waitLimit/time.Millisecond))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("wait for a datagram: %d, %v", n, err)
		}
		return
	}
}

// collect receives this many datagrams, at most batch at a time, and keeps copies of them.
func collect(t testing.TB, s *Socket, want, batch int) []Datagram {
	t.Helper()
	var all []Datagram
	into := make([]Datagram, batch)
	for len(all) < want {
		n, err := s.Receive(into)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			wait(t, s)
		}
		for _, d := range into[:n] {
			d.Payload = bytes.Clone(d.Payload)
			all = append(all, d)
		}
	}
	if n, err := s.Receive(into); n != 0 || err != nil {
		t.Fatalf("%d datagrams too many, %v", n, err)
	}
	return all
}

// Goal: one lone datagram of either family comes whole, with both its addresses. Method: what a sender
// knows of itself must be what the receiver says.
func TestOneDatagram(t *testing.T) {
	s := openSocket(t, 4, Config{})
	for _, host := range []string{"127.0.0.1", "127.0.0.7", "::1"} {
		before := time.Now().Add(-time.Minute).UnixNano()
		conn := dial(t, host, s.Port())
		send(t, conn, []byte("m v=1"))
		d := collect(t, s, 1, 4)[0]
		if string(d.Payload) != "m v=1" || d.Truncated || d.Joined {
			t.Fatalf("%s: %+v", host, d)
		}
		local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
		if d.Source != local.Addr().As16() || d.SourcePort != local.Port() {
			t.Errorf("%s: from %v port %d, want %v", host, d.Source, d.SourcePort, local)
		}
		if d.Destination != netip.MustParseAddr(host).As16() {
			t.Errorf("%s: to %v", host, d.Destination)
		}
		if d.Stamp < before || d.Stamp > time.Now().Add(time.Minute).UnixNano() {
			t.Errorf("%s: stamped %d", host, d.Stamp)
		}
	}
}

// Goal: where IPv6 is off, IPv4 alone gives the same. Method: open as Open does then.
func TestIPv4Alone(t *testing.T) {
	s, err := open(Config{Memory: make([]byte, MemorySize(2))}, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn := dial(t, "127.0.0.9", s.Port())
	send(t, conn, []byte("m v=2"))
	d := collect(t, s, 1, 2)[0]
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if string(d.Payload) != "m v=2" || d.Source != local.Addr().As16() || d.SourcePort != local.Port() ||
		d.Destination != netip.MustParseAddr("127.0.0.9").As16() {
		t.Fatalf("%+v", d)
	}
}

// Goal: an empty and the longest datagram are datagrams like others.
func TestShortestAndLongest(t *testing.T) {
	s := openSocket(t, 4, Config{ReceiveBuffer: 1 << 20})
	conn := dial(t, "127.0.0.1", s.Port())
	// 65535 less the headers of IPv4 and UDP.
	longest := bytes.Repeat([]byte("x"), 65507)
	send(t, conn, nil)
	send(t, conn, longest)
	send(t, conn, []byte("end"))
	all := collect(t, s, 3, 4)
	if len(all[0].Payload) != 0 || !bytes.Equal(all[1].Payload, longest) || string(all[2].Payload) != "end" {
		t.Fatalf("lengths %d %d %d", len(all[0].Payload), len(all[1].Payload), len(all[2].Payload))
	}
	if all[0].Truncated || all[1].Truncated {
		t.Fatal("marked as truncated")
	}
}

// Goal: a burst longer than the slots comes whole and in order, whatever the reader's room. Method: number
// them.
func TestBurst(t *testing.T) {
	const burst = 200
	for _, batch := range []int{1, 3, 8, 64} {
		s := openSocket(t, 8, Config{ReceiveBuffer: 4 << 20})
		conn := dial(t, "127.0.0.1", s.Port())
		for i := range burst {
			send(t, conn, binary.BigEndian.AppendUint32(nil, uint32(i)))
		}
		for i, d := range collect(t, s, burst, batch) {
			if got := binary.BigEndian.Uint32(d.Payload); int(got) != i {
				t.Fatalf("batch %d: datagram %d says %d", batch, i, got)
			}
		}
		if s.KernelDrops() != 0 {
			t.Fatalf("%d drops", s.KernelDrops())
		}
	}
}

// Goal: a row that the kernel joined is cut into the datagrams that were sent, also when the reader has
// room for a part only. Method: UDP_SEGMENT sends one row, which loopback hands over as it is.
func TestJoinedRow(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, batch := range []int{1, 7, 64} {
			testJoinedRow(t, host, batch)
		}
	}
}

func testJoinedRow(t *testing.T, host string, batch int) {
	s := openSocket(t, 4, Config{ReceiveBuffer: 4 << 20})
	if !s.GRO() {
		t.Fatal("the kernel has no UDP_GRO")
	}
	conn := dial(t, host, s.Port())
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const segment, whole, rest = 1000, 40, 123
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, segment)
	})
	if err != nil {
		t.Fatalf("set UDP_SEGMENT: %v", err)
	}
	row := make([]byte, whole*segment+rest)
	for i := range row {
		row[i] = byte(i / segment)
	}
	send(t, conn, row)
	send(t, conn, []byte("alone"))
	all := collect(t, s, whole+2, batch)
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	var joined int
	for i, d := range all[:whole+1] {
		want := row[i*segment : min((i+1)*segment, len(row))]
		if !bytes.Equal(d.Payload, want) || d.Truncated || d.SourcePort != local.Port() ||
			d.Source != local.Addr().As16() || d.Destination != netip.MustParseAddr(host).As16() {
			t.Fatalf("%s, batch %d: datagram %d of %d bytes: %+v", host, batch, i, len(d.Payload), d)
		}
		if d.Joined {
			joined++
		}
	}
	if joined != whole+1 {
		t.Fatalf("%s: %d of %d datagrams came joined", host, joined, whole+1)
	}
	if last := all[whole+1]; string(last.Payload) != "alone" || last.Joined {
		t.Fatalf("%s: the last one: %+v", host, last)
	}
}

// Goal: a datagram longer than its slot says so, and does not change the next one.
func TestTruncation(t *testing.T) {
	s := openSocket(t, 4, Config{DatagramMax: 100})
	if s.GRO() {
		t.Fatal("GRO is on although a row would be cut")
	}
	conn := dial(t, "127.0.0.1", s.Port())
	for _, length := range []int{100, 101, 5000, 99} {
		send(t, conn, bytes.Repeat([]byte{byte(length)}, length))
	}
	for i, d := range collect(t, s, 4, 4) {
		length := []int{100, 101, 5000, 99}[i]
		want := bytes.Repeat([]byte{byte(length)}, min(length, 100))
		if d.Truncated != (length > 100) || !bytes.Equal(d.Payload, want) {
			t.Fatalf("%d bytes sent: %d received, truncated %v", length, len(d.Payload), d.Truncated)
		}
	}
}

// Goal: sent = received + KernelDrops, to the datagram, with nothing read meanwhile and none sent
// afterwards.
func TestKernelDropsAreCounted(t *testing.T) {
	s := openSocket(t, 64, Config{ReceiveBuffer: 4 << 10})
	conn := dial(t, "127.0.0.1", s.Port())
	const sent = 500
	for range sent {
		send(t, conn, make([]byte, 500))
	}
	into, received := make([]Datagram, 64), 0
	for {
		n, err := s.Receive(into)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		received += n
	}
	drops := s.KernelDrops()
	if drops == 0 || received+int(drops) != sent {
		t.Fatalf("%d sent, %d received, %d dropped", sent, received, drops)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.KernelDrops(); got != drops {
		t.Fatalf("after Close %d drops, before %d", got, drops)
	}
}

// Goal: a port that another program has is refused with its number; a second one of ours that shares it is
// not.
func TestBusyPort(t *testing.T) {
	s := openSocket(t, 1, Config{})
	memory := make([]byte, MemorySize(1))
	for range 2 {
		_, err := Open(Config{Port: s.Port(), Memory: memory})
		var busy *PortError
		if !errors.As(err, &busy) || busy.Port != s.Port() || !errors.Is(err, unix.EADDRINUSE) {
			t.Fatalf("second socket on port %d: %v", s.Port(), err)
		}
	}
	other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	port := uint16(other.LocalAddr().(*net.UDPAddr).Port)
	for _, share := range []bool{false, true} {
		_, err := Open(Config{Port: port, Memory: memory, ReusePort: share})
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Fatalf("another's port %d, share %v: %v", port, share, err)
		}
	}
}

// Goal: sockets that share a port get every datagram once between them.
func TestReusePort(t *testing.T) {
	first := openSocket(t, 16, Config{ReusePort: true})
	second := openSocket(t, 16, Config{Port: first.Port(), ReusePort: true})
	const flows = 64
	var want, got []string
	for i := range flows {
		text := fmt.Sprint("m v=", i)
		send(t, dial(t, "127.0.0.1", first.Port()), []byte(text))
		want = append(want, text)
	}
	into := make([]Datagram, 8)
	for _, s := range []*Socket{first, second} {
		for {
			n, err := s.Receive(into)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			for _, d := range into[:n] {
				got = append(got, string(d.Payload))
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("got %d datagrams, want %d", len(got), len(want))
	}
}

// Goal: what was granted is told, not what was asked for.
func TestReceiveBufferIsVerified(t *testing.T) {
	for _, size := range []int{0, 1 << 12, 1 << 16} {
		s := openSocket(t, 1, Config{ReceiveBuffer: size})
		granted, err := unix.GetsockoptInt(s.FD(), unix.SOL_SOCKET, unix.SO_RCVBUF)
		if err != nil || s.ReceiveBuffer() != granted/2 || s.ReceiveBuffer() < size {
			t.Fatalf("asked %d, told %d, the kernel says %d: %v", size, s.ReceiveBuffer(), granted, err)
		}
	}
}

func TestCloseAgain(t *testing.T) {
	s := openSocket(t, 1, Config{})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGroupsMustBeGroups(t *testing.T) {
	host := netip.MustParseAddr("10.0.0.1")
	_, err := Open(Config{Memory: make([]byte, MemorySize(1)), Groups: []netip.Addr{host}})
	if !errors.Is(err, unix.EINVAL) {
		t.Fatalf("joined a host's address: %v", err)
	}
}

// Goal: nothing is allocated per call or datagram, joined rows included.
func TestReceiveAllocatesNothing(t *testing.T) {
	s := openSocket(t, 16, Config{ReceiveBuffer: 4 << 20})
	conn := dial(t, "127.0.0.1", s.Port())
	into := make([]Datagram, 16)
	payload := []byte("plant,line=a temperature=20.5")
	total := 0
	allocations := testing.AllocsPerRun(200, func() {
		for range 4 {
			conn.Write(payload)
		}
		for range 2 {
			n, err := s.Receive(into)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
	})
	if allocations != 0 || total == 0 {
		t.Fatalf("%v allocations a run, %d datagrams", allocations, total)
	}
}
