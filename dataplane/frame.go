package dataplane

import (
	"encoding/binary"

	"culvert/bpf/abi"
)

// openFrame turns a received frame into a payload: it believes the metadata in front of the packet only if
// magic and length agree with the descriptor's, and checks the UDP checksum, which nobody did before. It
// returns FrameRejects when the payload is good. The metadata is spent afterwards: were the frame ever to
// come back without fresh metadata, its stale area would not be believed.
func openFrame(payload *Payload, packet, metadata []byte, policy ChecksumPolicy, c *Counters) FrameReject {
	// The payload before may have been another sender's.
	payload.Source, payload.SourcePort = [16]byte{}, 0
	meta, ok := abi.ReadMeta(metadata)
	if !ok {
		return FrameNoMetadata
	}
	abi.ClearMeta(metadata)
	start, end := int(meta.PayloadOffset), int(meta.PayloadOffset)+int(meta.PayloadLength)
	l3, l4 := int(meta.L3Offset), int(meta.L4Offset)
	if int(meta.PacketLength) != len(packet) || end > len(packet) || l4+udpHeaderSize != start {
		return FrameLength
	}
	var addresses []byte
	if meta.Family == 4 {
		if l3+ipv4AddressesEnd > l4 {
			return FrameLength
		}
		addresses = packet[l3+ipv4SourceOffset : l3+ipv4AddressesEnd]
		payload.Source = [16]byte{10: 0xff, 11: 0xff}
		copy(payload.Source[12:], packet[l3+ipv4SourceOffset:l3+ipv4SourceEnd])
	} else {
		if l3+ipv6AddressesEnd > l4 {
			return FrameLength
		}
		addresses = packet[l3+ipv6SourceOffset : l3+ipv6AddressesEnd]
		copy(payload.Source[:], packet[l3+ipv6SourceOffset:l3+ipv6SourceEnd])
	}
	// Known before the sums are checked: whoever looks for a sender of bad ones wants it.
	payload.SourcePort = binary.BigEndian.Uint16(packet[l4:])
	if policy != ChecksumOff {
		// Every sender finishes the IPv4 header's sum itself; the kernel would have checked it, too.
		if meta.Family == 4 && fold(sum(packet[l3:l4], 0)) != 0xffff {
			return FrameHeaderChecksum
		}
		switch checkDatagram(addresses, packet[l4:end]) {
		case checksumCorrect:
		case checksumAbsent:
			c.ChecksumAbsent++
		case checksumPartial:
			if policy != ChecksumPartial {
				return FrameChecksum
			}
			c.ChecksumPartial++
		case checksumMissing:
			return FrameNoChecksum
		default:
			return FrameChecksum
		}
	}
	payload.Bytes = packet[start:end]
	payload.Arrival = int64(meta.Arrival)
	payload.CardTime, payload.CardTold = meta.CardTime, meta.Flags&abi.FlagCardTime != 0
	payload.Listener, payload.Tenant = meta.Listener, meta.Tenant
	payload.Token = 0
	return FrameRejects
}
