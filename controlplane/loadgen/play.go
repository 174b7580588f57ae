package loadgen

import (
	"errors"
	"fmt"
	"time"
)

// loopGap is the pause before a recording of one packet, or of one moment, begins anew.
const loopGap = time.Millisecond

// replay sends what a file holds. The packets of one sender leave by one flow, in their order.
type replay struct {
	*resolved
	records []record
	found   Recorded
	longest int
	next    int
	rounds  time.Duration // of how many whole rounds, times period
	period  time.Duration // of one round, if it has a pace
	sent    uint64        // points
	total   uint64        // points after which it ends; 0: none
	ahead   turn
	begin   int // the first record of the turn
	last    time.Duration
}

func newReplay(r *resolved) (*replay, error) {
	records, found, err := readRecording(r)
	if err != nil {
		return nil, err
	}
	p := &replay{resolved: r, records: records, found: found, total: r.Count}
	if r.Rate > 0 && found.Points == 0 {
		return nil, fmt.Errorf("play %q at a rate of points: there is none in it; use --speed", r.Play)
	}
	for i := range records {
		p.longest = max(p.longest, len(records[i].payload))
	}
	if r.Speed > 0 {
		// The pause between the last packet and the first is as long as the mean of the others.
		end := records[len(records)-1].offset
		p.period = end + max(end/time.Duration(max(len(records)-1, 1)), loopGap)
	}
	return p, nil
}

// checkPlay finds what does not go with a file.
func (c *Config) checkPlay() error {
	switch {
	case c.Play == "" && (c.Speed != 0 || c.Loop):
		return errors.New("a speed and a loop are of a file that is played: name it")
	case c.Play == "":
		return nil
	case !(c.Speed >= 0):
		return fmt.Errorf("speed %v, want 0 (as the rate says) or more", c.Speed)
	case c.Speed > 0 && c.Rate > 0:
		return errors.New("a rate and a speed contradict each other")
	case c.Sequence:
		return errors.New("points of a file get no sequence numbers: they are sent as they are")
	case c.AlertShare > 0:
		return errors.New("points of a file have the values they have: an alert share is not possible")
	}
	return nil
}

func (p *replay) sizeMax() int { return p.longest }

func (p *replay) times() (first, last int64) { return 0, 0 }

func (p *replay) planned() time.Duration { return p.last }

// due is when a record is to leave, after the start.
func (p *replay) due(i int) time.Duration {
	if p.Speed == 0 {
		return 0
	}
	return time.Duration(float64(p.rounds+p.records[i].offset) / p.Speed)
}

// plan takes records of one flow as long as they are due within a burst's time.
func (p *replay) plan() turn {
	p.ahead = turn{}
	if p.total > 0 && p.sent >= p.total {
		return p.ahead
	}
	if p.next == len(p.records) {
		if !p.Loop {
			return p.ahead
		}
		p.next = 0
		p.rounds += p.period
	}
	p.begin = p.next
	t := turn{flow: p.records[p.next].flow}
	// What is due within a burst's time at the rate, and one packet at least.
	pointsMax := uint64(p.Rate * burstTime.Seconds())
	for p.next < len(p.records) && t.packets < burstMax {
		r := &p.records[p.next]
		late := p.due(p.next) > p.due(p.begin)+burstTime
		if t.packets > 0 && (r.flow != t.flow || late || p.Rate > 0 && t.points+r.points > pointsMax) {
			break
		}
		t.packets++
		t.points += r.points
		t.lastPoints = r.points
		t.due = p.due(p.next)
		p.next++
	}
	p.ahead = t
	return t
}

func (p *replay) fill(_ time.Time, into *parcel) {
	for i := range p.ahead.packets {
		r := &p.records[p.begin+i]
		into.packets[i], into.points[i], into.violations[i] = r.payload, r.points, 0
	}
	p.sent += p.ahead.points
	p.last = p.ahead.due
}
