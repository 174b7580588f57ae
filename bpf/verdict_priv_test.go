package bpf

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"culvert/bpf/abi"
)

// verdictCase is a change to a right packet, and what becomes of it.
type verdictCase struct {
	change func(*frame)
	want   abi.Verdict
}

func verdictsIPv4() map[string]verdictCase {
	return map[string]verdictCase{
		"IPv4":    {nil, abi.Redirected},
		"one tag": {func(f *frame) { f.tags = []uint16{0x8100} }, abi.Redirected},
		"three tags": {func(f *frame) { f.tags = []uint16{0x88a8, 0x8100, 0x8100} },
			abi.VLANDepth},
		"broadcast MAC": {func(f *frame) { f.to = [6]byte{255, 255, 255, 255, 255, 255} },
			abi.Redirected},
		"multicast": {func(f *frame) { f.to, f.at = [6]byte{1, 0, 0x5e, 1, 2, 3}, groupV4 },
			abi.Redirected},
		"other MAC":       {func(f *frame) { f.to = otherMAC }, abi.OtherMAC},
		"MAC off by one":  {func(f *frame) { f.to[5]++ }, abi.OtherMAC},
		"other address":   {func(f *frame) { f.at = sendV4 }, abi.NotOurs},
		"other port":      {func(f *frame) { f.port++ }, abi.NotOurs},
		"port 0":          {func(f *frame) { f.port = 0 }, abi.NotOurs},
		"ARP":             {func(f *frame) { f.etherType = 0x0806 }, abi.NotIP},
		"version 5":       {func(f *frame) { f.version = 5 }, abi.NotIP},
		"TCP":             {func(f *frame) { f.protocol = 6 }, abi.NotUDP},
		"first fragment":  {func(f *frame) { f.fragment = 0x2000 }, abi.Fragment},
		"later fragment":  {func(f *frame) { f.fragment = 0x0003 }, abi.Fragment},
		"don't fragment":  {func(f *frame) { f.fragment = 0x4000 }, abi.Redirected},
		"options":         {func(f *frame) { f.options = make([]byte, 40) }, abi.Redirected},
		"IHL 4":           {func(f *frame) { f.ihl = 4 }, abi.Malformed},
		"IHL 0":           {func(f *frame) { f.ihl = 0 }, abi.Malformed},
		"IHL 4, not ours": {func(f *frame) { f.ihl, f.at = 4, sendV4 }, abi.NotOurs},
		"IHL 15 of 5":     {func(f *frame) { f.ihl = 15 }, abi.Malformed},
		"total 27":        {func(f *frame) { f.total = 27 }, abi.Malformed},
		"total 0":         {func(f *frame) { f.total = 0 }, abi.Malformed},
		"total + 1":       {func(f *frame) { f.total = 20 + 8 + 6 + 1 }, abi.Malformed},
		"total 65535":     {func(f *frame) { f.total = 65535 }, abi.Malformed},
		"total not ours":  {func(f *frame) { f.total, f.port = 65535, 53 }, abi.NotOurs},
		"total no room":   {func(f *frame) { f.total, f.at = 27, sendV4 }, abi.NotOurs},
		"padding":         {func(f *frame) { f.padding = 12 }, abi.Redirected},
		"UDP 0":           {func(f *frame) { f.udpLength = 0 }, abi.Malformed},
		"UDP 7":           {func(f *frame) { f.udpLength = 7 }, abi.Malformed},
		"UDP 8":           {func(f *frame) { f.udpLength = 8 }, abi.Redirected},
		"UDP short":       {func(f *frame) { f.udpLength = 10 }, abi.Redirected},
		"UDP + 1":         {func(f *frame) { f.udpLength = 8 + 6 + 1 }, abi.Malformed},
		"UDP in padding":  {func(f *frame) { f.udpLength, f.padding = 8+6+1, 8 }, abi.Malformed},
		"UDP not ours":    {func(f *frame) { f.udpLength, f.port = 3, 53 }, abi.NotOurs},
		"no payload":      {func(f *frame) { f.payload = "" }, abi.Redirected},
		"IPv4 cut":        {func(f *frame) { f.cut = 8 + 6 + 1 }, abi.Truncated},
		"UDP cut":         {func(f *frame) { f.cut = 7 }, abi.Malformed},
		"UDP cut, other":  {func(f *frame) { f.cut, f.at = 7, sendV4 }, abi.NotOurs},
		"tag cut off": {func(f *frame) { f.tags, f.cut = []uint16{0x8100}, 20+8+6+2 },
			abi.Truncated},
		"Ethernet only": {func(f *frame) { f.cut = 20 + 8 + 6 }, abi.Truncated},
		"source port 0": {func(f *frame) { f.from = netip.IPv4Unspecified() }, abi.Redirected},
		"full size": {func(f *frame) { f.payload = string(make([]byte, 1472)) },
			abi.Redirected},
	}
}

