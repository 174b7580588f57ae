package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"culvert/bpf/abi"
)

// packetMax is what BPF_PROG_TEST_RUN takes with room for the metadata: less than a page
// (bpf_prog_test_run_xdp, net/bpf/test_run.c).
const packetMax = 3000

// judge is a slow and obvious reading of what becomes of a packet, for the listener that newSteer sets up.
func judge(packet []byte) abi.Verdict {
	if packet[0]&1 == 0 && [6]byte(packet) != ourMAC {
		return abi.OtherMAC
	}
	at, tags := 12, 0
	for isTag(packet[at:]) && tags < 2 {
		at, tags = at+4, tags+1
		if at+2 > len(packet) {
			return abi.Truncated
		}
	}
	ip := packet[at+2:]
	switch binary.BigEndian.Uint16(packet[at:]) {
	case 0x0800:
		return judgeIPv4(ip)
	case 0x86dd:
		return judgeIPv6(ip)
	}
	if isTag(packet[at:]) {
		return abi.VLANDepth
	}
	return abi.NotIP
}

func isTag(b []byte) bool {
	return slices.Contains([]uint16{0x8100, 0x88a8}, binary.BigEndian.Uint16(b))
}

func judgeIPv4(ip []byte) abi.Verdict {
	switch {
	case len(ip) < 20:
		return abi.Truncated
	case ip[0]>>4 != 4:
		return abi.NotIP
	case ip[9] != 17:
		return abi.NotUDP
	case binary.BigEndian.Uint16(ip[6:])&0x3fff != 0:
		return abi.Fragment
	}
	to, _ := netip.AddrFromSlice(ip[16:20])
	header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if header < 20 || total < header+8 {
		return judgeUDP(nil, 0, false, to)
	}
	return judgeUDP(ip[min(header, len(ip)):], total-header, total > len(ip), to)
}

func judgeIPv6(ip []byte) abi.Verdict {
	if len(ip) < 40 {
		return abi.Truncated
	}
	if ip[0]>>4 != 6 {
		return abi.NotIP
	}
	to, _ := netip.AddrFromSlice(ip[24:40])
	claimed, next, rest := int(binary.BigEndian.Uint16(ip[4:])), ip[6], ip[40:]
	lies := claimed > len(rest)
	for n := 0; next != 17; n++ {
		switch {
		case n == 4:
			return abi.Extension
		case next == 44:
			return abi.Fragment
		case next == 50 || next == 51 || next == 0 && n > 0:
			return abi.Extension
		case next != 0 && next != 43 && next != 60:
			return abi.NotUDP
		case len(rest) < 4:
			return abi.Truncated
		case next == 43 && rest[3] != 0:
			return abi.Routing
		}
		length := (int(rest[1]) + 1) * 8
		claimed -= length
		next, rest = rest[0], rest[min(length, len(rest)):]
	}
	return judgeUDP(rest, claimed, lies, to)
}

// judgeUDP is for what stands behind the IP headers, which claim that it is this long.
func judgeUDP(udp []byte, claimed int, lies bool, to netip.Addr) abi.Verdict {
	if !slices.Contains([]netip.Addr{ourV4, ourV6, groupV4}, to) {
		return abi.NotOurs
	}
	if claimed < 8 || len(udp) < 8 {
		return abi.Malformed
	}
	if binary.BigEndian.Uint16(udp[2:]) != ourPort {
		return abi.NotOurs
	}
	if length := int(binary.BigEndian.Uint16(udp[4:])); lies || length < 8 || length > claimed {
		return abi.Malformed
	}
	return abi.Redirected
}

// FuzzSteer holds the program against judge: the same verdict for any packet, metadata that say where the
// payload lies, and nothing left behind that changes what the next packet gets.
func FuzzSteer(f *testing.F) {
	s := newSteer(f)
	for _, c := range verdictsIPv4() {
		f.Add(fuzzed(telemetry4(), c))
	}
	for _, c := range verdictsIPv6() {
		f.Add(fuzzed(telemetry6(), c))
	}
	good := telemetry4()
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) < 14 || len(packet) > packetMax {
			t.Skip("no packet that a driver hands over")
		}
		want := judge(packet)
		area := expect(t, s, packet, want)
		if want == abi.Redirected {
			offset, length, yes := ours(packet)
			meta, ok := abi.ReadMeta(area)
			if !ok || !yes || int(meta.PayloadOffset) != offset || int(meta.PayloadLength) != length ||
				int(meta.PacketLength) != len(packet) {
				t.Errorf("%x has %+v, want offset %d, length %d, ours %t", packet, meta, offset, length, yes)
			}
		}
		expect(t, s, good.bytes(), abi.Redirected)
	})
}

func fuzzed(f frame, c verdictCase) []byte {
	f = changed(f, c)
	return f.bytes()
}
