package loadgen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// recordingMax bounds the file that is played, in bytes: it is kept in memory whole.
const recordingMax = 1 << 30

// Recorded is what a played file holds.
type Recorded struct {
	Kind    string `json:"kind"`    // pcap, pcapng or lines
	Packets int    `json:"packets"` // that are played
	Points  uint64 `json:"points"`  // in them
	// BadLines is how many lines in them are no Line Protocol. They are played as they are.
	BadLines uint64 `json:"bad_lines"`
	// Skipped is how many packets of a capture are not played: no UDP, fragments, cut off, empty.
	Skipped int     `json:"skipped"`
	Seconds float64 `json:"seconds"` // from the first packet to the last
}

// record is one packet that is played.
type record struct {
	payload []byte
	points  uint64
	offset  time.Duration // after the first
	flow    int
}

// readRecording reads a file of any of the kinds, told by how it begins.
func readRecording(r *resolved) (records []record, found Recorded, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read %q: %w", r.Play, err)
		}
	}()
	state, err := os.Stat(r.Play)
	if err != nil {
		return nil, found, err
	}
	if state.Size() > recordingMax {
		return nil, found, fmt.Errorf("%d bytes, at most %d are played", state.Size(), recordingMax)
	}
	file, err := os.ReadFile(r.Play)
	if err != nil {
		return nil, found, err
	}
	switch found.Kind = recordingKind(file); found.Kind {
	case "lines":
		records, err = linesOf(r, file, &found)
	default:
		records, err = packetsOf(r, file, &found)
	}
	if err != nil {
		return nil, found, err
	}
	if len(records) == 0 {
		return nil, found, errors.New("there is no packet to play in it")
	}
	found.Packets = len(records)
	for i := range records {
		found.Points += records[i].points
	}
	found.Seconds = records[len(records)-1].offset.Seconds()
	return records, found, nil
}

// recordingKind goes by the first four bytes: of pcap with microseconds or nanoseconds in either byte order,
// of a pcapng section header (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng).
func recordingKind(file []byte) string {
	if len(file) < 4 {
		return "lines"
	}
	switch binary.BigEndian.Uint32(file) {
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1:
		return "pcap"
	case 0x0a0d0d0a:
		return "pcapng"
	}
	return "lines"
}

// packetsOf reads the UDP payloads of a capture.
func packetsOf(r *resolved, file []byte, found *Recorded) ([]record, error) {
	var from interface {
		gopacket.PacketDataSource
		LinkType() layers.LinkType
	}
	var err error
	if found.Kind == "pcap" {
		from, err = pcapgo.NewReader(bytes.NewReader(file))
	} else {
		from, err = pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	}
	if err != nil {
		return nil, err
	}
	var records []record
	var begin time.Time
	var last time.Duration
	for number := 1; ; number++ {
		frame, capture, err := from.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return nil, fmt.Errorf("packet %d: %w", number, err)
		}
		payload, sender := datagram(frame, from.LinkType())
		if len(payload) == 0 || capture.CaptureLength < capture.Length {
			found.Skipped++
			continue
		}
		if len(records) == 0 {
			begin = capture.Timestamp
		}
		// Captures of several queues are not quite in order; the file's order counts.
		last = max(last, capture.Timestamp.Sub(begin))
		points, bad := countPoints(payload)
		found.BadLines += bad
		records = append(records, record{payload, points, last, int(sender % uint64(r.Flows))})
	}
}

// datagram finds the outermost UDP payload of a frame, and a number that is the same for all of one sender.
// Fragments have none: only the first of them would begin with a header.
func datagram(frame []byte, link layers.LinkType) (payload []byte, sender uint64) {
	packet := gopacket.NewPacket(frame, link, gopacket.DecodeOptions{NoCopy: true})
	hash := fnv.New64a()
	for _, layer := range packet.Layers() {
		switch l := layer.(type) {
		case *layers.IPv4:
			if l.Flags&layers.IPv4MoreFragments != 0 || l.FragOffset != 0 {
				return nil, 0
			}
			hash.Write(l.SrcIP)
		case *layers.IPv6Fragment:
			return nil, 0
		case *layers.IPv6:
			hash.Write(l.SrcIP)
		case *layers.UDP:
			var port [2]byte
			binary.BigEndian.PutUint16(port[:], uint16(l.SrcPort))
			hash.Write(port[:])
			// A datagram says how long it is; Ethernet may have padded it.
			if int(l.Length) > udpHeader+len(l.Payload) {
				return nil, 0
			}
			return l.Payload, hash.Sum64()
		}
	}
	return nil, 0
}

// countPoints lets the gateway's decoder read a payload.
func countPoints(payload []byte) (points, bad uint64) {
	var d lineproto.Decoder
	var p point.Point
	d.Start(payload, lineproto.Nanosecond, &p)
	for {
		switch d.Next(&p) {
		case lineproto.OK:
			points++
		case lineproto.Rejected:
			bad++
		default:
			return points, bad
		}
	}
}

// linesOf makes packets of PointsPerPacket lines each. They are due at the time of their first line that has
// one.
func linesOf(r *resolved, file []byte, found *Recorded) ([]record, error) {
	precision := lineproto.Nanosecond
	if r.Precision != "" {
		precision, _ = lineproto.ParsePrecision(r.Precision)
	}
	var d lineproto.Decoder
	var p point.Point
	var records []record
	var next record
	lines, begin := 0, int64(0)
	last := time.Duration(0)
	flush := func() {
		if lines > 0 {
			next.flow = len(records) % r.Flows
			records = append(records, next)
		}
		next, lines = record{offset: last}, 0
	}
	d.Start(file, precision, &p)
	for {
		outcome := d.Next(&p)
		line := d.Line()
		switch outcome {
		case lineproto.End:
			flush()
			return records, nil
		case lineproto.OK:
			next.points++
			if p.HasTime {
				if begin == 0 {
					begin = p.Time
				}
				last = max(last, time.Duration(p.Time-begin))
				if next.points == 1 {
					next.offset = last
				}
			}
			// Behind the fields nothing but the timestamp comes before the line's end.
			end := p.FieldSet.End()
			if more := bytes.IndexByte(file[end:], '\n'); more >= 0 {
				end += more
			} else {
				end = len(file)
			}
			next.payload = append(append(next.payload, file[p.Key.Offset():end]...), '\n')
		case lineproto.Rejected:
			found.BadLines++
			next.payload = append(append(next.payload, file[line.Offset():line.End()]...), '\n')
		}
		if len(next.payload) > payloadMax {
			return nil, fmt.Errorf("%d lines make a packet of %d bytes, a datagram holds %d", lines+1,
				len(next.payload), payloadMax)
		}
		if lines++; lines == r.PointsPerPacket {
			flush()
		}
	}
}
