package loadgen

import (
	"encoding/binary"
	"math/bits"
	"net"
	"net/netip"
)

// Sizes and numbers of the headers: IEEE 802.3, RFC 791, RFC 8200, RFC 768.
const (
	ethernetHeader = 14
	ipv4Header     = 20
	ipv6Header     = 40
	udpHeader      = 8
	headersMax     = ethernetHeader + ipv6Header + udpHeader

	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
	protocolUDP   = 17
	hopLimit      = 64
)

// endpoints is where a flow's packets come from and go to, on its link.
type endpoints struct {
	fromMAC, toMAC net.HardwareAddr
	from, to       netip.AddrPort
}

// headers is what stands before the payload of a flow's packets. Lengths and sums are filled in for each.
type headers struct {
	bytes  [headersMax]byte
	size   int
	ipv6   bool
	sumIP  uint64 // of the IPv4 header without its length
	sumUDP uint64 // of the pseudo header and the ports, without the lengths
	noSum  bool   // the UDP checksum is left out, as IPv4 allows
}

// newHeaders lays out the headers of a flow. Both addresses are of one family.
func newHeaders(e endpoints, checksum bool) *headers {
	h := &headers{ipv6: e.to.Addr().Is6()}
	b := h.bytes[:]
	copy(b, e.toMAC)
	copy(b[6:], e.fromMAC)
	addresses := append(e.from.Addr().AsSlice(), e.to.Addr().AsSlice()...)
	ip, transport := b[ethernetHeader:], b[ethernetHeader+ipv4Header:]
	if h.ipv6 {
		binary.BigEndian.PutUint16(b[12:], etherTypeIPv6)
		ip[0], ip[6], ip[7] = 6<<4, protocolUDP, hopLimit
		copy(ip[8:], addresses)
		transport = b[ethernetHeader+ipv6Header:]
		h.size = ethernetHeader + ipv6Header + udpHeader
	} else {
		binary.BigEndian.PutUint16(b[12:], etherTypeIPv4)
		ip[0] = 4<<4 | ipv4Header/4
		// Never in fragments, so that the identification may be 0 (RFC 6864).
		ip[6] = 0x40
		ip[8], ip[9] = hopLimit, protocolUDP
		copy(ip[12:], addresses)
		h.sumIP = sum(ip[:ipv4Header], 0)
		h.size = ethernetHeader + ipv4Header + udpHeader
		h.noSum = !checksum
	}
	binary.BigEndian.PutUint16(transport, e.from.Port())
	binary.BigEndian.PutUint16(transport[2:], e.to.Port())
	h.sumUDP = sum(addresses, 0) + protocolUDP<<8 + sum(transport[:4], 0)
	return h
}

// put writes a whole packet into a frame, which is the caller's and long enough, and returns its length.
func (h *headers) put(frame, payload []byte) int {
	copy(frame, h.bytes[:h.size])
	copy(frame[h.size:], payload)
	ip, transport := frame[ethernetHeader:], frame[h.size-udpHeader:h.size]
	length := uint16(udpHeader + len(payload))
	if h.ipv6 {
		binary.BigEndian.PutUint16(ip[4:], length)
	} else {
		binary.BigEndian.PutUint16(ip[2:], ipv4Header+length)
		swapped := uint64(bits.ReverseBytes16(ipv4Header + length))
		binary.LittleEndian.PutUint16(ip[10:], ^fold(h.sumIP+swapped))
	}
	binary.BigEndian.PutUint16(transport[4:], length)
	if h.noSum {
		return h.size + len(payload)
	}
	// The length counts twice: in the pseudo header and in the UDP header.
	total := ^fold(sum(payload, h.sumUDP+2*uint64(bits.ReverseBytes16(length))))
	if total == 0 {
		// Zero stands for no checksum (RFC 768).
		total = 0xffff
	}
	binary.LittleEndian.PutUint16(transport[6:], total)
	return h.size + len(payload)
}

// sum adds bytes as little-endian words with end-around carry (RFC 1071, whose section 2B says that the order
// of bytes does not matter) to an initial value below 2⁶³, eight bytes a step.
func sum(b []byte, initial uint64) uint64 {
	total, carry := initial, uint64(0)
	for len(b) >= 32 {
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[0:8]), 0)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[8:16]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[16:24]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[24:32]), carry)
		total += carry
		b = b[32:]
	}
	for len(b) >= 8 {
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b), 0)
		total += carry
		b = b[8:]
	}
	var rest uint64
	for i, c := range b {
		rest |= uint64(c) << (8 * i)
	}
	total, carry = bits.Add64(total, rest, 0)
	return total + carry
}

// fold brings a sum to 16 bits with end-around carry.
func fold(total uint64) uint16 {
	total = total>>32 + total&0xffffffff
	total = total>>16 + total&0xffff
	total = total>>16 + total&0xffff
	return uint16(total>>16 + total&0xffff)
}
