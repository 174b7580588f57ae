package dataplane

import (
	"encoding/binary"
	"math/bits"
)

// ChecksumPolicy says which UDP checksums a queue's frames may carry. AF_XDP comes before the kernel's own
// check, so the worker makes it.
type ChecksumPolicy uint8

const (
	// ChecksumVerify accepts a correct sum, and none at all over IPv4.
	ChecksumVerify ChecksumPolicy = iota
	// ChecksumPartial also accepts what a local sender leaves to its card: the pseudo header's sum alone. It
	// stands in frames of veth, virtio_net and tun, which never pass a card.
	ChecksumPartial
	// ChecksumOff accepts every frame.
	ChecksumOff
)

// checksumResult is what the check of one datagram found.
type checksumResult uint8

const (
	checksumCorrect checksumResult = iota
	checksumAbsent                 // zero over IPv4: the sender made none (RFC 768)
	checksumPartial                // the folded pseudo header's sum, not yet final
	checksumMissing                // zero over IPv6, where RFC 8200 section 8.1 demands one
	checksumWrong
)

// Where addresses stand in an IP header, in bytes: RFC 791 section 3.1 and RFC 8200 section 3.
const (
	ipv4SourceOffset, ipv4SourceEnd = 12, 16
	ipv4AddressesEnd                = 20
	ipv6SourceOffset, ipv6SourceEnd = 8, 24
	ipv6AddressesEnd                = 40
	udpHeaderSize                   = 8
	udpProtocol                     = 17
)

// checkDatagram checks the sum of the UDP datagram segment (header and payload) whose IP addresses stand
// next to each other in addresses: 8 bytes for IPv4, 32 for IPv6.
func checkDatagram(addresses, segment []byte) checksumResult {
	field := binary.BigEndian.Uint16(segment[6:8])
	if field == 0 {
		if len(addresses) == ipv4AddressesEnd-ipv4SourceOffset {
			return checksumAbsent
		}
		return checksumMissing
	}
	pseudo := sum(addresses, 0)
	// Sums are of little-endian words (RFC 1071 section 2B: byte order does not matter), so length and
	// protocol are swapped.
	pseudo += uint64(bits.ReverseBytes16(uint16(len(segment)))) + udpProtocol<<8
	// The order of the two tests is free: a datagram that passes both is right either way.
	if fold(sum(segment, pseudo)) == 0xffff {
		return checksumCorrect
	}
	if fold(pseudo) == bits.ReverseBytes16(field) {
		return checksumPartial
	}
	return checksumWrong
}

// sum adds bytes as little-endian words with end-around carry (RFC 1071) to an initial value below 2⁶³. Eight
// bytes a step with the carry kept in the flags: 1400 bytes must take less than 60 ns, a plain loop over
// 16-bit words takes ten times that. Where the machine and the build have vectors, they take the most of it.
func sum(b []byte, initial uint64) uint64 {
	total, carry, all := initial, uint64(0), b
	if len(b) >= vectorMin {
		total, b = sumVectors(b, initial)
	}
	for len(b) >= 64 {
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[0:8]), 0)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[8:16]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[16:24]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[24:32]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[32:40]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[40:48]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[48:56]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b[56:64]), carry)
		total += carry
		b = b[64:]
	}
	for len(b) >= 8 {
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(b), 0)
		total += carry
		b = b[8:]
	}
	total, carry = bits.Add64(total, tail(all, len(b)), 0)
	return total + carry
}

// tail is the last n bytes of a text, fewer than eight, as a little-endian word: by one load wherever there
// are eight to load.
func tail(text []byte, n int) uint64 {
	if len(text) >= 8 {
		// In two steps, because a shift by 64 is none that a processor has.
		return binary.LittleEndian.Uint64(text[len(text)-8:]) >> 8 >> (56 - 8*uint(n))
	}
	var word uint64
	for i, c := range text[len(text)-n:] {
		word |= uint64(c) << (8 * i)
	}
	return word
}

// fold brings a sum to 16 bits with end-around carry.
func fold(total uint64) uint16 {
	total = total>>32 + total&0xffffffff
	total = total>>16 + total&0xffff
	total = total>>16 + total&0xffff
	return uint16(total>>16 + total&0xffff)
}
