package bpf

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
	"culvert/scripts/testenv"
)

// newPieces loads the program for packets in several pieces of up to 9 KiB in all.
func newPieces(t *testing.T) *Steer {
	t.Helper()
	testenv.Need(t, unix.CAP_BPF, unix.CAP_NET_ADMIN)
	s, err := LoadSteer(SteerConfig{
		MAC: ourMAC, QueuesMax: 1, StallAfter: time.Hour, Pieces: true, PacketMax: 9216,
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { s.Close() })
	check(t, s.SetListeners([]Listener{{ID: 7, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6}}}))
	check(t, s.SetXSK(0, newTestSocket(t).fd))
	check(t, s.SetRedirect(true))
	s.Heartbeats()[0].Store(nowMonotonic(t))
	return s
}

// verdictOf runs a packet of which so many bytes are the first piece; 0 leaves it to the kernel, which makes
// pieces of a page.
func verdictOf(t *testing.T, s *Steer, packet []byte, linear int) (abi.Verdict, []byte) {
	t.Helper()
	before, err := s.Verdicts()
	check(t, err)
	var after xdpMD
	options := ebpf.RunOptions{Data: packet, DataOut: make([]byte, len(packet)+256), Repeat: 1}
	if linear > 0 {
		options.Context = xdpMD{DataEnd: uint32(linear)}
		options.ContextOut = &after
	} else {
		options.Context, options.ContextOut = xdpMD{DataEnd: uint32(len(packet))}, &after
	}
	if _, err := s.Program().Run(&options); err != nil {
		t.Fatalf("run on %d bytes: %v", len(packet), err)
	}
	counts, err := s.Verdicts()
	check(t, err)
	for v := range abi.Verdicts {
		if counts[v] != before[v] {
			return v, options.DataOut[:after.Data]
		}
	}
	t.Fatal("no verdict was counted")
	return 0, nil
}

// Goal: a packet in several pieces is judged by its whole length, of both families: the right ones are
// stamped with it, those whose lengths lie beyond it are dropped, and what is too long passes.
func TestPrivPieces(t *testing.T) {
	s := newPieces(t)
	long := func(n int) func(*frame) {
		return func(f *frame) { f.payload = strings.Repeat("x", n) }
	}
	for name, c := range map[string]struct {
		change func(*frame)
		want   abi.Verdict
	}{
		"one piece":   {func(*frame) {}, abi.Redirected},
		"a page":      {long(4096), abi.Redirected},
		"8 KiB":       {long(8192), abi.Redirected},
		"too long":    {long(9300), abi.TooLong},
		"not ours":    {func(f *frame) { long(8192)(f); f.port++ }, abi.NotOurs},
		"UDP + 1":     {func(f *frame) { long(8192)(f); f.udpLength = 8 + 8192 + 1 }, abi.Malformed},
		"UDP 7":       {func(f *frame) { long(8192)(f); f.udpLength = 7 }, abi.Malformed},
		"IP + 1000":   {func(f *frame) { long(8192)(f); f.total = 9200 }, abi.Malformed},
		"IP 65535":    {func(f *frame) { long(8192)(f); f.total = 65535 }, abi.Malformed},
		"cut":         {func(f *frame) { long(8192)(f); f.cut = 4000 }, abi.Malformed},
		"UDP shorter": {func(f *frame) { long(8192)(f); f.udpLength = 2000 }, abi.Redirected},
	} {
		for family, f := range map[string]frame{"IPv4": telemetry4(), "IPv6": telemetry6()} {
			f := f.with(c.change)
			packet := f.bytes()
			got, area := verdictOf(t, s, packet, 0)
			if got != c.want {
				t.Errorf("%s, %s: %v, want %v", name, family, got, c.want)
				continue
			}
			if c.want != abi.Redirected {
				continue
			}
			meta, ok := abi.ReadMeta(area)
			udp := 8 + len(f.payload)
			if f.udpLength >= 0 {
				udp = f.udpLength
			}
			if !ok || int(meta.PacketLength) != len(packet) || int(meta.PayloadLength) != udp-8 {
				t.Errorf("%s, %s: %+v of %d bytes", name, family, meta, len(packet))
			}
		}
	}
}

// Goal: the program reads the first piece only. Method: it ends within or before each header; what the
// program would need of later ones the kernel gets.
func TestPrivPiecesEndEarly(t *testing.T) {
	if !testenv.AtLeast(6, 18) {
		t.Log("kernels before 6.18 give test packets a first piece of a page")
		return
	}
	s := newPieces(t)
	f := telemetry4().with(func(f *frame) { f.payload = strings.Repeat("x", 3000) })
	packet := f.bytes()
	const ethernet, ip, udp = 14, 20, 8
	for linear := ethernet; linear < len(packet); linear++ {
		want := abi.Redirected
		if linear < ethernet+ip+udp {
			want = abi.Truncated
		}
		if got, _ := verdictOf(t, s, packet, linear); got != want {
			t.Fatalf("a first piece of %d bytes: %v, want %v", linear, got, want)
		}
		if linear > 100 {
			linear += 97
		}
	}
}

// Goal: packets that the metadata cannot tell of are refused at load.
func TestPiecesOutOfRange(t *testing.T) {
	for _, most := range []int{0, abi.PacketMax + 1} {
		if _, err := LoadSteer(SteerConfig{QueuesMax: 1, Pieces: true, PacketMax: most}); err == nil {
			t.Errorf("packets of up to %d bytes are accepted", most)
		}
	}
}
