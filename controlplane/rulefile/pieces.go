package rulefile

import (
	"bytes"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// pieces cuts a recording of lines into payloads as packets hold them, for a bufio.Scanner. A string may hold
// line ends, so a piece ends where no string is open, if one that is not too long for a payload closes at
// all.
type pieces struct {
	decoder lineproto.Decoder
	point   point.Point
}

// split is a bufio.SplitFunc.
func (s *pieces) split(rest []byte, atEnd bool) (advance int, piece []byte, err error) {
	end := bytes.LastIndexByte(rest, '\n') + 1
	switch {
	case len(rest) == 0:
		return 0, nil, nil
	case atEnd:
		end = len(rest)
	case end == 0:
		return 0, nil, nil // There is more to read, or the line is too long.
	default:
		open := s.open(rest[:end])
		if open == 0 && len(rest) < lineMax {
			return 0, nil, nil
		}
		if open > 0 {
			end = open
		}
	}
	return end, rest[:end], nil
}

// open is where the first line begins whose string is not closed, or -1.
func (s *pieces) open(lines []byte) int {
	if bytes.IndexByte(lines, '"') < 0 {
		return -1
	}
	s.point.ScratchBytes = s.point.ScratchBytes[:0]
	s.decoder.Start(lines, lineproto.Nanosecond, &s.point)
	for {
		switch s.decoder.Next(&s.point) {
		case lineproto.End:
			return -1
		case lineproto.Rejected:
			if s.decoder.Reason() == lineproto.UnterminatedString {
				return s.decoder.Line().Offset()
			}
		}
	}
}
