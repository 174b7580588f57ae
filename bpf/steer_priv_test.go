package bpf

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
	"culvert/scripts/testenv"
)

const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpRedirect = 4
)

// xdpMD is struct xdp_md of linux/bpf.h: what BPF_PROG_TEST_RUN takes as the packet's context.
type xdpMD struct {
	Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32
}

func nowMonotonic(t testing.TB) uint64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return uint64(now.Nano())
}

// newSteer loads the program with two queues; the first has a socket and a living worker. Redirect is on. The
// listeners: 7 on the usual addresses and port.
func newSteer(t testing.TB, listeners ...Listener) *Steer {
	t.Helper()
	testenv.Need(t, unix.CAP_BPF, unix.CAP_NET_ADMIN)
	s, err := LoadSteer(SteerConfig{MAC: ourMAC, QueuesMax: 2, StallAfter: time.Hour})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if len(listeners) == 0 {
		listeners = []Listener{{ID: 7, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6, groupV4}}}
	}
	for _, err := range []error{
		s.SetListeners(listeners), s.SetXSK(0, newTestSocket(t).fd), s.SetRedirect(true),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Heartbeats()[0].Store(nowMonotonic(t))
	return s
}

// run gives a packet to the program as if queue 0 had received it, and returns the action, the metadata area
// and the packet as they are afterwards.
func run(t testing.TB, s *Steer, packet []byte) (action uint32, meta, out []byte) {
	t.Helper()
	out = make([]byte, len(packet)+256)
	var after xdpMD
	options := ebpf.RunOptions{
		Data: packet, DataOut: out, Context: xdpMD{DataEnd: uint32(len(packet))}, ContextOut: &after,
		Repeat: 1,
	}
	action, err := s.Program().Run(&options)
	if err != nil {
		t.Fatalf("run on %d bytes: %v", len(packet), err)
	}
	return action, options.DataOut[:after.Data], options.DataOut[after.Data:]
}

// expect runs a packet and checks its verdict by the counters, its action, and that a packet that was not
// redirected is as it was.
func expect(t testing.TB, s *Steer, packet []byte, want abi.Verdict) (meta []byte) {
	t.Helper()
	before, err := s.Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	action, meta, out := run(t, s, packet)
	after, err := s.Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	for v := range abi.Verdicts {
		grown := after[v] - before[v]
		if v == want && grown != 1 || v != want && grown != 0 {
			t.Errorf("verdict %s grew by %d, wanted one %s for %x", v, grown, want, packet)
		}
	}
	wantAction := uint32(xdpPass)
	switch {
	case want == abi.Redirected:
		wantAction = xdpRedirect
	case want.Dropped():
		wantAction = xdpDrop
	}
	if action != wantAction {
		t.Errorf("action %d, want %d for verdict %s", action, wantAction, want)
	}
	if !bytes.Equal(out, packet) {
		t.Errorf("the packet changed\nfrom %x\nto   %x", packet, out)
	}
	if want != abi.Redirected && len(meta) != 0 {
		t.Errorf("verdict %s left %d bytes of metadata", want, len(meta))
	}
	return meta
}

// Goal: where a program that ran before has put metadata in front of a packet, which would be read instead of
// ours, the packet passes as it came. Method: eight bytes of metadata, then the packet without.
func TestPrivMetadataOfOthers(t *testing.T) {
	s := newSteer(t)
	sent := telemetry4()
	packet := sent.bytes()
	theirs := []byte("theirs: ")
	var after xdpMD
	options := ebpf.RunOptions{
		Data: append(slices.Clone(theirs), packet...), DataOut: make([]byte, len(packet)+256), Repeat: 1,
		Context:    xdpMD{Data: uint32(len(theirs)), DataEnd: uint32(len(theirs) + len(packet))},
		ContextOut: &after,
	}
	action, err := s.Program().Run(&options)
	if err != nil {
		t.Fatal(err)
	}
	if action != xdpPass || !bytes.Equal(options.DataOut, options.Data) {
		t.Errorf("action %d, %x", action, options.DataOut)
	}
	counts, err := s.Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	if counts[abi.NoMetadata] != 1 {
		t.Errorf("verdicts %v", counts)
	}
	expect(t, s, packet, abi.Redirected)
}

