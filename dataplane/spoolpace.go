package dataplane

import (
	"math"
	"time"
)

const (
	// liveFor is how long a worker counts as busy after it sealed a batch, in nanoseconds.
	liveFor = int64(time.Second)
	// paceFirst, paceLeast and paceMost bound the rest between two requests while there is live traffic, in
	// nanoseconds: at the longest, replay still delivers some requests a second.
	paceFirst = int64(10 * time.Millisecond)
	paceLeast = int64(100 * time.Microsecond)
	paceMost  = int64(250 * time.Millisecond)
	// paceEase is by which part the rest shrinks with a live write that was not slow. It doubles with a slow
	// one, so that it stays as it is where one write in a hundred is slow: 1/100 of ln 2.
	paceEase = 1.0 / 144
	// paceDoubles bounds how often the rest doubles at once.
	paceDoubles = 3
	// paceShare is how much replay gets in any case, in parts of a hundred of what live traffic gets: with
	// less than that a spool would grow older than the outage was long.
	paceShare = 150
	// paceWindow is over how long the rate of live traffic is measured, in nanoseconds.
	paceWindow = int64(time.Second)
	// paceBytesLeast and paceBytesMost bound a request while there is live traffic: a long one holds the
	// server up for as long as it takes, in bytes.
	paceBytesLeast, paceBytesFirst, paceBytesMost = 4 << 10, 16 << 10, 256 << 10
)

// pace is how fast replay goes beside live traffic. What it keeps is the live writes' latency: one in a
// hundred may take half as long again as all but one in a hundred take without replay, or longer, so that
// their 99th percentile stays below twice that. The rest after a request grows with each that does and
// shrinks with each that does not; it is never so long that live traffic gets more than replay. A request is
// so long that it takes about as long as a live one.
type pace struct {
	sealed []uint64 // the ports' counts when they were last looked at
	liveAt int64    // when a worker sealed something last; 0: never
	begun  int64    // when a request was sent last; 0: never
	writes uint64   // live ones when they were last looked at, and how many of them were slow
	slow   uint64
	rest   int64
	bytes  int   // of a request
	rate   int64 // live points a second
	points uint64
	since  int64 // when the window of the rate began, and points were counted
	nextAt int64 // replay rests until then
}

// live tells whether workers write to the server.
func (p *pace) live(ports []*SpoolPort, now int64) bool {
	if p.sealed == nil {
		p.sealed = make([]uint64, len(ports))
	}
	for i, port := range ports {
		if n := port.sealed.Load(); n != p.sealed[i] {
			p.sealed[i], p.liveAt = n, now
		}
	}
	return p.liveAt != 0 && now-p.liveAt < liveFor
}

// watch tells the workers whether what they see of the server is partly replay's own doing.
func (p *pace) watch(ports []*SpoolPort, busy bool, now int64) {
	if busy {
		p.begun = now
	}
	replaying := p.begun != 0 && now-p.begun < liveFor
	for _, port := range ports {
		if port.replaying.Load() != replaying {
			port.replaying.Store(replaying)
		}
	}
}

// size is how many bytes a request gets while there is live traffic.
func (p *pace) size() int {
	if p.bytes == 0 {
		p.bytes = paceBytesFirst
	}
	return p.bytes
}

// measure keeps the rate of live points.
func (p *pace) measure(ports []*SpoolPort, now int64) {
	if now-p.since < paceWindow {
		return
	}
	points := uint64(0)
	for _, port := range ports {
		points += port.points.Load()
	}
	if p.since != 0 {
		p.rate = int64(float64(points-p.points) / (float64(now-p.since) / float64(time.Second)))
	}
	p.points, p.since = points, now
}

// after sets the rest after a request of so many points that took so long, and the length of the next.
func (p *pace) after(ports []*SpoolPort, points int, took, now int64) {
	if !p.live(ports, now) {
		p.rest, p.nextAt = 0, now
		return
	}
	var writes, slow uint64
	usual, backlog := int64(0), false
	for _, port := range ports {
		writes += port.writes.Load()
		slow += port.slow.Load()
		usual = max(usual, port.usual.Load())
		backlog = backlog || port.backlog.Load() > 0
	}
	good, bad := float64(writes-p.writes-(slow-p.slow)), slow-p.slow
	if writes == p.writes && backlog {
		bad++ // not even one got through
	}
	p.writes, p.slow = writes, slow
	if p.rest == 0 {
		p.rest = paceFirst
	} else {
		p.rest <<= min(bad, paceDoubles)
		p.rest = max(int64(float64(p.rest)*math.Exp(-good*paceEase)), paceLeast)
	}
	p.rest = min(p.rest, paceMost)
	if p.rate > 0 {
		p.rest = min(p.rest, int64(points)*int64(time.Second)*100/(p.rate*paceShare))
	}
	p.nextAt = now + p.rest
	if size := p.size(); usual > 0 && took > usual {
		p.bytes = max(size-size/4, paceBytesLeast)
	} else if usual > 0 {
		p.bytes = min(size+size/16, paceBytesMost)
	}
}