func verdictsIPv6() map[string]verdictCase {
	hop, dst := extension{0, make([]byte, 6)}, extension{60, make([]byte, 14)}
	return map[string]verdictCase{
		"IPv6":            {nil, abi.Redirected},
		"two tags":        {func(f *frame) { f.tags = []uint16{0x88a8, 0x8100} }, abi.Redirected},
		"other IPv6":      {func(f *frame) { f.at = sendV6 }, abi.NotOurs},
		"port 0 IPv6":     {func(f *frame) { f.port = 0 }, abi.NotOurs},
		"version 4 in 6":  {func(f *frame) { f.version = 4 }, abi.NotIP},
		"ICMPv6":          {func(f *frame) { f.protocol = 58 }, abi.NotUDP},
		"no next header":  {func(f *frame) { f.protocol = 59 }, abi.NotUDP},
		"IPv6 UDP 0":      {func(f *frame) { f.udpLength = 0 }, abi.Malformed},
		"IPv6 length 0":   {func(f *frame) { f.total = 0 }, abi.Malformed},
		"IPv6 length 7":   {func(f *frame) { f.total = 7 }, abi.Malformed},
		"IPv6 length + 1": {func(f *frame) { f.total = 8 + 6 + 1 }, abi.Malformed},
		"IPv6 lies, 53":   {func(f *frame) { f.total, f.port = 65535, 53 }, abi.NotOurs},
		"hop-by-hop":      {func(f *frame) { f.extend = []extension{hop} }, abi.Redirected},
		"four extensions": {func(f *frame) { f.extend = []extension{hop, dst, {43, make([]byte, 22)}, dst} },
			abi.Redirected},
		"five extensions": {func(f *frame) { f.extend = []extension{hop, dst, dst, dst, dst} },
			abi.Extension},
		"hop-by-hop second": {func(f *frame) { f.extend = []extension{dst, hop} }, abi.Extension},
		"segments left": {func(f *frame) { f.extend = []extension{{43, []byte{0, 1, 0, 0, 0, 0}}} },
			abi.Routing},
		"IPv6 fragment": {func(f *frame) { f.extend = []extension{{44, make([]byte, 6)}} },
			abi.Fragment},
		"fragment behind": {func(f *frame) { f.extend = []extension{dst, {44, make([]byte, 6)}} },
			abi.Fragment},
		"authentication": {func(f *frame) { f.extend = []extension{{51, make([]byte, 14)}} },
			abi.Extension},
		"ESP": {func(f *frame) { f.protocol = 50 }, abi.Extension},
		"extensions to TCP": {func(f *frame) { f.extend, f.protocol = []extension{hop}, 6 },
			abi.NotUDP},
		"chain beyond claim": {func(f *frame) { f.extend, f.total = []extension{dst}, 16 },
			abi.Malformed},
		"chain cut off": {func(f *frame) { f.extend, f.cut = []extension{dst}, 8+6+16-1 },
			abi.Truncated},
		"chain into nothing": {func(f *frame) { f.extend = []extension{{60, []byte{4, 0, 0, 0, 0, 0}}} },
			abi.Redirected},
		"IPv6 cut":     {func(f *frame) { f.cut = 8 + 6 + 1 }, abi.Truncated},
		"IPv6 UDP cut": {func(f *frame) { f.cut = 7 }, abi.Malformed},
		"v4-mapped in v6": {func(f *frame) { f.at = netip.AddrFrom16(ourV4.As16()) },
			abi.NotOurs},
		"hop-by-hop + lie": {func(f *frame) { f.extend, f.total = []extension{hop}, 8+8+6+1 },
			abi.Malformed},
	}
}

// Goal: each verdict that the packet itself decides. Method: one packet a line, right and wrong ones.
func TestPrivVerdicts(t *testing.T) {
	s := newSteer(t)
	for name, c := range verdictsIPv4() {
		t.Run("IPv4 "+name, func(t *testing.T) { expectChanged(t, s, telemetry4(), c) })
	}
	for name, c := range verdictsIPv6() {
		t.Run("IPv6 "+name, func(t *testing.T) { expectChanged(t, s, telemetry6(), c) })
	}
}

func expectChanged(t *testing.T, s *Steer, f frame, c verdictCase) {
	t.Helper()
	f = changed(f, c)
	expect(t, s, f.bytes(), c.want)
}

// seed is this run's, or the one to be run again.
func seed(t *testing.T) uint64 {
	t.Helper()
	value := uint64(time.Now().UnixNano())
	if given, err := strconv.ParseUint(os.Getenv("CULVERT_SEED"), 10, 64); err == nil {
		value = given
	}
	t.Logf("CULVERT_SEED=%d", value)
	return value
}

