package loadgen

import "time"

// source makes the packets of a run, or reads them. It belongs to the run's thread.
type source interface {
	// plan says what leaves together next, from one flow. No packets: it is the end.
	plan() turn
	// fill makes what was planned last. The packets are valid until the next call.
	fill(now time.Time, into *parcel)
	// sizeMax is the longest payload, in bytes.
	sizeMax() int
	// planned is when, after the start, the last packet is due that has been filled, if the source has a
	// pace of its own; 0 otherwise.
	planned() time.Duration
	// times are the least and the greatest timestamp made, in nanoseconds; 0 if it makes none.
	times() (first, last int64)
}

// turn is what leaves together.
type turn struct {
	flow, packets int
	points        uint64 // in all of the packets
	lastPoints    uint64 // in the last of them
	due           time.Duration
}

// parcel is the packets of one turn.
type parcel struct {
	packets    [burstMax][]byte
	points     [burstMax]uint64
	violations [burstMax]uint64
}

// lane is the series that leave by one flow.
type lane struct {
	first, last int    // its series: first … last-1
	next        int    // the series of its next point
	stamp       int64  // of its last round, in the unit of timestamps
	sequence    uint64 // of its next point, the flow's number included
}

// synth makes points from a template. A packet has its place in memory, where the line stands as often as
// there are points, and only the slots are written anew.
type synth struct {
	*resolved
	lanes  []lane
	images [][]byte // as many as leave together
	values values
	turn   int
	made   uint64 // points
	total  uint64 // points; 0: no bound
	ahead  turn   // as planned last

	first, last int64 // timestamps, in their unit
}

func newSynth(r *resolved) *synth {
	s := &synth{resolved: r, values: newValues(r.Seed, r.AlertShare), total: r.Count}
	for i := range r.Flows {
		first := r.Series * i / r.Flows
		s.lanes = append(s.lanes, lane{
			first: first, last: r.Series * (i + 1) / r.Flows, next: first,
			sequence: uint64(i) * sequencesOfFlow,
		})
	}
	packets := burstMax
	if r.Rate > 0 {
		interval := float64(r.PointsPerPacket) / r.Rate * 1e9
		packets = min(max(int(float64(burstTime)/interval), 1), burstMax)
	}
	size := s.sizeMax()
	memory := make([]byte, 0, packets*size)
	for range packets * r.PointsPerPacket {
		memory = append(memory, r.layout.line...)
	}
	for i := range packets {
		s.images = append(s.images, memory[i*size:(i+1)*size:(i+1)*size])
	}
	if r.Rate > 0 && r.Duration > 0 {
		planned := max(uint64(r.Rate*r.Duration.Seconds()+0.5), 1)
		if s.total == 0 || planned < s.total {
			s.total = planned
		}
	}
	return s
}

func (s *synth) sizeMax() int { return len(s.layout.line) * s.PointsPerPacket }

func (s *synth) planned() time.Duration { return 0 }

func (s *synth) times() (first, last int64) { return s.first * int64(s.unit), s.last * int64(s.unit) }

// plan lets the flows take turns.
func (s *synth) plan() turn {
	per := uint64(s.PointsPerPacket)
	t := turn{flow: s.turn % len(s.lanes), packets: len(s.images), lastPoints: per}
	s.turn++
	t.points = uint64(t.packets) * per
	if s.total > 0 && s.total-s.made < t.points {
		t.points = s.total - s.made
		t.packets = int((t.points + per - 1) / per)
		t.lastPoints = t.points - uint64(max(t.packets-1, 0))*per
	}
	s.ahead = t
	return t
}

func (s *synth) fill(now time.Time, into *parcel) {
	clock := now.UnixNano() / int64(s.unit)
	line, left := len(s.layout.line), s.ahead.points
	l := &s.lanes[s.ahead.flow]
	for i := range s.ahead.packets {
		n := min(uint64(s.PointsPerPacket), left)
		before := s.values.violations
		packet := s.images[i][:n*uint64(line)]
		for at := 0; at < len(packet); at += line {
			stamp := s.nextStamp(l, clock)
			s.values.write(packet[at:at+line], s.layout.slots, l.next, stamp, l.sequence)
			l.sequence++
			if l.next++; l.next == l.last {
				l.next = l.first
			}
		}
		into.packets[i], into.points[i] = packet, n
		into.violations[i] = s.values.violations - before
		left -= n
	}
	s.made += s.ahead.points
}

// nextStamp is the timestamp of a flow's next point. In nanoseconds no two points have the same. Coarser ones
// move on once all series of the flow had their turn, ahead of the clock if that comes round faster than it.
func (s *synth) nextStamp(l *lane, now int64) int64 {
	stamp := l.stamp
	switch {
	case s.NoTimestamps:
		return 0
	case s.unit == time.Nanosecond:
		stamp = max(now, s.last+1)
	case l.next == l.first:
		stamp = max(now, l.stamp+1)
	}
	l.stamp, s.last = stamp, max(s.last, stamp)
	if s.first == 0 || stamp < s.first {
		s.first = stamp
	}
	return stamp
}
