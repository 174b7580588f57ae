package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
)

// Sizes of headers in bytes: Ethernet II, IPv4 without options, IPv6 without extensions, UDP.
const (
	ethernetSize = 14
	ipv4Size     = 20
	ipv6Size     = 40
	udpSize      = 8
	headSizeMax  = ethernetSize + ipv6Size + udpSize
)

const (
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
	protocolUDP   = 17
	// hopsMax is the time to live that hosts begin with (RFC 1700, and the kernel's default).
	hopsMax = 64
	// dontFragment is DF among IPv4's flags: such a datagram needs no identification (RFC 6864).
	dontFragment = 0x4000
)

// Ends are the two ends of a way. The addresses are of one family.
type Ends struct {
	SourceMAC, NextMAC  [6]byte // ours, and that of the next hop
	Source, Destination netip.AddrPort
	MTU                 int // of the interface, Ethernet's header excluded
}

// Template is everything of a frame that is the same for each datagram on a way. It is never changed, and may
// be used by several workers at once.
type Template struct {
	ends Ends
	head [headSizeMax]byte
	size int
	// ipSum and udpSum are the one's complement sums, not folded, of what does not change.
	ipSum, udpSum uint64
}

// NewTemplate prepares a way. Addresses without a next hop of their own (multicast, broadcast, unspecified,
// loopback) are an error, and so are two families.
func NewTemplate(e Ends) (*Template, error) {
	e.Source = netip.AddrPortFrom(e.Source.Addr().Unmap().WithZone(""), e.Source.Port())
	e.Destination = netip.AddrPortFrom(e.Destination.Addr().Unmap().WithZone(""), e.Destination.Port())
	source, destination := e.Source.Addr(), e.Destination.Addr()
	switch {
	case !source.IsValid() || !destination.IsValid() || source.Is4() != destination.Is4():
		return nil, fmt.Errorf("a way from %v to %v has no two addresses of one family", source, destination)
	case destination.IsMulticast() || destination.IsUnspecified() || destination.IsLoopback() ||
		source.IsUnspecified() || source.IsMulticast():
		return nil, fmt.Errorf("a way from %v to %v has no one host at each end", source, destination)
	case e.Source.Port() == 0 || e.Destination.Port() == 0:
		return nil, errors.New("a port of a way is 0")
	}
	t := &Template{ends: e}
	copy(t.head[0:], e.NextMAC[:])
	copy(t.head[6:], e.SourceMAC[:])
	if source.Is4() {
		t.ipv4()
	} else {
		t.ipv6()
	}
	if t.Room() < 1 {
		return nil, fmt.Errorf("an MTU of %d leaves no room for a datagram", e.MTU)
	}
	udp := t.head[t.size-udpSize:]
	binary.BigEndian.PutUint16(udp[0:], e.Source.Port())
	binary.BigEndian.PutUint16(udp[2:], e.Destination.Port())
	// The pseudo header: both addresses and the protocol; its length is each datagram's.
	t.udpSum = sum(source.AsSlice()) + sum(destination.AsSlice()) + protocolUDP + sum(udp[:4])
	return t, nil
}

func (t *Template) ipv4() {
	t.size = ethernetSize + ipv4Size + udpSize
	binary.BigEndian.PutUint16(t.head[12:], etherTypeIPv4)
	ip := t.head[ethernetSize : ethernetSize+ipv4Size]
	ip[0] = 4<<4 | ipv4Size/4
	binary.BigEndian.PutUint16(ip[6:], dontFragment)
	ip[8], ip[9] = hopsMax, protocolUDP
	copy(ip[12:], t.ends.Source.Addr().AsSlice())
	copy(ip[16:], t.ends.Destination.Addr().AsSlice())
	t.ipSum = sum(ip)
}

func (t *Template) ipv6() {
	t.size = ethernetSize + ipv6Size + udpSize
	binary.BigEndian.PutUint16(t.head[12:], etherTypeIPv6)
	ip := t.head[ethernetSize : ethernetSize+ipv6Size]
	ip[0] = 6 << 4
	ip[6], ip[7] = protocolUDP, hopsMax
	copy(ip[8:], t.ends.Source.Addr().AsSlice())
	copy(ip[24:], t.ends.Destination.Addr().AsSlice())
}

// Ends are what the template was made from.
func (t *Template) Ends() Ends { return t.ends }

// Size is how many bytes the headers take.
func (t *Template) Size() int { return t.size }

// Room is how long a text may be that goes in one datagram on this way.
func (t *Template) Room() int { return t.ends.MTU - (t.size - ethernetSize) }

// Write puts the headers and the text into a frame and returns its length; 0 if the text has no room, in the
// frame or on the way. It allocates nothing.
func (t *Template) Write(frame, text []byte) int {
	length := t.size + len(text)
	if len(text) > t.Room() || length > len(frame) || len(text) > maxUint16-udpSize-ipv4Size {
		return 0
	}
	frame = frame[:length]
	copy(frame, t.head[:t.size])
	copy(frame[t.size:], text)
	udpLength := uint16(udpSize + len(text))
	ip := frame[ethernetSize:]
	if t.ends.Source.Addr().Is4() {
		total := ipv4Size + udpLength
		binary.BigEndian.PutUint16(ip[2:], total)
		binary.BigEndian.PutUint16(ip[10:], ^fold(t.ipSum+uint64(total)))
	} else {
		binary.BigEndian.PutUint16(ip[4:], udpLength)
	}
	udp := frame[t.size-udpSize:]
	binary.BigEndian.PutUint16(udp[4:], udpLength)
	// The length counts twice: in the pseudo header and in UDP's own.
	checksum := ^fold(t.udpSum + 2*uint64(udpLength) + sum(text))
	if checksum == 0 {
		checksum = 0xffff // Zero says that there is no sum (RFC 768).
	}
	binary.BigEndian.PutUint16(udp[6:], checksum)
	return length
}

const maxUint16 = 1<<16 - 1

// sum adds the text up as 16-bit words in network order, the last byte padded by a zero. It does not
// overflow: 64 KiB are 2^15 words.
func sum(text []byte) (total uint64) {
	for ; len(text) >= 8; text = text[8:] {
		word := binary.BigEndian.Uint64(text)
		total += word>>48 + word>>32&0xffff + word>>16&0xffff + word&0xffff
	}
	for ; len(text) >= 2; text = text[2:] {
		total += uint64(binary.BigEndian.Uint16(text))
	}
	if len(text) == 1 {
		total += uint64(text[0]) << 8
	}
	return total
}

// fold is a sum in 16 bits of one's complement.
func fold(total uint64) uint16 {
	for bits.Len64(total) > 16 {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}
