package dataplane

import "time"

const (
	// liveFor is how long a worker counts as busy after it sealed a batch, in nanoseconds.
	liveFor = int64(time.Second)
	// paceStrained is from which latency of live writes on, in parts of a hundred of the usual one, replay
	// rests longer each time.
	paceStrained = 150
	// paceFirst, paceLeast and paceMost bound the rest between two requests while there is live traffic, in
	// nanoseconds: at the longest, replay still delivers some requests a second.
	paceFirst = int64(10 * time.Millisecond)
	paceLeast = int64(time.Millisecond)
	paceMost  = int64(250 * time.Millisecond)
	// paceMemory is how slowly the usual latency follows what is seen while nothing is replayed, and while
	// something is: then what is seen is partly replay's own doing.
	paceMemory, paceMemoryBusy = 16, 512
	// paceShare is how much replay gets in any case, in parts of a hundred of what live traffic gets: with
	// less than that a spool would grow older than the outage was long.
	paceShare = 150
	// paceWindow is over how long the rate of live traffic is measured, in nanoseconds.
	paceWindow = int64(time.Second)
)

// pace is how fast replay goes beside live traffic: the rest after a request doubles while live writes take
// longer than they usually do without replay or wait for a connection, and shrinks by a quarter while not. It
// is never so long that live traffic gets more than replay.
type pace struct {
	sealed []uint64 // the ports' counts when they were last looked at
	liveAt int64    // when a worker sealed something last; 0: never
	usual  int64    // latency of live writes without replay, nanoseconds; 0: not known
	rest   int64
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

// seen is the latency of the slowest port's live writes of late, and whether batches wait.
func seen(ports []*SpoolPort) (took int64, backlog bool) {
	for _, port := range ports {
		took = max(took, port.took.Load())
		backlog = backlog || port.backlog.Load() > 0
	}
	return took, backlog
}

// watch learns the usual latency. idle says that nothing is replayed.
func (p *pace) watch(ports []*SpoolPort, idle bool) {
	took, _ := seen(ports)
	if took == 0 {
		return
	}
	memory := int64(paceMemoryBusy)
	if idle {
		memory = paceMemory
	}
	if p.usual == 0 || took < p.usual {
		p.usual = took
		return
	}
	p.usual += (took - p.usual) / memory
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

// after sets the rest after a request of so many points.
func (p *pace) after(ports []*SpoolPort, points int, now int64) {
	if !p.live(ports, now) {
		p.rest, p.nextAt = 0, now
		return
	}
	took, backlog := seen(ports)
	switch strained := p.usual != 0 && took*100 > p.usual*paceStrained; {
	case p.rest < paceLeast:
		p.rest = paceFirst
	case strained || backlog:
		p.rest = min(2*p.rest, paceMost)
	default:
		p.rest = max(p.rest*3/4, paceLeast)
	}
	if p.rate > 0 {
		p.rest = min(p.rest, int64(points)*int64(time.Second)*100/(p.rate*paceShare))
	}
	p.nextAt = now + p.rest
}