// Goal: the metadata says what the packet holds. Method: packets whose answer is counted by hand.
func TestPrivMetadata(t *testing.T) {
	s := newSteer(t, Listener{
		ID: 0x1234, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6},
		Tenants: []TenantPrefix{
			{netip.MustParsePrefix("10.2.0.0/16"), 5}, {netip.MustParsePrefix("10.2.0.8/29"), 6},
			{netip.MustParsePrefix("fd00:2::/32"), 300},
		},
	})
	from := func(source string) frame {
		return telemetry4().with(func(f *frame) { f.from = netip.MustParseAddr(source) })
	}
	// The offsets and lengths in the order of struct meta, then tenant and family.
	for name, c := range map[string]struct {
		frame                                frame
		payload, length, l3, l4, all, tenant uint16
		family                               uint8
	}{
		"IPv4":           {telemetry4(), 42, 6, 14, 34, 48, 6, 4},
		"IPv6":           {telemetry6(), 62, 6, 14, 54, 68, 300, 6},
		"shorter prefix": {from("10.2.0.16"), 42, 6, 14, 34, 48, 5, 4},
		"default tenant": {from("10.3.0.1"), 42, 6, 14, 34, 48, 0, 4},
		"empty":          {telemetry4().with(func(f *frame) { f.payload = "" }), 42, 0, 14, 34, 42, 6, 4},
		"padding and options": {telemetry4().with(func(f *frame) {
			f.padding, f.options, f.udpLength = 4, make([]byte, 8), 11
		}), 50, 3, 14, 42, 60, 6, 4},
		"two tags and extensions": {telemetry6().with(func(f *frame) {
			f.tags = []uint16{0x88a8, 0x8100}
			f.extend = []extension{{0, make([]byte, 6)}, {60, make([]byte, 22)}}
		}), 102, 6, 22, 94, 108, 300, 6},
	} {
		t.Run(name, func(t *testing.T) {
			before := nowMonotonic(t)
			area := expect(t, s, c.frame.bytes(), abi.Redirected)
			after := nowMonotonic(t)
			if len(area) != abi.MetaSize {
				t.Fatalf("metadata of %d bytes, want %d", len(area), abi.MetaSize)
			}
			got, ok := abi.ReadMeta(area)
			if !ok {
				t.Fatalf("no metadata in %x", area)
			}
			if got.Arrival < before || got.Arrival > after {
				t.Errorf("arrival %d is not between %d and %d", got.Arrival, before, after)
			}
			got.Arrival = 0
			want := abi.Meta{
				PayloadOffset: c.payload, PayloadLength: c.length, Listener: 0x1234, Tenant: c.tenant,
				L3Offset: c.l3, L4Offset: c.l4, PacketLength: c.all, Family: c.family,
			}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// Goal: the verdicts that the gateway's own state decides, and that each state is left again.
func TestPrivSwitches(t *testing.T) {
	s := newSteer(t)
	f := telemetry4()
	packet, beat := f.bytes(), s.Heartbeats()[0]
	expect(t, s, packet, abi.Redirected)

	check(t, s.SetRedirect(false))
	expect(t, s, packet, abi.Off)
	check(t, s.SetRedirect(true))
	expect(t, s, packet, abi.Redirected)

	beat.Store(0)
	expect(t, s, packet, abi.Unserved)
	beat.Store(nowMonotonic(t) - uint64(2*time.Hour))
	expect(t, s, packet, abi.Stalled)
	// A beat in the future is a clock read a moment later on another CPU, not a stall.
	beat.Store(nowMonotonic(t) + uint64(time.Second))
	expect(t, s, packet, abi.Redirected)

	s.settings.words[packetMaxWord].Store(uint64(len(packet)) - 1)
	expect(t, s, packet, abi.TooLong)
	s.settings.words[packetMaxWord].Store(uint64(len(packet)))
	expect(t, s, packet, abi.Redirected)

	check(t, s.ClearXSK(0))
	expect(t, s, packet, abi.Unserved)
	check(t, s.ClearXSK(0))
	check(t, s.SetXSK(0, newTestSocket(t).fd))
	expect(t, s, packet, abi.Redirected)

	check(t, s.SetMAC(otherMAC))
	expect(t, s, packet, abi.OtherMAC)
	other := telemetry4().with(func(f *frame) { f.to = otherMAC })
	expect(t, s, other.bytes(), abi.Redirected)
}

// Goal: without a limit no worker counts as stalled, however old its heartbeat.
func TestPrivNoStallLimit(t *testing.T) {
	testenv.Need(t, unix.CAP_BPF, unix.CAP_NET_ADMIN)
	s, err := LoadSteer(SteerConfig{MAC: ourMAC, QueuesMax: 1})
	check(t, err)
	defer s.Close()
	check(t, s.SetListeners([]Listener{{ID: 1, Port: ourPort, Addresses: []netip.Addr{ourV4}}}))
	check(t, s.SetXSK(0, newTestSocket(t).fd))
	check(t, s.SetRedirect(true))
	s.Heartbeats()[0].Store(1)
	f := telemetry4()
	expect(t, s, f.bytes(), abi.Redirected)
}

// Goal: only allowed senders get in, by family and by listener.
func TestPrivSources(t *testing.T) {
	prefixes := func(list ...string) (p []netip.Prefix) {
		for _, s := range list {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	both := []netip.Addr{ourV4, ourV6}
	s := newSteer(t,
		Listener{ID: 1, Port: 1001, Addresses: both, Sources: prefixes("10.2.0.0/24")},
		Listener{ID: 2, Port: 1002, Addresses: both, Sources: prefixes("fd00:2::9/128")},
		Listener{ID: 3, Port: 1003, Addresses: both},
		Listener{ID: 4, Port: 1004, Addresses: both, Sources: prefixes("0.0.0.0/0", "::/0")},
		// Bits beyond the prefix's length do not count, and a mapped prefix means IPv4.
		Listener{ID: 5, Port: 1005, Addresses: both, Sources: prefixes("::ffff:10.2.0.77/120")},
	)
	for _, c := range []struct {
		port     uint16
		from, at netip.Addr
		want     abi.Verdict
	}{
		{1001, sendV4, ourV4, abi.Redirected},
		{1001, netip.MustParseAddr("10.2.1.0"), ourV4, abi.Source},
		{1001, sendV6, ourV6, abi.Source},
		{1002, sendV6, ourV6, abi.Redirected},
		{1002, netip.MustParseAddr("fd00:2::8"), ourV6, abi.Source},
		{1002, sendV4, ourV4, abi.Source},
		{1003, sendV4, ourV4, abi.Redirected},
		{1003, sendV6, ourV6, abi.Redirected},
		{1004, sendV4, ourV4, abi.Redirected},
		{1004, sendV6, ourV6, abi.Redirected},
		{1005, sendV4, ourV4, abi.Redirected},
		{1005, netip.MustParseAddr("10.2.1.1"), ourV4, abi.Source},
	} {
		f := telemetry4().with(func(f *frame) { f.port, f.from, f.at = c.port, c.from, c.at })
		expect(t, s, f.bytes(), c.want)
	}
}

// Goal: what is closed says so, twice is fine, and queues out of range are refused.
func TestPrivClose(t *testing.T) {
	testenv.Need(t, unix.CAP_BPF, unix.CAP_NET_ADMIN)
	s, err := LoadSteer(SteerConfig{QueuesMax: 1})
	check(t, err)
	for _, queue := range []int{-1, 1} {
		if s.SetXSK(queue, 0) == nil || s.ClearXSK(queue) == nil {
			t.Errorf("queue %d was accepted", queue)
		}
	}
	if err := s.SetXSK(0, int(os.Stdin.Fd())); err == nil {
		t.Error("a file that is no AF_XDP socket was accepted")
	}
	check(t, s.Close())
	check(t, s.Close())
	_, verdicts := s.Verdicts()
	for i, err := range []error{
		s.SetRedirect(true), s.SetMAC(ourMAC), s.SetListeners(nil), s.SetXSK(0, 0), s.ClearXSK(0), verdicts,
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("call %d after Close: %v", i, err)
		}
	}
}

// Goal: the metadata of an earlier packet is no metadata.
func TestPrivClearMeta(t *testing.T) {
	s := newSteer(t)
	f := telemetry4()
	area := slices.Clone(expect(t, s, f.bytes(), abi.Redirected))
	abi.ClearMeta(area)
	if _, ok := abi.ReadMeta(area); ok {
		t.Error("cleared metadata was read")
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
