package rulefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Packet is one UDP payload of a recording.
type Packet struct {
	Time    int64 // nanoseconds since 1970
	Payload []byte
}

// Capture reads UDP payloads from a pcap file, with timestamps in micro- or nanoseconds.
type Capture struct {
	in    io.Reader
	order binary.ByteOrder
	scale int64
	link  uint32
	// Skipped counts packets without a whole UDP datagram: other protocols, fragments, packets cut short.
	Skipped int
}

const (
	linkEthernet = 1
	linkRaw      = 101
	linkCooked   = 113 // Linux' "any" interface
	linkIPv4     = 228
	linkIPv6     = 229
	linkCooked2  = 276 // Linux' "any" interface, as tcpdump writes it since 4.99
	// packetMax bounds what a record may claim to hold, as tcpdump's largest snapshot does.
	packetMax = 256 << 10
)

// IsCapture tells a pcap file from text by its first bytes.
func IsCapture(start []byte) bool {
	return len(start) >= 4 && (magicOf(start) != nil || bytes.HasPrefix(start, pcapng))
}

var pcapng = []byte{0x0a, 0x0d, 0x0d, 0x0a}

// magicOf is the byte order that a file's magic number says, or nil.
func magicOf(start []byte) binary.ByteOrder {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if magic := order.Uint32(start); magic == 0xa1b2c3d4 || magic == 0xa1b23c4d {
			return order
		}
	}
	return nil
}

// NewCapture reads the file's header.
func NewCapture(in io.Reader) (*Capture, error) {
	var head [24]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, fmt.Errorf("read capture's header: %w", err)
	}
	if bytes.HasPrefix(head[:], pcapng) {
		return nil, errors.New("read capture: it is pcapng; `editcap -F pcap IN OUT` makes a pcap file of it")
	}
	c := &Capture{in: in, order: magicOf(head[:]), scale: 1000}
	if c.order == nil {
		return nil, errors.New("read capture: it is no pcap file")
	}
	if c.order.Uint32(head[:]) == 0xa1b23c4d {
		c.scale = 1
	}
	c.link = c.order.Uint32(head[20:]) & 0x0fffffff
	switch c.link {
	case linkEthernet, linkRaw, linkCooked, linkIPv4, linkIPv6, linkCooked2:
		return c, nil
	}
	return nil, fmt.Errorf("read capture: link type %d, want Ethernet, raw IP or Linux cooked", c.link)
}

// Next returns the next UDP payload, or io.EOF.
func (c *Capture) Next() (Packet, error) {
	var head [16]byte
	for {
		if _, err := io.ReadFull(c.in, head[:]); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return Packet{}, fmt.Errorf("read capture: the file ends within a packet: %w", err)
			}
			return Packet{}, err
		}
		size := c.order.Uint32(head[8:])
		if size > packetMax {
			return Packet{}, fmt.Errorf("read capture: a packet of %d bytes, more than %d", size, packetMax)
		}
		frame := make([]byte, size)
		if _, err := io.ReadFull(c.in, frame); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // The end that is none is only known here.
			}
			return Packet{}, fmt.Errorf("read capture: the file ends within a packet: %w", err)
		}
		at := int64(c.order.Uint32(head[0:]))*1e9 + int64(c.order.Uint32(head[4:]))*c.scale
		if payload := c.payload(frame); payload != nil {
			return Packet{Time: at, Payload: payload}, nil
		}
		c.Skipped++
	}
}

// payload is the UDP payload of a frame, or nil.
func (c *Capture) payload(frame []byte) []byte {
	// Where the type of what the frame holds stands, and where that begins.
	kindAt, behind := 0, 0
	switch c.link {
	case linkEthernet:
		kindAt, behind = 12, 14
	case linkCooked:
		kindAt, behind = 14, 16
	case linkCooked2:
		kindAt, behind = 0, 20
	}
	if len(frame) < behind {
		return nil
	}
	if behind > 0 {
		frame = network(binary.BigEndian.Uint16(frame[kindAt:]), frame[behind:])
	}
	if len(frame) == 0 {
		return nil
	}
	switch frame[0] >> 4 {
	case 4:
		return udpOver4(frame)
	case 6:
		return udpOver6(frame)
	}
	return nil
}

// network is the IP packet behind a link's header, whatever VLAN tags stand before it, or nil.
func network(kind uint16, rest []byte) []byte {
	const vlan, qinq, ipv4, ipv6 = 0x8100, 0x88a8, 0x0800, 0x86dd
	for (kind == vlan || kind == qinq) && len(rest) >= 4 {
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	if kind != ipv4 && kind != ipv6 {
		return nil
	}
	return rest
}

const protocolUDP = 17

func udpOver4(packet []byte) []byte {
	if len(packet) < 20 {
		return nil
	}
	header, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
	fragment := binary.BigEndian.Uint16(packet[6:]) & 0x3fff
	if header < 20 || total < header || total > len(packet) || packet[9] != protocolUDP || fragment != 0 {
		return nil
	}
	return udp(packet[header:total])
}

func udpOver6(packet []byte) []byte {
	if len(packet) < 40 {
		return nil
	}
	length := int(binary.BigEndian.Uint16(packet[4:]))
	if packet[6] != protocolUDP || 40+length > len(packet) {
		return nil
	}
	return udp(packet[40 : 40+length])
}

func udp(datagram []byte) []byte {
	if len(datagram) < 8 {
		return nil
	}
	length := int(binary.BigEndian.Uint16(datagram[4:]))
	if length < 8 || length > len(datagram) {
		return nil
	}
	return datagram[8:length]
}
