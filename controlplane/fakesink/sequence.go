package fakesink

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"

	"culvert/dataplane/point"
)

// The sequence numbers of `culvert load --sequence`: the last field of a line is seq=1FFFFNNNNNNNNNNNNNi,
// with the flow in four digits and the point's number in it, from 0 on, in thirteen.
const (
	sequencePrefix  = ",seq=1"
	sequenceDigits  = 17
	sequenceField   = len(sequencePrefix) + sequenceDigits + len("i")
	sequenceBase    = 1e17
	sequencesOfFlow = 1e13
	flowsMax        = 1e4
	// stampDigits is how long timestamps in nanoseconds are, from 2001 to 2286.
	stampDigits = 19
	// gapsMax bounds how many gaps a flow remembers: 1 MiB. Points of an older gap that come after all count
	// as duplicates, and Forgotten tells how many they may be.
	gapsMax = 1 << 16
)

// FlowSequence is what came of one flow. Of the points that its sender numbered, 0 to n-1, n - Seen are lost.
type FlowSequence struct {
	Seen       uint64 `json:"seen"`       // different numbers
	Next       uint64 `json:"next"`       // the greatest number, plus one
	Missing    uint64 `json:"missing"`    // numbers below Next that have not come
	Duplicates uint64 `json:"duplicates"` // numbers that had come already
	Late       uint64 `json:"late"`       // numbers that came after a greater one
	Forgotten  uint64 `json:"forgotten"`  // numbers that would not be known any more: then nothing is exact
}

// Sequences is what came of all points with sequence numbers.
type Sequences struct {
	FlowSequence                      // sums; Next too
	Unnumbered   uint64               `json:"unnumbered"` // points without a number
	Flows        map[int]FlowSequence `json:"flows"`
}

// gap is the numbers first … end-1, none of which has come.
type gap struct{ first, end uint64 }

// track follows one flow.
type track struct {
	FlowSequence
	gaps []gap // ascending, and apart from each other
}

// note takes one number. In order, it is one comparison and two additions.
func (t *track) note(n uint64) {
	switch {
	case n == t.Next:
		t.Next++
		t.Seen++
	case n > t.Next:
		if len(t.gaps) == gapsMax {
			t.Forgotten += t.gaps[0].end - t.gaps[0].first
			t.gaps = slices.Delete(t.gaps, 0, 1)
		}
		t.gaps = append(t.gaps, gap{t.Next, n})
		t.Missing += n - t.Next
		t.Next = n + 1
		t.Seen++
	default:
		t.noteLate(n)
	}
}

// noteLate takes a number below the greatest.
func (t *track) noteLate(n uint64) {
	i, _ := slices.BinarySearchFunc(t.gaps, n, func(g gap, n uint64) int {
		if g.end <= n {
			return -1
		}
		return 1
	})
	if i == len(t.gaps) || n < t.gaps[i].first {
		t.Duplicates++
		return
	}
	t.Seen++
	t.Late++
	t.Missing--
	switch g := &t.gaps[i]; {
	case g.first+1 == g.end:
		t.gaps = slices.Delete(t.gaps, i, i+1)
	case n == g.first:
		g.first++
	case n+1 == g.end:
		g.end--
	default:
		rest := gap{n + 1, g.end}
		g.end = n
		t.gaps = slices.Insert(t.gaps, i+1, rest)
	}
}

// sequences follows all flows.
type sequences struct {
	mutex      sync.Mutex // guards all; taken once a request
	flows      []*track   // by number; nil: nothing came of it
	unnumbered uint64
}

// note takes one number as it stands in the field, without the 1 in front.
func (s *sequences) note(number uint64) {
	flow := number / sequencesOfFlow
	t := s.flows[flow]
	if t == nil {
		t = new(track)
		s.flows[flow] = t
	}
	t.note(number - flow*sequencesOfFlow)
}

// scan takes the numbers of all lines of a body, and counts the lines as CountLines does.
func (s *sequences) scan(body []byte) (points uint64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var lines shape
	for start := 0; start < len(body); {
		length := lines.lineLength(body[start:])
		if length > 0 {
			points++
			if number, ok := sequenceOf(body[start : start+length]); ok {
				s.note(number)
			} else {
				s.unnumbered++
			}
		}
		start += length + 1
	}
	return points
}

// point takes the number of a decoded point.
func (s *sequences) point(p *point.Point) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if f := p.Field("seq"); f != nil && f.Kind == point.Int {
		if n := p.Int(f); n >= sequenceBase && n < 2*sequenceBase {
			s.note(uint64(n) - sequenceBase)
			return
		}
	}
	s.unnumbered++
}

// sequenceOf reads the last field of a line.
func sequenceOf(line []byte) (number uint64, ok bool) {
	end := len(line) - stampDigits - 1
	if end < 0 || line[end] != ' ' {
		// Of another unit, or without a timestamp.
		end = bytes.LastIndexByte(line, ' ')
		if end >= 0 && len(line) > 0 && line[len(line)-1] == 'i' {
			end = len(line)
		}
	}
	if end < sequenceField {
		return 0, false
	}
	field := line[end-sequenceField : end]
	if string(field[:len(sequencePrefix)]) != sequencePrefix || field[sequenceField-1] != 'i' {
		return 0, false
	}
	return seventeenDigits(field[len(sequencePrefix):])
}

// seventeenDigits reads as many digits from the front of b.
func seventeenDigits(b []byte) (uint64, bool) {
	_ = b[sequenceDigits-1]
	high, ok1 := eightDigits(binary.LittleEndian.Uint64(b))
	low, ok2 := eightDigits(binary.LittleEndian.Uint64(b[8:]))
	last := uint64(b[16] - '0')
	return (high*1e8+low)*10 + last, ok1 && ok2 && last <= 9
}

// eightDigits reads eight digits, the first in the lowest byte, by putting together pairs, then fours, then
// all: each multiplication adds to the upper part of a pair the lower one times its weight.
func eightDigits(x uint64) (uint64, bool) {
	// A digit has 3 in its upper half, and 6 more than it still has: ':' and above do not.
	if x&0xf0f0f0f0f0f0f0f0 != 0x3030303030303030 ||
		(x+0x0606060606060606)&0xf0f0f0f0f0f0f0f0 != 0x3030303030303030 {
		return 0, false
	}
	x &= 0x0f0f0f0f0f0f0f0f
	x = (x*10 + x>>8) & 0x00ff00ff00ff00ff
	x = (x*100 + x>>16) & 0x0000ffff0000ffff
	return (x*10000 + x>>32) & 0xffffffff, true
}

// figures is what came so far.
func (s *sequences) figures() *Sequences {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	sum := &Sequences{Unnumbered: s.unnumbered, Flows: map[int]FlowSequence{}}
	for flow, t := range s.flows {
		if t == nil {
			continue
		}
		sum.Flows[flow] = t.FlowSequence
		sum.Seen += t.Seen
		sum.Next += t.Next
		sum.Missing += t.Missing
		sum.Duplicates += t.Duplicates
		sum.Late += t.Late
		sum.Forgotten += t.Forgotten
	}
	return sum
}
