// Package capture reads UDP payloads out of recordings of packets: pcap and pcapng files, as tcpdump, dumpcap
// and Wireshark write them. The formats and the packets' layers are gopacket's business; what counts as a
// whole datagram, and what time it has, is told here.
package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Packet is one UDP payload of a recording.
type Packet struct {
	// Time is when it was recorded, in nanoseconds since 1970. A packet of which the file says no time (a
	// Simple Packet Block) has that of the packet before it, or 0.
	Time    int64
	Payload []byte // the caller's
	Sender  uint64 // the same for all packets of one address and port
}

// Reader reads one recording.
type Reader struct {
	// Skipped counts packets without a whole UDP datagram: other protocols, fragments, packets cut short.
	Skipped int

	from   gopacket.PacketDataSource
	link   layers.LinkType // of all packets of a pcap file; each packet of a pcapng file has its own
	ng     bool
	number int   // of the packet at hand, from 1
	last   int64 // Time of the packet before
}

// The formats that KindOf tells.
const (
	PCAP   = "pcap"
	PCAPNG = "pcapng"
)

// KindOf goes by the first four bytes: of pcap with microseconds or nanoseconds in either byte order, of a
// pcapng section header (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng). It is empty for anything else.
func KindOf(start []byte) string {
	if len(start) < 4 {
		return ""
	}
	switch binary.BigEndian.Uint32(start) {
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1:
		return PCAP
	case 0x0a0d0d0a:
		return PCAPNG
	}
	return ""
}

// timeMax bounds the seconds since 1970 that are believed, beyond the 32 bits of pcap; those of pcapng have
// 64.
const timeMax = 1 << 33

// New reads the file's header.
func New(in io.Reader) (*Reader, error) {
	buffered := bufio.NewReader(in)
	start, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read capture: %w", err)
	}
	r := &Reader{}
	switch KindOf(start) {
	case PCAP:
		from, err := pcapgo.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("read capture's header: %w", err)
		}
		if r.from, r.link = from, from.LinkType(); decoderOf(r.link) == nil {
			return nil, fmt.Errorf("read capture: link type %d, want Ethernet, raw IP, Linux cooked or "+
				"loopback", r.link)
		}
	case PCAPNG:
		// One file may hold packets of several interfaces with different links.
		from, err := pcapgo.NewNgReader(buffered, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return nil, fmt.Errorf("read capture's header: %w", err)
		}
		r.from, r.ng = from, true
	default:
		return nil, errors.New("read capture: it is neither pcap nor pcapng")
	}
	return r, nil
}

// Next returns the next UDP payload, which may be empty, or io.EOF.
func (r *Reader) Next() (Packet, error) {
	for {
		frame, about, err := r.from.ReadPacketData()
		r.number++
		switch {
		case errors.Is(err, io.EOF) && about.CaptureLength == 0:
			return Packet{}, io.EOF
		case endsEarly(err):
			return Packet{}, fmt.Errorf("read capture: the file ends within packet %d: %w", r.number,
				io.ErrUnexpectedEOF)
		case err != nil:
			return Packet{}, fmt.Errorf("read capture: packet %d: %w", r.number, err)
		}
		link := r.link
		if r.ng && len(about.AncillaryData) == 1 {
			link, _ = about.AncillaryData[0].(layers.LinkType)
		}
		r.last = timeOf(about.Timestamp, r.last)
		if payload, sender, whole := datagram(frame, link); whole {
			return Packet{Time: r.last, Payload: payload, Sender: sender}, nil
		}
		r.Skipped++
	}
}

// endsEarly tells whether an error is that of a file that was cut off. Within some blocks the library says so
// by its text alone.
func endsEarly(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		err != nil && strings.HasSuffix(err.Error(), io.ErrUnexpectedEOF.Error())
}

// timeOf is a packet's time, or the time before it where that is none.
func timeOf(t time.Time, before int64) int64 {
	if seconds := t.Unix(); seconds < 0 || seconds >= timeMax {
		return before
	}
	return t.UnixNano()
}

// decoderOf is what decodes the frames of a link, or nil.
func decoderOf(link layers.LinkType) gopacket.Decoder {
	switch link {
	case layers.LinkTypeEthernet, layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2, layers.LinkTypeNull,
		layers.LinkTypeLoop:
		return link
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		return layers.LinkTypeRaw // decodes by the packet's version
	}
	return nil
}

// datagram finds the outermost UDP payload of a frame, and a number that is the same for all of one sender. A
// fragment is not whole, the first one neither, although it begins with a header.
func datagram(frame []byte, link layers.LinkType) (payload []byte, sender uint64, whole bool) {
	decoder := decoderOf(link)
	if decoder == nil {
		return nil, 0, false
	}
	packet := gopacket.NewPacket(frame, decoder, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	udp, ok := packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if !ok || udp.Length == 0 {
		return nil, 0, false
	}
	// A datagram says how long it is: what lies behind it is Ethernet's padding, what is missing was cut off.
	if int(udp.Length) > len(udp.Contents)+len(udp.Payload) {
		return nil, 0, false
	}
	hash := fnv.New64a()
	if network := packet.NetworkLayer(); network != nil {
		hash.Write(network.NetworkFlow().Src().Raw())
	}
	hash.Write(udp.TransportFlow().Src().Raw())
	return udp.Payload, hash.Sum64(), true
}