// mangle changes a packet at random: bytes, lengths, its end.
func mangle(r *rand.Rand, packet []byte) []byte {
	for range r.IntN(4) {
		switch at := r.IntN(min(len(packet), 80)); r.IntN(4) {
		case 0:
			packet[at] = byte(r.Uint32())
		case 1:
			packet[at] ^= 1 << r.IntN(8)
		case 2:
			packet = packet[:max(14, len(packet)-r.IntN(len(packet)))]
		case 3:
			if at+2 <= len(packet) {
				binary.BigEndian.PutUint16(packet[at:], uint16(r.IntN(70)))
			}
		}
	}
	return packet
}

// ours is a slow and obvious judge of what may leave the kernel's path: it looks for a reason to believe that
// a packet is telemetry, and answers where its payload lies.
func ours(packet []byte) (offset, length int, yes bool) {
	at := 12
	for range 3 {
		switch binary.BigEndian.Uint16(packet[at:]) {
		case 0x8100, 0x88a8:
			at += 4
			if at+2 > len(packet) {
				return 0, 0, false
			}
			continue
		case 0x0800:
			return oursIPv4(packet, at+2)
		case 0x86dd:
			return oursIPv6(packet, at+2)
		}
		break
	}
	return 0, 0, false
}

func oursIPv4(packet []byte, at int) (int, int, bool) {
	ip := packet[at:]
	if len(ip) < 20 || ip[0]>>4 != 4 || ip[0]&15 < 5 || ip[9] != 17 {
		return 0, 0, false
	}
	total, header := int(binary.BigEndian.Uint16(ip[2:])), int(ip[0]&15)*4
	to, _ := netip.AddrFromSlice(ip[16:20])
	fragment := binary.BigEndian.Uint16(ip[6:])&0x3fff != 0
	if fragment || total > len(ip) || total < header+8 || to != ourV4 && to != groupV4 {
		return 0, 0, false
	}
	return oursUDP(ip[header:total], at+header)
}

func oursIPv6(packet []byte, at int) (int, int, bool) {
	ip := packet[at:]
	if len(ip) < 40 || ip[0]>>4 != 6 {
		return 0, 0, false
	}
	to, _ := netip.AddrFromSlice(ip[24:40])
	total, next := 40+int(binary.BigEndian.Uint16(ip[4:])), ip[6]
	if total > len(ip) || to != ourV6 {
		return 0, 0, false
	}
	header := 40
	for next != 17 {
		if next != 0 && next != 43 && next != 60 || header+8 > total {
			return 0, 0, false
		}
		next, header = ip[header], header+(int(ip[header+1])+1)*8
	}
	if header+8 > total {
		return 0, 0, false
	}
	return oursUDP(ip[header:total], at+header)
}

func oursUDP(udp []byte, at int) (int, int, bool) {
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != ourPort || length < 8 || length > len(udp) {
		return 0, 0, false
	}
	return at + 8, length - 8, true
}

// Goal: no packet, however mangled, is redirected unless a slow reading of it says the same, its metadata
// lies inside it, and what is not redirected or malformed is not dropped.
func TestPrivRandomPackets(t *testing.T) {
	s := newSteer(t)
	r := rand.New(rand.NewPCG(seed(t), 0))
	var seeds []frame
	for _, c := range verdictsIPv4() {
		seeds = append(seeds, changed(telemetry4(), c))
	}
	for _, c := range verdictsIPv6() {
		seeds = append(seeds, changed(telemetry6(), c))
	}
	const packets = 20000
	actions := map[uint32]int{}
	for range packets {
		f := seeds[r.IntN(len(seeds))]
		packet := mangle(r, f.bytes())
		action, area, out := run(t, s, packet)
		actions[action]++
		switch action {
		case xdpRedirect:
			meta, ok := abi.ReadMeta(area)
			offset, length, yes := ours(out)
			if !ok || !yes || int(meta.PayloadOffset) != offset || int(meta.PayloadLength) != length ||
				int(meta.PacketLength) != len(out) || offset+length > len(out) {
				t.Fatalf("redirected %x with %+v, want offset %d, length %d, ours %t",
					packet, meta, offset, length, yes)
			}
		case xdpPass, xdpDrop:
			if len(area) != 0 || string(out) != string(packet) {
				t.Fatalf("action %d changed %x to %x", action, packet, out)
			}
		default:
			t.Fatalf("action %d for %x", action, packet)
		}
	}
	for _, action := range []uint32{xdpRedirect, xdpPass, xdpDrop} {
		if actions[action] < packets/100 {
			t.Errorf("action %d came %d times of %d: the packets prove little",
				action, actions[action], packets)
		}
	}
}

func changed(f frame, c verdictCase) frame {
	if c.change != nil {
		c.change(&f)
	}
	return f
}
