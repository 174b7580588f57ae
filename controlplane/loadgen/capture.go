package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"culvert/controlplane/capture"
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
	if found.Kind = capture.KindOf(file); found.Kind == "" {
		found.Kind = "lines"
		records, err = linesOf(r, file, &found)
	} else {
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

// packetsOf reads the UDP payloads of a capture.
func packetsOf(r *resolved, file []byte, found *Recorded) ([]record, error) {
	from, err := capture.New(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	var records []record
	begin, last := int64(0), time.Duration(0)
	for {
		packet, err := from.Next()
		if errors.Is(err, io.EOF) {
			found.Skipped += from.Skipped
			return records, nil
		}
		if err != nil {
			return nil, err
		}
		if len(packet.Payload) == 0 {
			found.Skipped++
			continue
		}
		if begin == 0 {
			begin = packet.Time
		}
		// Captures of several queues are not quite in order; the file's order counts.
		last = max(last, time.Duration(packet.Time-begin))
		points, bad := countPoints(packet.Payload)
		found.BadLines += bad
		records = append(records, record{packet.Payload, points, last, int(packet.Sender % uint64(r.Flows))})
	}
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
