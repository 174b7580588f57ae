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

// run gives a packet to the program as if queue 0 had received it, and returns the action, the metadata area and
// the packet as they are afterwards.
func run(t testing.TB, s *Steer, packet []byte) (action uint32, meta, out []byte) {
	t.Helper()
	out = make([]byte, len(packet)+256)
	var after xdpMD
	options := ebpf.RunOptions{
		Data: packet, DataOut: out, Context: xdpMD{DataEnd: uint32(len(packet))}, ContextOut: &after, Repeat: 1,
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

// Goal: each verdict that the packet itself decides. Method: one packet a line, right and wrong ones.
func TestPrivVerdicts(t *testing.T) {
	s := newSteer(t)
	four, six := telemetry4(), telemetry6()
	hop, dst := extension{0, make([]byte, 6)}, extension{60, make([]byte, 14)}
	for name, c := range map[string]struct {
		frame  frame
		change func(*frame)
		want   abi.Verdict
	}{
		"IPv4":            {four, func(*frame) {}, abi.Redirected},
		"IPv6":            {six, func(*frame) {}, abi.Redirected},
		"one tag":         {four, func(f *frame) { f.tags = []uint16{0x8100} }, abi.Redirected},
		"two tags":        {six, func(f *frame) { f.tags = []uint16{0x88a8, 0x8100} }, abi.Redirected},
		"three tags":      {four, func(f *frame) { f.tags = []uint16{0x88a8, 0x8100, 0x8100} }, abi.VLANDepth},
		"broadcast MAC":   {four, func(f *frame) { f.to = [6]byte{255, 255, 255, 255, 255, 255} }, abi.Redirected},
		"multicast":       {four, func(f *frame) { f.to, f.at = [6]byte{1, 0, 0x5e, 1, 2, 3}, groupV4 }, abi.Redirected},
		"other MAC":       {four, func(f *frame) { f.to = otherMAC }, abi.OtherMAC},
		"MAC off by one":  {four, func(f *frame) { f.to[5]++ }, abi.OtherMAC},
		"other address":   {four, func(f *frame) { f.at = sendV4 }, abi.NotOurs},
		"other IPv6":      {six, func(f *frame) { f.at = sendV6 }, abi.NotOurs},
		"other port":      {four, func(f *frame) { f.port++ }, abi.NotOurs},
		"port 0":          {four, func(f *frame) { f.port = 0 }, abi.NotOurs},
		"port 0 IPv6":     {six, func(f *frame) { f.port = 0 }, abi.NotOurs},
		"ARP":             {four, func(f *frame) { f.etherType = 0x0806 }, abi.NotIP},
		"version 5":       {four, func(f *frame) { f.version = 5 }, abi.NotIP},
		"version 4 in 6":  {six, func(f *frame) { f.version = 4 }, abi.NotIP},
		"TCP":             {four, func(f *frame) { f.protocol = 6 }, abi.NotUDP},
		"ICMPv6":          {six, func(f *frame) { f.protocol = 58 }, abi.NotUDP},
		"no next header":  {six, func(f *frame) { f.protocol = 59 }, abi.NotUDP},
		"first fragment":  {four, func(f *frame) { f.fragment = 0x2000 }, abi.Fragment},
		"later fragment":  {four, func(f *frame) { f.fragment = 0x0003 }, abi.Fragment},
		"don't fragment":  {four, func(f *frame) { f.fragment = 0x4000 }, abi.Redirected},
		"options":         {four, func(f *frame) { f.options = make([]byte, 40) }, abi.Redirected},
		"IHL 4":           {four, func(f *frame) { f.ihl = 4 }, abi.Malformed},
		"IHL 0":           {four, func(f *frame) { f.ihl = 0 }, abi.Malformed},
		"IHL 4, not ours": {four, func(f *frame) { f.ihl, f.at = 4, sendV4 }, abi.NotOurs},
		"IHL 15 of 5":     {four, func(f *frame) { f.ihl = 15 }, abi.Malformed},
		"total 27":        {four, func(f *frame) { f.total = 27 }, abi.Malformed},
		"total 0":         {four, func(f *frame) { f.total = 0 }, abi.Malformed},
		"total + 1":       {four, func(f *frame) { f.total = 20 + 8 + 6 + 1 }, abi.Malformed},
		"total 65535":     {four, func(f *frame) { f.total = 65535 }, abi.Malformed},
		"total not ours":  {four, func(f *frame) { f.total, f.port = 65535, 53 }, abi.NotOurs},
		"total no room":   {four, func(f *frame) { f.total, f.at = 27, sendV4 }, abi.NotOurs},
		"padding":         {four, func(f *frame) { f.padding = 12 }, abi.Redirected},
		"UDP 0":           {four, func(f *frame) { f.udpLength = 0 }, abi.Malformed},
		"UDP 7":           {four, func(f *frame) { f.udpLength = 7 }, abi.Malformed},
		"UDP 8":           {four, func(f *frame) { f.udpLength = 8 }, abi.Redirected},
		"UDP short":       {four, func(f *frame) { f.udpLength = 10 }, abi.Redirected},
		"UDP + 1":         {four, func(f *frame) { f.udpLength = 8 + 6 + 1 }, abi.Malformed},
		"UDP in padding":  {four, func(f *frame) { f.udpLength, f.padding = 8+6+1, 8 }, abi.Malformed},
		"UDP not ours":    {four, func(f *frame) { f.udpLength, f.port = 3, 53 }, abi.NotOurs},
		"no payload":      {four, func(f *frame) { f.payload = "" }, abi.Redirected},
		"IPv6 UDP 0":      {six, func(f *frame) { f.udpLength = 0 }, abi.Malformed},
		"IPv6 length 0":   {six, func(f *frame) { f.total = 0 }, abi.Malformed},
		"IPv6 length 7":   {six, func(f *frame) { f.total = 7 }, abi.Malformed},
		"IPv6 length + 1": {six, func(f *frame) { f.total = 8 + 6 + 1 }, abi.Malformed},
		"IPv6 lies, 53":   {six, func(f *frame) { f.total, f.port = 65535, 53 }, abi.NotOurs},
		"hop-by-hop":      {six, func(f *frame) { f.extend = []extension{hop} }, abi.Redirected},
		"four extensions": {six, func(f *frame) { f.extend = []extension{hop, dst, {43, make([]byte, 22)}, dst} },
			abi.Redirected},
		"five extensions":    {six, func(f *frame) { f.extend = []extension{hop, dst, dst, dst, dst} }, abi.Extension},
		"hop-by-hop second":  {six, func(f *frame) { f.extend = []extension{dst, hop} }, abi.Extension},
		"segments left":      {six, func(f *frame) { f.extend = []extension{{43, []byte{0, 1, 0, 0, 0, 0}}} }, abi.Routing},
		"IPv6 fragment":      {six, func(f *frame) { f.extend = []extension{{44, make([]byte, 6)}} }, abi.Fragment},
		"fragment behind":    {six, func(f *frame) { f.extend = []extension{dst, {44, make([]byte, 6)}} }, abi.Fragment},
		"authentication":     {six, func(f *frame) { f.extend = []extension{{51, make([]byte, 14)}} }, abi.Extension},
		"ESP":                {six, func(f *frame) { f.protocol = 50 }, abi.Extension},
		"extensions to TCP":  {six, func(f *frame) { f.extend, f.protocol = []extension{hop}, 6 }, abi.NotUDP},
		"chain beyond claim": {six, func(f *frame) { f.extend, f.total = []extension{dst}, 16 }, abi.Malformed},
		"chain cut off":      {six, func(f *frame) { f.extend, f.cut = []extension{dst}, 8+6+16-1 }, abi.Truncated},
		"chain into nothing": {six, func(f *frame) { f.extend = []extension{{60, []byte{4, 0, 0, 0, 0, 0}}} },
			abi.Redirected},
		"IPv4 cut":         {four, func(f *frame) { f.cut = 8 + 6 + 1 }, abi.Truncated},
		"IPv6 cut":         {six, func(f *frame) { f.cut = 8 + 6 + 1 }, abi.Truncated},
		"UDP cut":          {four, func(f *frame) { f.cut = 7 }, abi.Malformed},
		"UDP cut, other":   {four, func(f *frame) { f.cut, f.at = 7, sendV4 }, abi.NotOurs},
		"IPv6 UDP cut":     {six, func(f *frame) { f.cut = 7 }, abi.Malformed},
		"tag cut off":      {four, func(f *frame) { f.tags, f.cut = []uint16{0x8100}, 20+8+6+2 }, abi.Truncated},
		"Ethernet only":    {four, func(f *frame) { f.cut = 20 + 8 + 6 }, abi.Truncated},
		"source port 0":    {four, func(f *frame) { f.from = netip.IPv4Unspecified() }, abi.Redirected},
		"full size":        {four, func(f *frame) { f.payload = string(make([]byte, 1472)) }, abi.Redirected},
		"v4-mapped in v6":  {six, func(f *frame) { f.at = netip.AddrFrom16(ourV4.As16()) }, abi.NotOurs},
		"hop-by-hop + lie": {six, func(f *frame) { f.extend, f.total = []extension{hop}, 8+8+6+1 }, abi.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.frame.with(c.change)
			expect(t, s, f.bytes(), c.want)
		})
	}
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
	for name, c := range map[string]struct {
		frame frame
		want  abi.Meta
	}{
		"IPv4": {telemetry4(), abi.Meta{PayloadOffset: 42, PayloadLength: 6, Tenant: 6, L3Offset: 14, L4Offset: 34,
			PacketLength: 48, Family: 4}},
		"IPv6": {telemetry6(), abi.Meta{PayloadOffset: 62, PayloadLength: 6, Tenant: 300, L3Offset: 14,
			L4Offset: 54, PacketLength: 68, Family: 6}},
		"shorter prefix": {telemetry4().with(func(f *frame) { f.from = netip.MustParseAddr("10.2.0.16") }), abi.Meta{
			PayloadOffset: 42, PayloadLength: 6, Tenant: 5, L3Offset: 14, L4Offset: 34, PacketLength: 48, Family: 4}},
		"default tenant": {telemetry4().with(func(f *frame) { f.from = netip.MustParseAddr("10.3.0.1") }), abi.Meta{
			PayloadOffset: 42, PayloadLength: 6, L3Offset: 14, L4Offset: 34, PacketLength: 48, Family: 4}},
		"padding and options": {telemetry4().with(func(f *frame) {
			f.padding, f.options, f.udpLength = 4, make([]byte, 8), 11
		}), abi.Meta{PayloadOffset: 50, PayloadLength: 3, Tenant: 6, L3Offset: 14, L4Offset: 42, PacketLength: 60,
			Family: 4}},
		"two tags and extensions": {telemetry6().with(func(f *frame) {
			f.tags = []uint16{0x88a8, 0x8100}
			f.extend = []extension{{0, make([]byte, 6)}, {60, make([]byte, 22)}}
		}), abi.Meta{PayloadOffset: 102, PayloadLength: 6, Tenant: 300, L3Offset: 22, L4Offset: 94,
			PacketLength: 108, Family: 6}},
		"empty": {telemetry4().with(func(f *frame) { f.payload = "" }), abi.Meta{PayloadOffset: 42, Tenant: 6,
			L3Offset: 14, L4Offset: 34, PacketLength: 42, Family: 4}},
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
			c.want.Listener = 0x1234
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
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
	s := newSteer(t,
		Listener{ID: 1, Port: 1001, Addresses: []netip.Addr{ourV4, ourV6}, Sources: prefixes("10.2.0.0/24")},
		Listener{ID: 2, Port: 1002, Addresses: []netip.Addr{ourV4, ourV6}, Sources: prefixes("fd00:2::9/128")},
		Listener{ID: 3, Port: 1003, Addresses: []netip.Addr{ourV4, ourV6}},
		Listener{ID: 4, Port: 1004, Addresses: []netip.Addr{ourV4, ourV6}, Sources: prefixes("0.0.0.0/0", "::/0")},
		// Bits beyond the prefix's length do not count, and a mapped prefix means IPv4.
		Listener{ID: 5, Port: 1005, Addresses: []netip.Addr{ourV4}, Sources: prefixes("::ffff:10.2.0.77/120")},
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
