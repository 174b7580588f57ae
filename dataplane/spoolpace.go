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
	// paceSlow is the part of the live points that may be slow. Were it one in a hundred, their 99th
	// percentile would be a matter of luck.
	paceSlow = 1.0 / 200
	// paceNoise is how many times as many it may be as without replay, if these are more: giving way to what
	// others do helps nobody. paceNoiseWindows is over how many windows that is known.
	paceNoise, paceNoiseWindows = 1.5, 60
	// paceStep is by what power of e the rest grows with a second's worth of slow live points: it doubles
	// with each millisecond.
	paceStep = 1000 * math.Ln2
	// paceStrainMost bounds what replay has to make good: a minute of live traffic without a slow point.
	paceStrainMost = 60 * paceSlow * paceStep
	// paceSteps is the power of e with which the least rest is longer than the most.
	paceSteps = 8
	// paceShare is how much replay gets in any case, in parts of a hundred of what live traffic gets: with
	// less than that a spool would grow older than the outage was long.
	paceShare = 150
	// paceWindow is over how long the rate of live traffic is measured, in nanoseconds.
	paceWindow = int64(time.Second)
	// paceBytesLeast and paceBytesMost bound a request while there is live traffic: a long one holds the
	// server up for as long as it takes, in bytes.
	paceBytesLeast, paceBytesFirst, paceBytesMost = 4 << 10, 16 << 10, 256 << 10
)

// pace is how fast replay goes beside live traffic. What it keeps is the live points' latency: one in two
// hundred may take half as long again as all but one in a hundred take without replay, or longer, so that
// their 99th percentile stays below twice that. It is points that count, not writes: while a server makes a
// pause, the points of it all come with one or two. The rest after a request grows with each slow point and
// shrinks with each that is not, and it remembers: a pause of a third of a second is made good for a minute.
// It is never so long that live traffic gets more than replay. A request is so long that it takes about as
// long as a live one.
type pace struct {
	sealed  []uint64 // the ports' counts when they were last looked at
	liveAt  int64    // when a worker sealed something last; 0: never
	begun   int64    // when a request was sent last; 0: never
	written uint64   // live points when they were last looked at, and how many of them were slow
	slow    uint64
	strain  float64 // by what power of e the rest is longer than the least; beyond the most it is memory
	rest    int64
	bytes   int     // of a request
	rate    int64   // live points a second
	noise   float64 // the part of the live points that are slow without replay
	quiet   int     // windows without replay that it comes from
	least   bool    // all through this window replay went as slowly as it ever does
	points  uint64
	late    uint64 // slow points
	since   int64  // when the window of the rate began, and points were counted
	nextAt  int64  // replay rests until then
}

// live tells whether workers write to the server.
func (p *pace) live(ports []*SpoolPort, now int64) bool {
	if p.sealed == nil {
		p.sealed = make([]uint64, len(ports))
	}
	for i, port := range ports {
		// While a server makes a pause nothing is sealed, and much waits.
		if n := port.sealed.Load(); n != p.sealed[i] || port.backlog.Load() > 0 {
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

// measure keeps the rate of live points, and how many of them are slow without replay.
func (p *pace) measure(ports []*SpoolPort, now int64) {
	if now-p.since < paceWindow {
		return
	}
	var points, late uint64
	for _, port := range ports {
		late += port.slow.Load() // before all: of these it may be fewer, and never more
		points += port.points.Load()
	}
	if p.since != 0 {
		p.rate = int64(float64(points-p.points) / (float64(now-p.since) / float64(time.Second)))
	}
	if points > p.points {
		p.hear(float64(late-p.late) / float64(points-p.points))
	}
	p.points, p.late, p.since = points, late, now
	p.least = p.strain >= paceSteps
}

// hear takes the part of a window's live points that were slow for noise, if replay has no part in it: it did
// not send, or no more than it does in any case. What such a window says counts little: it is not without.
func (p *pace) hear(slow float64) {
	switch {
	case p.begun == 0 || p.begun < p.since-liveFor:
		p.quiet = min(p.quiet+1, paceNoiseWindows)
		p.noise += (slow - p.noise) / float64(p.quiet)
	case p.least:
		p.noise += (slow - p.noise) / paceNoiseWindows
	}
}

// after sets the rest after a request of so many points that took so long, and the length of the next.
func (p *pace) after(ports []*SpoolPort, points int, took, now int64) {
	if !p.live(ports, now) {
		p.rest, p.nextAt = 0, now
		return
	}
	usual := p.strainOf(ports)
	p.rest = min(int64(float64(paceLeast)*math.Exp(min(p.strain, paceSteps))), paceMost)
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

// strainOf takes over what live writes have seen since it was last called, and returns what is usual for
// them.
func (p *pace) strainOf(ports []*SpoolPort) (usual int64) {
	var written, slow uint64
	backlog := false
	for _, port := range ports {
		slow += port.slow.Load() // before all, as in measure
		written += port.points.Load()
		usual = max(usual, port.usual.Load())
		backlog = backlog || port.backlog.Load() > 0
	}
	live, late := written-p.written, slow-p.slow
	p.written, p.slow = written, slow
	switch {
	case p.rest == 0:
		// What was before replay began is not its doing.
		p.strain = math.Log(float64(paceFirst / paceLeast))
	case p.rate > 0:
		may := max(paceSlow, paceNoise*p.noise)
		p.strain += paceStep * (float64(late) - may*float64(live)) / float64(p.rate)
	}
	if live == 0 && backlog {
		p.strain += math.Ln2 // not even one got through
	}
	p.strain = min(max(p.strain, 0), paceStrainMost)
	p.least = p.least && p.strain >= paceSteps
	return usual
}
