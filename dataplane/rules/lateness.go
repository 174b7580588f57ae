package rules

import "math/bits"

// lateness is how late the points of a group come, as one worker sees them, and the watermarks that follow:
// event times up to which all points, or nearly all, are expected to have come.
//
//	early     the lateness that half of all points keep
//	on time   that nine of ten keep: records are made
//	final     that all but one in a thousand keep: records are corrected, later points are not used
//
// A watermark runs with the gateway's clock, so a source that falls silent holds nothing up. It stays behind
// the newest event by lateness_min at least; between points, the newest event moves on with the clock.
//
// Lateness is counted in buckets of four to the power of two, from 1 ms on, and old points fade: beyond
// latenessFull all counts are halved. What comes out is a bucket's upper bound, at most a quarter too much.
type lateness struct {
	minimum int64 // lateness_min, nanoseconds
	ahead   int64 // the greatest event time − arrival
	known   bool  // there was a point

	counts   [latenessBuckets]uint32
	total    uint32
	uncounts uint32 // points since the watermarks were worked out

	early, onTime, final int64 // nanoseconds
}

const (
	latenessUnit    = 20 // 2²⁰ ns, about a millisecond
	latenessBuckets = 4*(63-latenessUnit) + 1
	latenessFull    = 1 << 17
	// latenessMinDefault is lateness_min where the group names none, in nanoseconds.
	latenessMinDefault = int64(100e6)
)

// latenessBucket is the bucket of a lateness; the first is for points that are not late at all.
func latenessBucket(late int64) int {
	units := late >> latenessUnit
	if units <= 0 {
		if late <= 0 {
			return 0
		}
		return 1
	}
	octave := bits.Len64(uint64(units)) - 1
	quarter := int(uint64(late) >> (octave + latenessUnit - 2) & 3)
	return 4*octave + quarter + 1
}

// latenessBound is the upper bound of a bucket.
func latenessBound(bucket int) int64 {
	if bucket == 0 {
		return 0
	}
	octave, quarter := (bucket-1)/4, (bucket-1)%4
	return int64(5+quarter)<<(octave+latenessUnit-2) - 1
}

// note counts a point. eventTime and arrival are on clocks whose distance is wall.
func (l *lateness) note(eventTime, arrival, wall int64) {
	if ahead := eventTime - arrival; !l.known || ahead > l.ahead {
		l.ahead, l.known = ahead, true
	}
	l.counts[latenessBucket(arrival+wall-eventTime)]++
	l.total++
	l.uncounts++
	if l.total >= latenessFull {
		l.total = 0
		for i := range l.counts {
			l.counts[i] /= 2
			l.total += l.counts[i]
		}
	}
	if l.uncounts > l.total>>4 {
		l.workOut()
	}
}

// workOut finds the three quantiles.
func (l *lateness) workOut() {
	l.uncounts = 0
	seen := uint64(0)
	total := uint64(l.total)
	found := [3]bool{}
	for i, n := range l.counts {
		seen += uint64(n)
		for q, share := range [3]uint64{500, 900, 999} {
			if !found[q] && seen*1000 >= total*share {
				found[q] = true
				*[3]*int64{&l.early, &l.onTime, &l.final}[q] = latenessBound(i)
			}
		}
		if found[2] {
			return
		}
	}
}

// passes is when, on CLOCK_MONOTONIC, the watermark of a lateness passes an event time.
func (l *lateness) passes(eventTime, late, wall int64) int64 {
	return max(eventTime-wall+late, eventTime-l.ahead+l.minimum)
}

// isFinal tells whether the final watermark has passed an event time.
func (l *lateness) isFinal(eventTime, now, wall int64) bool {
	return l.passes(eventTime, l.final, wall) < now
}

// GroupStats is what one evaluator counted of all rules with a past of one group, and what it knows of how
// late their points are.
type GroupStats struct {
	Keys   int    // that are remembered
	Late   uint64 // values too late for their window
	Ahead  uint64 // points too far in the future
	Missed uint64 // points that found no room on their way to the key's owner
	// Early, OnTime and Final are the lateness that half of all points keep, nine of ten, and all but one in
	// a thousand, in nanoseconds. They are worked out for groups with records alone, and 0 without.
	Early, OnTime, Final int64
}

// GroupStats writes what was counted for each group, in the order of Set.Groups.
func (e *Evaluator) GroupStats(into []GroupStats) {
	for i := range e.groups {
		g := &e.groups[i]
		into[i] = GroupStats{Early: g.early, OnTime: g.onTime, Final: g.final}
	}
	for i := range e.set.cohorts {
		g, keys := &into[e.set.cohorts[i].time], &e.pasts[i]
		g.Keys += keys.list.length
		g.Late += keys.late
		g.Ahead += keys.ahead
		g.Missed += keys.refused
	}
}
