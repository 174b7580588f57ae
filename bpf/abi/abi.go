// Package abi is bpf/culvert.h in Go: what crosses between the kernel programs and the packages that must not
// know how programs are loaded. It imports the standard library only. Package bpf compares its sizes, offsets
// and names with the BTF of the compiled object.
package abi

import "encoding/binary"

// Magic begins the metadata of a steered frame ("CVT1" in memory, struct meta in bpf/culvert.h).
const Magic uint32 = 0x31545643

// MetaSize is the length of the metadata area in front of a steered frame, in bytes.
const MetaSize = 32

// PacketMax is the longest packet that Meta can tell of, in bytes: its lengths have 16 bits.
const PacketMax = 1<<16 - 1

// Offsets of struct meta's fields in bpf/culvert.h, in bytes.
const (
	magicAt         = 0
	payloadOffsetAt = 4
	payloadLengthAt = 6
	arrivalAt       = 8
	listenerAt      = 16
	tenantAt        = 18
	l3OffsetAt      = 20
	l4OffsetAt      = 22
	packetLengthAt  = 24
	familyAt        = 26
	flagsAt         = 27
	cardTimeAt      = 28
)

// FlagCardTime in Meta.Flags says that the card told when the packet came (META_CARD_TIME).
const FlagCardTime = 1

// Meta is what the XDP program found out about a frame. Offsets count from the frame's first byte, that of
// the Ethernet header. The program checked them against the frame it saw; who reads a frame of a ring
// compares PacketLength with the descriptor's length first, and may then trust the rest.
type Meta struct {
	PayloadOffset uint16
	PayloadLength uint16
	Arrival       uint64 // CLOCK_MONOTONIC in ns
	Listener      uint16
	Tenant        uint16 // 0 is the default tenant
	L3Offset      uint16
	L4Offset      uint16
	PacketLength  uint16 // of the frame with its padding
	Family        uint8  // 4 or 6
	Flags         uint8  // see FlagCardTime
	// CardTime is the low half of the packet's time of arrival by the card's own clock, in ns, where Flags
	// says that there is one.
	CardTime uint32
}

// ReadMeta reads the MetaSize bytes in front of a frame. It is false where they do not begin with the magic:
// the frame was not stamped, or its stamp was read before. The Meta is a copy and stays valid.
func ReadMeta(area []byte) (Meta, bool) {
	if len(area) < MetaSize {
		return Meta{}, false
	}
	b := (*[MetaSize]byte)(area)
	if binary.LittleEndian.Uint32(b[magicAt:]) != Magic {
		return Meta{}, false
	}
	return Meta{
		PayloadOffset: binary.LittleEndian.Uint16(b[payloadOffsetAt:]),
		PayloadLength: binary.LittleEndian.Uint16(b[payloadLengthAt:]),
		Arrival:       binary.LittleEndian.Uint64(b[arrivalAt:]),
		Listener:      binary.LittleEndian.Uint16(b[listenerAt:]),
		Tenant:        binary.LittleEndian.Uint16(b[tenantAt:]),
		L3Offset:      binary.LittleEndian.Uint16(b[l3OffsetAt:]),
		L4Offset:      binary.LittleEndian.Uint16(b[l4OffsetAt:]),
		PacketLength:  binary.LittleEndian.Uint16(b[packetLengthAt:]),
		Family:        b[familyAt],
		Flags:         b[flagsAt],
		CardTime:      binary.LittleEndian.Uint32(b[cardTimeAt:]),
	}, true
}

// ClearMeta zeroes the magic, so that the area is never taken for a later frame's.
func ClearMeta(area []byte) {
	binary.LittleEndian.PutUint32(area[magicAt:], 0)
}
