package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// The cast of all tests here.
var (
	ourMAC   = [6]byte{0x02, 0xaa, 0, 0, 0, 1}
	otherMAC = [6]byte{0x02, 0xbb, 0, 0, 0, 2}
	ourV4    = netip.MustParseAddr("10.1.0.1")
	ourV6    = netip.MustParseAddr("fd00:1::1")
	groupV4  = netip.MustParseAddr("239.1.2.3")
	sendV4   = netip.MustParseAddr("10.2.0.9")
	sendV6   = netip.MustParseAddr("fd00:2::9")
)

const ourPort = 8089

// frame says what a test packet looks like. Negative lengths mean the right ones.
type frame struct {
	to        [6]byte
	tags      []uint16 // TPIDs, outermost first
	etherType uint16   // 0: by the family
	from, at  netip.Addr
	version   int // 0: by the family
	protocol  uint8
	options   []byte // IPv4
	ihl       int    // -1: right
	fragment  uint16
	total     int // IPv4 total length or IPv6 payload length; -1: right
	extend    []extension
	port      uint16
	udpLength int
	payload   string
	padding   int
	cut       int // bytes cut off the end
}

type extension struct {
	kind uint8
	body []byte // behind the first two bytes; its length + 2 is a multiple of 8
}

func telemetry4() frame {
	return frame{
		to: ourMAC, from: sendV4, at: ourV4, protocol: 17, ihl: -1, total: -1, port: ourPort, udpLength: -1,
		payload: "m v=1\n",
	}
}

func telemetry6() frame {
	f := telemetry4()
	f.from, f.at = sendV6, ourV6
	return f
}

// with changes a copy.
func (f frame) with(change func(*frame)) frame {
	change(&f)
	return f
}

func (f *frame) bytes() []byte {
	b := append(slices.Clone(f.to[:]), otherMAC[:]...)
	etherType := uint16(0x0800)
	if f.at.Is6() {
		etherType = 0x86dd
	}
	if f.etherType != 0 {
		etherType = f.etherType
	}
	for _, tpid := range f.tags {
		b = binary.BigEndian.AppendUint16(b, tpid)
		b = binary.BigEndian.AppendUint16(b, 7)
	}
	b = binary.BigEndian.AppendUint16(b, etherType)
	udp := f.udp()
	if f.at.Is6() {
		b = f.appendIPv6(b, udp)
	} else {
		b = f.appendIPv4(b, udp)
	}
	b = append(b, make([]byte, f.padding)...)
	return b[:len(b)-f.cut]
}

func (f *frame) udp() []byte {
	length := 8 + len(f.payload)
	if f.udpLength >= 0 {
		length = f.udpLength
	}
	b := binary.BigEndian.AppendUint16(nil, 40000)
	b = binary.BigEndian.AppendUint16(b, f.port)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, 0, 0)
	return append(b, f.payload...)
}

func (f *frame) appendIPv4(b, udp []byte) []byte {
	ihl := 5 + len(f.options)/4
	total := ihl*4 + len(udp)
	version := 4
	if f.ihl >= 0 {
		ihl = f.ihl
	}
	if f.total >= 0 {
		total = f.total
	}
	if f.version != 0 {
		version = f.version
	}
	b = append(b, byte(version<<4|ihl), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(total))
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, f.fragment)
	b = append(b, 64, f.protocol, 0, 0)
	b = append(b, f.from.AsSlice()...)
	b = append(b, f.at.AsSlice()...)
	b = append(b, f.options...)
	return append(b, udp...)
}

func (f *frame) appendIPv6(b, udp []byte) []byte {
	var chain []byte
	first := f.protocol
	for i, e := range f.extend {
		if i == 0 {
			first = e.kind
		}
		next := f.protocol
		if i+1 < len(f.extend) {
			next = f.extend[i+1].kind
		}
		chain = append(chain, next, byte((len(e.body)+2)/8-1))
		chain = append(chain, e.body...)
	}
	total := len(chain) + len(udp)
	if f.total >= 0 {
		total = f.total
	}
	version := 6
	if f.version != 0 {
		version = f.version
	}
	b = append(b, byte(version<<4), 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(total))
	b = append(b, first, 64)
	b = append(b, f.from.AsSlice()...)
	b = append(b, f.at.AsSlice()...)
	b = append(b, chain...)
	return append(b, udp...)
}
