package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

const (
	// segmentMagic begins every segment.
	segmentMagic = "CULVSPL1"
	// segmentVersion is the format that is written here. A segment of a later one is left alone.
	segmentVersion = 1
	// segmentFixed is the part of a segment's header before its strings.
	segmentFixed = 56
	// headAlign is what a segment's header is padded to.
	headAlign = 64
	// labelMax bounds each of the strings, so that the header's length fits its field.
	labelMax = 4096
	// segmentEnd and badEnd end the names of segments and of what was kept aside.
	segmentEnd = ".seg"
	badEnd     = ".bad"
)

// Label says whose spool a segment belongs to. It stands in the header of every segment.
type Label struct {
	// Gateway is the gateway's id.
	Gateway string
	// Sink is the sink's name and URL its server, without user and password.
	Sink, URL string
	// Epoch tells one run of the gateway from the next.
	Epoch uint64
}

// segmentHead is what a segment's header says.
type segmentHead struct {
	Label
	salt   uint64
	first  uint64 // the sequence that its first record has
	length int    // of the header
}

// put makes the header's bytes.
func (h *segmentHead) put() ([]byte, error) {
	for _, s := range []string{h.Gateway, h.Sink, h.URL} {
		if len(s) > labelMax {
			return nil, fmt.Errorf("make segment header: a string of %d bytes, want at most %d",
				len(s), labelMax)
		}
	}
	length := segmentFixed + len(h.Gateway) + len(h.Sink) + len(h.URL)
	h.length = (length + headAlign - 1) / headAlign * headAlign
	b := make([]byte, h.length)
	le := binary.LittleEndian
	copy(b, segmentMagic)
	le.PutUint16(b[8:], segmentVersion)
	le.PutUint16(b[10:], uint16(h.length))
	le.PutUint64(b[16:], h.salt)
	le.PutUint64(b[24:], h.first)
	le.PutUint64(b[32:], h.Epoch)
	le.PutUint16(b[40:], uint16(len(h.Gateway)))
	le.PutUint16(b[42:], uint16(len(h.Sink)))
	le.PutUint16(b[44:], uint16(len(h.URL)))
	copy(b[segmentFixed:], h.Gateway+h.Sink+h.URL)
	le.PutUint32(b[12:], crc32.Checksum(b, castagnoli))
	return b, nil
}

// parseSegmentHead reads a segment's header from the file's first bytes. foreign says that a later version
// of the format wrote it.
func parseSegmentHead(b []byte) (h segmentHead, foreign bool, err error) {
	le := binary.LittleEndian
	if len(b) < segmentFixed || !bytes.HasPrefix(b, []byte(segmentMagic)) {
		return h, false, fmt.Errorf("read segment header: %w", errMalformed)
	}
	if version := le.Uint16(b[8:]); version != segmentVersion {
		return h, version > segmentVersion, fmt.Errorf("read segment header: version %d, want %d",
			version, segmentVersion)
	}
	h.length = int(le.Uint16(b[10:]))
	gateway, sink, url := int(le.Uint16(b[40:])), int(le.Uint16(b[42:])), int(le.Uint16(b[44:]))
	if h.length > len(b) || segmentFixed+gateway+sink+url > h.length {
		return h, false, fmt.Errorf("read segment header: %d bytes of %d: %w", len(b), h.length, errMalformed)
	}
	sum := crc32.Checksum(b[:12], castagnoli)
	sum = crc32.Update(sum, castagnoli, []byte{0, 0, 0, 0})
	sum = crc32.Update(sum, castagnoli, b[16:h.length])
	if want := le.Uint32(b[12:]); sum != want {
		return h, false, fmt.Errorf("read segment header: crc32c %08x, want %08x: %w",
			sum, want, errMalformed)
	}
	text := string(b[segmentFixed:h.length])
	h.salt, h.first, h.Epoch = le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:])
	h.Gateway, h.Sink, h.URL = text[:gateway], text[gateway:gateway+sink], text[gateway+sink:gateway+sink+url]
	return h, false, nil
}

// headMax is how many bytes of a file can belong to the segment's header.
const headMax = segmentFixed + 3*labelMax + headAlign

// segmentName is the file of the segment that begins with this sequence. Names sort by age.
func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentEnd) }

// parseName tells segments and what was kept aside from other files.
func parseName(name string) (first uint64, bad, ok bool) {
	digits, isSegment := strings.CutSuffix(name, segmentEnd)
	if !isSegment {
		if digits, bad = strings.CutSuffix(name, badEnd); !bad {
			return 0, false, false
		}
		digits, _, _ = strings.Cut(digits, "-")
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, bad, err == nil && len(digits) == 20
}
